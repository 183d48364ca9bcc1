"""Standardised ECGs turned back: real ones, treated as EchoNext's publisher treats them, keep Einthoven's rule."""

from pathlib import Path

import numpy as np
import pytest
from scipy.signal import medfilt

from echoingecg.common import Refusal, result_or_refusal
from echoingecg.ecg.decode import decode
from echoingecg.ecg.decode.arrays.standardised import is_standardised, unit_of
from echoingecg.ecg.decode.recording.leads import canonical_lead
from helpers.cases.echonext import MEAN, ORDER, SCALE, publish, truth

UNIT = unit_of(MEAN, SCALE, "4.88 uV")


def real(recordings: Path) -> list[np.ndarray]:
    """(2500, 12) in mV at 250 Hz, without baseline by two median filters (Poterucha et al.)."""
    ecgs = []
    for path in sorted((recordings / "ptbxl/records500").rglob("*.hea")):
        read = decode(path)
        names = [canonical_lead(lead) for lead in read.leads]
        leads = np.nan_to_num(read.signal[[names.index(lead) for lead in ORDER], :5000:2])
        ecgs.append(np.stack([lead - medfilt(medfilt(lead, 51), 151) for lead in leads], axis=1))
    assert ecgs
    return ecgs


def read_back(folder: Path, stored: np.ndarray, unit: str = UNIT, leads: tuple[str, ...] = ORDER) -> np.ndarray:
    np.save(folder / "one.npy", stored)
    return decode(folder / "one.npy", unit, 250.0, leads).signal


def test_real_ecgs_come_back_in_millivolts(recordings: Path, tmp_path: Path) -> None:
    for leads in real(recordings):
        np.testing.assert_allclose(read_back(tmp_path, publish(leads)), truth(leads).T, atol=1e-9)


@pytest.mark.parametrize("pair", [("I", "II"), ("III", "aVR"), ("aVR", "aVL"), ("aVL", "aVF")])
def test_leads_in_another_order_are_refused(recordings: Path, tmp_path: Path, pair: tuple[str, str]) -> None:
    """In a few hearts two leads are so alike that nobody could tell."""
    exchanged = tuple(dict(zip(pair, pair[::-1], strict=True)).get(lead, lead) for lead in ORDER)
    ecgs, refused = real(recordings), 0
    for leads in ecgs:
        outcome = result_or_refusal(lambda leads=leads: read_back(tmp_path, publish(leads), UNIT, exchanged))
        refused += isinstance(outcome, Refusal) and outcome.detail.startswith("turned back, III is not II - I")
    assert refused > 0.85 * len(ecgs)


def test_one_constant_for_all_leads_and_a_unit_of_millivolts(tmp_path: Path) -> None:
    leads = np.random.default_rng(0).normal(0, 0.3, (2500, 2)) @ np.eye(2, 12)
    first, second = leads[:, 0].copy(), leads[:, 1].copy()
    leads[:, 2:6] = np.stack([second - first, -(first + second) / 2, first - second / 2, second - first / 2], axis=1)
    signal = read_back(tmp_path, ((leads - 0.1) / 0.25)[None], unit_of((0.1,), (0.25,), "mV"))
    np.testing.assert_allclose(signal, leads.T, atol=1e-12)


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        ("standardised", "missing_units: standardised amplitudes, and the recipe has no catalog.standardised"),
        (unit_of(MEAN[:3], SCALE, "mV"), "missing_units: 3 constants of catalog.standardised for 12 leads"),
    ],
)
def test_constants_that_do_not_fit_are_refused(tmp_path: Path, unit: str, words: str) -> None:
    with pytest.raises(Refusal, match=words):
        read_back(tmp_path, np.zeros((1, 2500, 12)), unit)


def test_only_standardised_units_are() -> None:
    assert [is_standardised(unit) for unit in (None, "", "mV", "standardised", UNIT)] == [False] * 3 + [True] * 2
