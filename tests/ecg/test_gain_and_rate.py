"""One lead's gain unlike that of the others, and a stated heart rate against the measured one, on real recordings."""

import contextlib
from pathlib import Path

import numpy as np
import pytest

from data_contracts.conventions import LEADS
from data_contracts.ecg import QUALITY_FLAGS, RECORD_FLAGS
from echoingecg.common import Refusal
from echoingecg.ecg import beats
from echoingecg.ecg.decode import decode
from echoingecg.ecg.decode.recording import arrange, stated_rate
from echoingecg.ecg.electrodes import (
    INDEPENDENT,
    LEADS_OF_ELECTRODES,
    LIMB_LEADS,
    gain_against_neighbours,
    limb_lead_of_other_gain,
)
from echoingecg.ecg.process import best_window
from echoingecg.ecg.quality import all_finding_names, finding_names, strictest_rule
from echoingecg.ecg.windows import Processed
from echoingecg.recipe import EcgSettings
from helpers.paths import Recording

SETTINGS = EcgSettings(min_duration=2.5, rules={"short": "keep"})
COHORTS = ("ptbxl/records500/**/*.hea", "cinc2021_wfdb_mat/*.hea", "code15_wfdb/*.hea")


@pytest.fixture(scope="module")
def real_signals(all_recordings: Path) -> list[tuple[np.ndarray, float]]:
    """Recordings as stored, and their rates, Hz."""
    stored = []
    for pattern in COHORTS:
        for path in sorted(all_recordings.glob(pattern)):
            recording = decode(path)
            with contextlib.suppress(Refusal):
                done = best_window(arrange(recording), recording.sampling_frequency, SETTINGS)
                if strictest_rule(done.quality, done.findings, SETTINGS) == "keep":
                    stored.append((arrange(recording), recording.sampling_frequency))
    assert len(stored) > 60
    return stored


def multiplied(signal: np.ndarray, lead: str, factor: float) -> np.ndarray:
    changed = signal.copy()
    changed[LEADS.index(lead)] *= factor
    return changed


def is_referred(signal: np.ndarray, frequency: float) -> bool:
    try:
        done = best_window(signal, frequency, SETTINGS)
    except Refusal:
        return True
    return strictest_rule(done.quality, done.findings, SETTINGS) in ("refer", "refuse")


# Least share that is found, of leads I to aVL and of V1 to V6. A real heart may give one chest lead twice the size that
# its neighbours let expect, so that twice a chest lead's gain is seldom told, but in V5, which hardly varies.
@pytest.mark.parametrize(
    ("factor", "limb", "chest"),
    [
        (2, 0.98, {"V5": 0.7}),
        (5, 0.98, {"V1": 0.5, "V2": 0.55, "V3": 0.95, "V4": 0.95, "V5": 0.95, "V6": 0.95}),
        (10, 0.98, {"V1": 0.95, "V2": 0.9, "V3": 0.98, "V4": 0.98, "V5": 0.98, "V6": 0.98}),
        (0.1, 0.95, {"V1": 0.95, "V2": 0.95, "V3": 0.98, "V4": 0.98, "V5": 0.98, "V6": 0.98}),
    ],
)
def test_one_lead_of_another_gain_is_referred(
    factor: float, limb: float, chest: dict[str, float], real_signals: list[tuple[np.ndarray, float]]
) -> None:
    for lead, least in {"I": limb, "aVL": limb, **chest}.items():
        part = real_signals[::2]
        share = np.mean([is_referred(multiplied(signal, lead, factor), frequency) for signal, frequency in part])
        assert share >= least, (lead, share)


def test_real_recordings_have_one_gain_but_one(all_recordings: Path) -> None:
    """2767003: its V5 has a seventh of V4's size and less than half of V6's."""
    flagged, recordings = [], 0
    for path in sorted(path for path in all_recordings.rglob("*.hea") if "echo" not in str(path)):
        recording = decode(path)
        with contextlib.suppress(Refusal):
            done = best_window(arrange(recording), recording.sampling_frequency, SETTINGS)
            recordings += 1
            if "gain" in all_finding_names(done.quality, 0):
                flagged.append(path.stem)
    assert recordings > 180
    assert flagged == ["2767003"]


def test_the_lead_is_named(recording: Recording) -> None:
    stored = decode(recording("ptbxl/records500/00000/00001_hr.hea"))
    signal, frequency = arrange(stored), stored.sampling_frequency
    for lead, factor in (("I", 2), ("aVR", 0.5), ("V5", 3), ("V3", 0.1)):
        done = best_window(multiplied(signal, lead, factor), frequency, SETTINGS)
        flagged = [name for name, mask in zip(LEADS, done.quality, strict=True) if mask & QUALITY_FLAGS["gain"]]
        assert flagged == [lead]


def test_gain_beside_neighbours_is_the_slow_sum() -> None:
    signal = np.random.default_rng(1).normal(0, 1, (8, 500)) * np.array([1, 2, 1, 3, 2, 2, 2, 1])[:, None]
    size = {lead: float(np.sqrt(np.sum(row**2))) for lead, row in zip(INDEPENDENT, signal, strict=True)}
    unusual = dict(zip(INDEPENDENT, gain_against_neighbours((signal**2).mean(axis=1)), strict=True))
    assert unusual["V6"] == pytest.approx(abs(np.log(size["V6"] / size["V5"] / 0.84)) / np.log(1.48))
    assert unusual["V2"] == pytest.approx(
        abs(np.log(size["V2"] / np.sqrt(size["V1"] * size["V3"]) / 1.5)) / np.log(2.05)
    )
    signal[INDEPENDENT.index("V6")] = 0
    silent = dict(zip(INDEPENDENT, gain_against_neighbours((signal**2).mean(axis=1)), strict=True))
    assert {lead for lead, value in silent.items() if np.isnan(value)} == {"I", "II", "V5", "V6"}


@pytest.mark.parametrize("lead", range(6))
@pytest.mark.parametrize("factor", [-1, 0.1, 0.5, 0.9, 1, 1.1, 2, 10])
def test_limb_leads_against_a_fit_of_the_electrodes(lead: int, factor: float) -> None:
    """Slow: the potentials that the five other leads give, sample by sample, and the sixth lead from these."""
    random = np.random.default_rng(lead)
    of_electrodes = LEADS_OF_ELECTRODES[[LEADS.index(name) for name in LIMB_LEADS], :3]
    limbs = of_electrodes @ random.normal(0, 1, (3, 400)) + random.normal(0, 0.001, (6, 400))
    limbs[lead] *= factor
    others = [row for row in range(6) if row != lead]
    potentials, *_ = np.linalg.lstsq(of_electrodes[others], limbs[others], rcond=None)
    expected = of_electrodes[lead] @ potentials
    gain = limbs[lead] @ expected / (expected @ expected)
    assert gain == pytest.approx(factor, abs=0.01)
    is_other = gain > 0 and not 0.8 < gain < 1.25
    assert limb_lead_of_other_gain(limbs).tolist() == [is_other and row == lead for row in range(6)]


@pytest.mark.parametrize(
    ("name", "stated"),
    [
        ("muse_xml/easyRecg/muse_ecg1.xml", 60),
        ("philips_xml/129DYPRG.XML", 41),
        ("philips_xml/2020-5-18_15-48-11.xml", 64),
        ("hl7_aecg/jhu/hl7aecg-Example2.xml", 52),
        ("ecg_dicom/pydicom/waveform_ecg.dcm", 60_000 / 982),
    ],
)
def test_the_stated_heart_rate_is_the_measured_one(recording: Recording, name: str, stated: float) -> None:
    read = decode(recording(name))
    assert read.heart_rate == pytest.approx(stated)
    done = best_window(arrange(read), read.sampling_frequency, SETTINGS, read.heart_rate)
    measured = float(beats.heart_rate(beats.find_beats(beats.slope_energy(done.signal))))
    assert measured == pytest.approx(stated, rel=0.02)
    assert not done.findings & RECORD_FLAGS["heart_rate"]


@pytest.mark.parametrize(
    ("factor", "stated", "is_flagged"),
    [(0.5, 60, True), (2, 60, True), (1.25, 60, False), (0.5, 5, False), (0.5, np.nan, False), (1, 91, True)],
)
def test_a_wrong_sampling_rate_shows_in_the_heart_rate(
    recording: Recording, factor: float, stated: float, is_flagged: bool
) -> None:
    """The file is of 60 beats a minute. A stated rate that no heart has says nothing."""
    read = decode(recording("muse_xml/easyRecg/muse_ecg1.xml"))
    done = best_window(arrange(read), factor * read.sampling_frequency, EcgSettings(min_duration=2), stated)
    assert ("heart_rate" in finding_names(done.findings, RECORD_FLAGS)) == is_flagged


def test_a_file_with_a_wrong_sampling_rate_is_referred(recording: Recording, tmp_path: Path) -> None:
    from echoingecg.ecg.process import process

    content = recording("muse_xml/easyRecg/muse_ecg1.xml").read_bytes()
    assert content.count(b"<SampleBase>500</SampleBase>") > 0
    wrong = tmp_path / "wrong.xml"
    wrong.write_bytes(content.replace(b"<SampleBase>500</SampleBase>", b"<SampleBase>250</SampleBase>"))
    done = process(wrong, SETTINGS)
    assert isinstance(done, Processed)
    assert "heart_rate" in finding_names(done.findings, RECORD_FLAGS)
    assert strictest_rule(done.quality, done.findings, SETTINGS) == "refer"


def test_heart_rates_as_files_spell_them() -> None:
    spelled = {"60": 60, " 72.5 ": 72.5, "": None, "-": None, "***": None, "0": None, "-5": None, "inf": None}
    rates = {text: rate for text in spelled if not np.isnan(rate := stated_rate(text))}
    assert rates == {text: rate for text, rate in spelled.items() if rate is not None}
