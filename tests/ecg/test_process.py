"""Whole recordings: expected outcomes of every real one, leads by name, units, gaps, lengths, flags."""

import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_contracts.conventions import LEADS
from data_contracts.ecg import QUALITY_FLAGS
from echoingecg.common import Refusal
from echoingecg.ecg.decode.recording import Recording, arrange
from echoingecg.ecg.decode.recording.leads import canonical_lead
from echoingecg.ecg.filter import band_pass_and_resample
from echoingecg.ecg.process import Processed, process
from echoingecg.recipe import EcgSettings
from helpers.ecg.wfdb_files import CLINICAL, edit_header, heartbeats, write_record

SETTINGS = EcgSettings()
SIGNAL = heartbeats()


def outcome(path: Path, recipe: EcgSettings = SETTINGS) -> str:
    try:
        done = process(path, recipe)
    except Refusal as refusal:
        return refusal.reason
    assert done.signal.shape == (12, 1000)
    assert done.signal.dtype == np.float32
    assert np.isfinite(done.signal).all()
    assert done.quality.dtype == np.uint16
    return "flagged" if done.quality.any() else "clean"


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("ptbxl/records500", {"clean": 36}),
        ("ptbxl/records100", {"clean": 112}),
        ("cinc2021_wfdb_mat", {"clean": 20}),
        ("code15_wfdb", {"clean": 4, "flagged": 11, "too_short": 11}),
        ("ludb_wfdb", {"clean": 1}),
        ("ecg_dicom", {"clean": 1}),
        ("echo_dicom", {"unknown_format": 7}),
        ("muse_xml", {"clean": 2}),
        ("philips_xml", {"clean": 2}),
        ("hl7_aecg", {"clean": 1}),
        ("scp_ecg", {"clean": 1}),
    ],
)
def test_real_recordings(all_recordings: Path, folder: str, expected: dict[str, int]) -> None:
    endings = {".hea", ".dcm", ".xml", ".scp"}
    files = sorted(path for path in (all_recordings / folder).rglob("*") if path.suffix.lower() in endings)
    assert Counter(outcome(path) for path in files) == expected


def test_the_same_heart_at_500_and_100_hertz(recordings: Path) -> None:
    """PTB-XL gives each record at both rates: another route to the same 100 Hz signal."""
    high = sorted((recordings / "ptbxl/records500").rglob("*_hr.hea"))
    pairs = [(one, recordings / "ptbxl/records100/00000" / one.name.replace("_hr", "_lr")) for one in high]
    both = [(process(one, SETTINGS), process(other, SETTINGS)) for one, other in pairs if other.is_file()]
    assert both
    for one, other in both:
        shifted = [
            np.corrcoef(one.signal.ravel(), np.roll(other.signal, by, axis=1).ravel())[0, 1] for by in (-1, 0, 1)
        ]
        assert np.argmax(shifted) == 1
        assert shifted[1] > 0.85  # the publisher's 100 Hz went through another filter


@given(order=st.permutations(range(12)))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_stored_order_never_matters(tmp_path: Path, order: list[int]) -> None:
    expected = process(write_record(tmp_path / "rec", SIGNAL), SETTINGS).signal
    path = write_record(tmp_path / "other", SIGNAL[:, order], sig_name=[CLINICAL[row] for row in order])
    np.testing.assert_array_equal(process(path, SETTINGS).signal, expected)


def test_leads_stand_in_the_released_order(tmp_path: Path) -> None:
    done = process(write_record(tmp_path / "rec", SIGNAL), SETTINGS)
    for row, lead in enumerate(LEADS):
        stored = SIGNAL[:, [CLINICAL.index(lead)]].T
        np.testing.assert_allclose(done.signal[row], band_pass_and_resample(stored, 500, SETTINGS)[0], atol=1e-3)


@pytest.mark.parametrize(("unit", "factor"), [("V", 1e-3), ("uV", 1e3), ("nV", 1e6)])
def test_units_never_matter(tmp_path: Path, unit: str, factor: float) -> None:
    expected = process(write_record(tmp_path / "rec", SIGNAL), SETTINGS).signal
    path = write_record(tmp_path / "other", SIGNAL * factor, units=[unit] * 12, adc_gain=[1000 / factor] * 12)
    np.testing.assert_allclose(process(path, SETTINGS).signal, expected, atol=1e-6)


def test_what_follows_the_first_ten_seconds_never_matters(tmp_path: Path) -> None:
    longer = np.concatenate([SIGNAL, SIGNAL[::-1] + 3.0])
    expected = process(write_record(tmp_path / "rec", SIGNAL), SETTINGS).signal
    np.testing.assert_array_equal(process(write_record(tmp_path / "longer", longer), SETTINGS).signal, expected)


@pytest.mark.parametrize(("fs", "samples", "reason"), [(500, 4999, ""), (500, 4998, "too_short"), (100, 999, "")])
def test_one_sample_may_be_missing(tmp_path: Path, fs: int, samples: int, reason: str) -> None:
    path = write_record(tmp_path / "rec", heartbeats(fs)[:samples], fs)
    assert outcome(path) == (reason or "clean")


def test_the_recipe_may_admit_shorter_recordings(tmp_path: Path) -> None:
    path = write_record(tmp_path / "rec", SIGNAL[:3500])
    assert outcome(path) == "too_short"
    done = process(path, EcgSettings(min_duration=7.0))
    assert done.signal[:, :700].any(axis=1).all()
    assert not done.signal[:, 700:].any()


def test_gaps(tmp_path: Path) -> None:
    holed = SIGNAL.copy()
    holed[1000:1050, 2] = np.nan  # 1 % of lead III
    holed[:5, 2] = np.nan
    path = write_record(tmp_path / "rec", holed)
    assert outcome(path) == "nan"
    done = process(path, EcgSettings(max_nan_share=0.02))
    row = LEADS.index("III")
    assert done.quality[row] == QUALITY_FLAGS["nan"]
    assert np.isfinite(done.signal).all()
    assert not np.delete(done.quality, row).any()
    holed[:, 2] = np.nan
    assert outcome(write_record(tmp_path / "rec", holed), EcgSettings(max_nan_share=1.0)) == "nan"


def test_flags_fall_on_their_lead(tmp_path: Path) -> None:
    raw = SIGNAL.copy()
    raw[:, 0] = 0.004  # I: flat
    raw[:, 1] = np.clip(SIGNAL[:, 1] * 4, -0.05, None)  # II: clipped from below
    raw[:, 5] += 3.0  # aVF: baseline
    raw[:, 11] *= 8  # V6: amplitude
    quality = process(write_record(tmp_path / "rec", raw), SETTINGS).quality
    expected = dict.fromkeys(LEADS, 0) | {
        "I": QUALITY_FLAGS["flat"],
        "II": QUALITY_FLAGS["clipped"] | QUALITY_FLAGS["disconnected"],  # nothing is left of its beats
        "aVF": QUALITY_FLAGS["baseline"],
        "V6": QUALITY_FLAGS["amplitude"],
    }
    assert dict(zip(LEADS, quality.tolist(), strict=True)) == expected


def test_a_thousandfold_gain_is_implausible(tmp_path: Path) -> None:
    path = edit_header(write_record(tmp_path / "rec", SIGNAL), "1000.0(0)/mV", "1.0(0)/mV")
    assert outcome(path) == "implausible"


def test_eleven_leads_are_refused(tmp_path: Path) -> None:
    assert outcome(write_record(tmp_path / "rec", SIGNAL[:, :11])) == "missing_leads"


@pytest.mark.parametrize("names", [[*CLINICAL[:11], "V5"], [*CLINICAL[:11], "V7"], [*CLINICAL[:11], "12"]])
def test_leads_repeated_or_unknown(tmp_path: Path, names: list[str]) -> None:
    rewritten = edit_header(write_record(tmp_path / "rec", SIGNAL), " 0 V6", f" 0 {names[-1]}")
    assert outcome(rewritten) == "missing_leads"


def test_unnamed_leads_are_refused(tmp_path: Path) -> None:
    path = edit_header(write_record(tmp_path / "rec", SIGNAL), " 0 V6", " 0")
    assert outcome(path) == "missing_leads"


@pytest.mark.parametrize(
    ("spelling", "lead"),
    [
        ("AVR", "aVR"), ("avl", "aVL"), ("i", "I"), ("Lead II", "II"), ("lead_iii", "III"), ("MDC_ECG_LEAD_V1", "V1"),
        ("MDC_ECG_LEAD_AVF", "aVF"), ("Lead I (Einthoven)", "I"), (" v6 ", "V6"), ("ECG III", "III"), ("V7", None),
        ("-aVR", None), ("1", None), ("", None), ("II+", None), ("VI", None),
    ],
)  # fmt: skip
def test_spellings(spelling: str, lead: str | None) -> None:
    assert canonical_lead(spelling) == lead


def test_arrange_names_what_is_absent() -> None:
    some = Recording(np.zeros((10, 5)), tuple(CLINICAL[:10]), 500.0)
    with pytest.raises(Refusal, match="no lead named V5, V6"):
        arrange(some)


def test_it_travels_to_a_worker(tmp_path: Path) -> None:
    path = write_record(tmp_path / "rec", SIGNAL)
    work = pickle.loads(pickle.dumps((process, path, SETTINGS)))  # noqa: S301 - what Dask does
    done: Processed = pickle.loads(pickle.dumps(work[0](*work[1:])))  # noqa: S301
    np.testing.assert_array_equal(done.signal, process(path, SETTINGS).signal)
    with pytest.raises(Refusal) as refusal:
        process(tmp_path / "absent", SETTINGS)
    again = pickle.loads(pickle.dumps(refusal.value))  # noqa: S301
    assert (again.reason, again.detail) == (refusal.value.reason, refusal.value.detail)
