"""Leads by name, limb leads from I and II, and amplitudes that cannot be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_contracts.conventions import LEADS
from echoingecg.common import Refusal
from echoingecg.ecg.decode.recording import Recording, arrange, complete, units_per_millivolt
from echoingecg.ecg.decode.recording.leads import canonical_lead, canonical_leads, without_leads
from echoingecg.ecg.quality import check_plausible, typical_amplitude
from echoingecg.recipe import EcgSettings
from helpers.ecg.wfdb_files import CLINICAL

NOISE = np.random.default_rng(0).normal(size=(12, 500))


def heart(one: np.ndarray, two: np.ndarray) -> dict[str, np.ndarray]:
    """The six limb leads from electrode potentials, so that no rule of leads.py is used."""
    right, left = np.zeros_like(one), one
    foot = two
    return {
        "I": left - right, "II": foot - right, "III": foot - left,
        "aVR": right - (left + foot) / 2, "aVL": left - (right + foot) / 2, "aVF": foot - (right + left) / 2,
    }  # fmt: skip


LIMBS = heart(NOISE[0], NOISE[1])
WHOLE = Recording(np.array([*LIMBS.values(), *NOISE[6:]]), tuple(CLINICAL), 500.0)


@given(kept=st.sets(st.sampled_from(["III", "aVR", "aVL", "aVF"])), order=st.randoms())
@settings(max_examples=60, deadline=None)
def test_absent_limb_leads_are_derived_and_named(kept: set[str], order: np.random.Generator) -> None:
    names = [lead for lead in CLINICAL if lead in kept or lead not in ("III", "aVR", "aVL", "aVF")]
    order.shuffle(names)  # type: ignore[arg-type]
    some = Recording(WHOLE.signal[[CLINICAL.index(lead) for lead in names]], tuple(names), 500.0)
    np.testing.assert_allclose(arrange(some), arrange(WHOLE), atol=1e-12)
    assert complete(some).derived == tuple(lead for lead in ("III", "aVR", "aVL", "aVF") if lead not in kept)
    assert complete(some).sampling_frequency == 500


def test_stored_leads_are_never_replaced() -> None:
    odd = WHOLE.signal.copy()
    odd[2] = 7.0
    found = arrange(Recording(odd, tuple(CLINICAL), 500.0))
    assert (found[LEADS.index("III")] == 7.0).all()


@pytest.mark.parametrize("absent", ["I", "II", "V3"])
def test_other_leads_are_not_made_up(absent: str) -> None:
    rows = [row for row, lead in enumerate(CLINICAL) if lead not in (absent, "aVF")]
    with pytest.raises(Refusal, match=f"no lead named .*{absent}"):
        arrange(Recording(WHOLE.signal[rows], tuple(CLINICAL[row] for row in rows), 500.0))


def test_a_gap_in_one_lead_is_a_gap_in_those_derived_from_it() -> None:
    signal = WHOLE.signal[[0, 1, *range(6, 12)]].copy()
    signal[0, 10:20] = np.nan
    found = arrange(Recording(signal, ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6"), 500.0))
    limbs = ("I", "III", "aVR", "aVL", "aVF")
    assert {lead for lead, row in zip(LEADS, found, strict=True) if np.isnan(row).any()} == set(limbs)
    assert np.isnan(found).sum() == 50


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize(
    "form",
    [
        "{}", "MDC_ECG_LEAD_{}", "Lead {}", "lead_{}", "Lead-{}", "ECG {}", "EKG {}", " {} ", "ECG_{}", "ECG-{}",
        "ECG:{}", "ECG Lead {}", "ecg_lead_{}", "ECG{}", "LEAD{}",
    ],
)  # fmt: skip
def test_spellings_of_vendors(lead: str, form: str) -> None:
    for spelling in (lead, lead.upper(), lead.lower()):
        assert canonical_lead(form.format(spelling)) == lead


@pytest.mark.parametrize(
    "spelling",
    [
        "V7",
        "-aVR",
        "MDC_EEG_LEAD_I",
        "aVR+",
        "X",
        "V3R",
        "",
        "I-II",
        "EDF Annotations",
        "MLII",
        "C3",
        "D4",
        "VR",
        "1",
        "Lead -aVR",
        "EEG I",
        "IV",
        "V10",
        "LEAD",
        "ECG",
        "DV1",
    ],
)
def test_other_names_are_no_leads(spelling: str) -> None:
    assert canonical_lead(spelling) is None


@pytest.mark.parametrize("forms", [("DI", "DII", "DIII"), ("D1", "D2", "D3"), ("Lead DI", "ECG_DII", "d3")])
def test_names_of_latin_america(forms: tuple[str, str, str]) -> None:
    assert canonical_leads(forms) == ["I", "II", "III"]


def test_codes_of_the_chest_electrodes_count_where_all_six_are_there() -> None:
    limbs = ["I", "II", "III", "aVR", "aVL", "aVF"]
    chest = [f"C{number}" for number in range(1, 7)]
    assert canonical_leads([*limbs, *chest]) == CLINICAL
    assert canonical_leads([f"ECG {name}" for name in [*chest[::-1], *limbs]]) == [*CLINICAL[:5:-1], *CLINICAL[:6]]
    assert canonical_leads([*limbs, "C3", "C4"]) == [*limbs, None, None], "these are electrodes of an EEG"
    assert canonical_leads([*CLINICAL, *chest]) == [*CLINICAL, *[None] * 6]


def test_a_refusal_names_what_is_there_and_what_is_needed() -> None:
    signal = WHOLE.signal[:3]
    with pytest.raises(Refusal) as refusal:
        arrange(Recording(signal, ("I", "II", "III"), 500.0, others=("MLII", "V3R", "CH 5", "Agatha Miller", "Resp")))
    assert refusal.value.detail == (
        "no lead named V1, V2, V3, V4, V5, V6; found I, II, III, MLII, V3R, CH 5, 2 other names; "
        "expected I, II, III, aVR, aVF, aVL, V1 to V6"
    )
    assert "found no signal" in str(without_leads([]))


@pytest.mark.parametrize(
    ("spelling", "units"),
    [
        ("MICROVOLTS", 1e3),
        ("MILLIVOLTS", 1),
        ("uV", 1e3),
        ("µV", 1e3),
        ("μV", 1e3),
        ("mv", 1),
        ("nV", 1e6),
        ("V", 1e-3),
    ],
)
def test_spellings_of_units(spelling: str, units: float) -> None:
    assert units_per_millivolt(spelling) == units


def wave(height: float, seconds: float = 10.0, fs: float = 100.0) -> np.ndarray:
    """(12, time): a triangle of that height from peak to peak in every lead, 1 Hz."""
    time = np.arange(round(seconds * fs)) / fs
    return np.tile(height * np.abs((time % 1) - 0.5) * 2, (12, 1))


@pytest.mark.parametrize("seconds", [0.9, 3.0, 10.0])
def test_typical_amplitude(seconds: float) -> None:
    signal = wave(2.0, seconds)
    assert typical_amplitude(signal, 100.0) == pytest.approx(2.0, rel=0.2)
    drifting = signal + np.linspace(-20, 20, signal.shape[1]) + 30.0
    assert typical_amplitude(drifting, 100.0) == pytest.approx(typical_amplitude(signal, 100.0), rel=0.05)
    signal[3:9] = 40.0  # dead leads do not count
    assert typical_amplitude(signal, 100.0) == pytest.approx(2.0, rel=0.2)


def check_gain(signal: np.ndarray, settings: EcgSettings | None = None) -> None:
    check_plausible(float(typical_amplitude(signal, 100.0)), settings or EcgSettings())


def test_one_artefact_does_not_count() -> None:
    signal = wave(1.5)
    signal[:, 350:360] = 60.0
    signal[2] *= 30
    check_gain(signal)
    signal[:, 500:520] = np.nan
    check_gain(signal)


@pytest.mark.parametrize("factor", [5.0, 1000.0, 0.2, 0.001])
def test_wrong_gains(factor: float) -> None:
    with pytest.raises(Refusal) as refusal:
        check_gain(wave(1.2) * factor)
    assert refusal.value.reason == "implausible"
    check_gain(wave(1.2) * factor, EcgSettings(typical_low_mv=0, typical_high_mv=1e9))


@pytest.mark.parametrize("level", [0.0, -1.5, np.nan])
def test_what_cannot_be_judged_is_refused(level: float) -> None:
    with pytest.raises(Refusal, match="poor_quality: no_signal"):
        check_gain(np.full((12, 1000), level))
