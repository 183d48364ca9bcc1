"""Records of fewer than twelve leads: admitted by the recipe alone, judged on the leads that are there."""

from pathlib import Path

import numpy as np
import pytest
import wfdb

from data_contracts.conventions import LEAD_SETS, LEADS, LeadSet
from data_contracts.ecg import QUALITY_FLAGS, RECORD_FLAGS
from echoingecg.common import Refusal
from echoingecg.ecg.decode import decode
from echoingecg.ecg.decode.recording import arrange
from echoingecg.ecg.decode.recording.leads import largest_set, leads_of_set
from echoingecg.ecg.plot import findings_text
from echoingecg.ecg.process import best_window, process
from echoingecg.ecg.quality import strictest_rule
from echoingecg.recipe import EcgSettings
from helpers.ecg.synthetic_hearts import twelve_leads
from helpers.paths import Recording

TWELVE = EcgSettings()
FEWER = EcgSettings(lead_sets=("twelve", "six", "three", "two", "one"))
REAL = "ptbxl/records500/00000/00001_hr.hea"


def written(folder: Path, source: Path, leads: tuple[str, ...], name: str = "part") -> Path:
    """A part of a real record's leads, written by wfdb."""
    record = wfdb.rdrecord(str(source.with_suffix("")), physical=False)
    rows = [[spelling.upper() for spelling in record.sig_name].index(lead.upper()) for lead in leads]
    wfdb.wrsamp(
        name,
        fs=record.fs,
        units=[record.units[row] for row in rows],
        sig_name=list(leads),
        d_signal=record.d_signal[:, rows],
        fmt=["16"] * len(rows),
        adc_gain=[record.adc_gain[row] for row in rows],
        baseline=[record.baseline[row] for row in rows],
        write_dir=str(folder),
    )
    return folder / f"{name}.hea"


def names_of(quality: np.ndarray, finding: str) -> set[str]:
    return {lead for lead, mask in zip(LEADS, quality, strict=True) if mask & QUALITY_FLAGS[finding]}


def test_sets_are_written_out() -> None:
    """Each set holds the leads that the PhysioNet Challenge 2021 gives it, and those that follow from I and II."""
    assert {name: set(leads_of_set(name)) for name in LEAD_SETS} == {
        "twelve": set(LEADS),
        "eight": set(LEADS),
        "six": {"I", "II", "III", "aVR", "aVL", "aVF"},
        "three": {"I", "II", "III", "aVR", "aVL", "aVF", "V2"},
        "two": {"I", "II", "III", "aVR", "aVL", "aVF"},
        "one": {"I"},
    }
    assert largest_set(("I", "II", "III", "aVR", "aVL", "aVF", "V1"), FEWER.lead_sets) == leads_of_set("six")
    assert largest_set(("II", "V1"), FEWER.lead_sets) is None


@pytest.mark.parametrize("leads", [LEADS, LEAD_SETS["eight"]])
def test_all_leads_are_read_as_before(recording: Recording, tmp_path: Path, leads: tuple[str, ...]) -> None:
    path = written(tmp_path, recording(REAL), leads)
    before, admitted = process(path, TWELVE), process(path, FEWER)
    np.testing.assert_array_equal(admitted.signal, before.signal)
    np.testing.assert_array_equal(admitted.quality, before.quality)
    assert (admitted.findings, admitted.start) == (before.findings, before.start)
    whole = process(recording(REAL), TWELVE)
    np.testing.assert_allclose(before.signal, whole.signal, atol=1e-6 if leads == LEADS else 2e-3)


@pytest.mark.parametrize("name", ["six", "three", "two", "one"])
def test_leads_that_are_there_are_what_they_were(recording: Recording, tmp_path: Path, name: LeadSet) -> None:
    whole = process(recording(REAL), TWELVE)
    done = process(written(tmp_path, recording(REAL), LEAD_SETS[name]), FEWER)
    there = [LEADS.index(lead) for lead in leads_of_set(name)]
    absent = [row for row in range(12) if row not in there]
    assert not done.signal[absent].any()
    stored = [LEADS.index(lead) for lead in LEAD_SETS[name]]
    np.testing.assert_allclose(done.signal[stored], whole.signal[stored], atol=1e-6)
    np.testing.assert_allclose(done.signal[there], whole.signal[there], atol=2e-3)  # rounded by the recorder, 1 uV
    assert names_of(done.quality, "absent") == {LEADS[row] for row in absent}
    assert not (done.quality & ~np.uint16(QUALITY_FLAGS["absent"])).any()
    assert done.findings == 0
    assert not done.bad_seconds.any()
    assert strictest_rule(done.quality, done.findings, FEWER) == "refer"


@pytest.mark.parametrize(
    ("leads", "settings", "message"),
    [
        (("I",), TWELVE, "no lead named II, III, .*; found I; expected I, II, III, aVR, aVF, aVL, V1 to V6$"),
        (("V1",), FEWER, r"found V1; expected I, .*, V1 to V6; or six \(I, II, III, .*; or one \(I\)$"),
        (("II", "V1"), EcgSettings(lead_sets=("one",)), r"found II, V1; expected one \(I\)$"),
    ],
)
def test_other_leads_are_refused_in_a_line_that_names_both(
    recording: Recording, tmp_path: Path, leads: tuple[str, ...], settings: EcgSettings, message: str
) -> None:
    with pytest.raises(Refusal, match=message) as refused:
        process(written(tmp_path, recording(REAL), leads), settings)
    assert refused.value.reason == "missing_leads"
    assert "\n" not in str(refused.value)


def test_of_eleven_leads_the_largest_admitted_set_is_kept(recording: Recording, tmp_path: Path) -> None:
    eleven = tuple(lead for lead in LEADS if lead != "V3")
    path = written(tmp_path, recording(REAL), eleven)
    with pytest.raises(Refusal, match="no lead named V3"):
        process(path, TWELVE)
    assert names_of(process(path, FEWER).quality, "absent") == {"V1", "V3", "V4", "V5", "V6"}


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_lead_that_is_empty_throughout_is_not_there(value: float) -> None:
    signal = twelve_leads()
    signal[6:] = value
    assert names_of(best_window(signal, 500, FEWER).quality, "absent") == set(LEADS[6:])
    if np.isnan(value):
        with pytest.raises(Refusal, match="nan"):
            best_window(signal, 500, TWELVE)
    else:
        assert names_of(best_window(signal, 500, TWELVE).quality, "flat") == set(LEADS[6:])


def test_context_of_a_longer_recording_is_used_for_the_leads_that_are_there() -> None:
    signal = twelve_leads(seconds=25)
    fewer = signal.copy()
    fewer[1:] = np.nan
    several = {"long": "several", "most_windows": 3}
    from echoingecg.ecg.process import cut_windows, process_loaded

    whole, part = (
        process_loaded(cut_windows(stored.astype(np.float32), 500, settings).split_windows(settings), settings)
        for stored, settings in ((signal, EcgSettings(**several)), (fewer, EcgSettings(lead_sets=("one",), **several)))
    )
    assert len(whole) == 3
    for window, other in zip(whole, part, strict=True):
        np.testing.assert_allclose(other.signal[0], window.signal[0], atol=1e-6)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda lead: lead * 0 + 1.0, "no_signal"),
        (lambda lead: np.random.default_rng(1).normal(0, 0.5, lead.shape), "no_qrs"),
    ],
)
def test_what_is_wrong_with_a_single_lead_is_found(change: object, expected: str) -> None:
    signal = np.full((12, 5000), np.nan)
    signal[0] = change(twelve_leads()[0])  # type: ignore[operator]
    done = best_window(signal, 500, FEWER)
    assert done.findings & RECORD_FLAGS[expected]
    assert "absent" in findings_text(done.quality, done.findings)


def test_real_recordings_of_fewer_leads_have_few_findings(all_recordings: Path) -> None:
    """Only leads that are there have findings. Limb leads are as recorded; a lead I of low voltage may be refused."""
    outcomes: dict[str, list[str]] = {"six": [], "one": []}
    for path in sorted((all_recordings / "ptbxl/records500").rglob("*.hea")):
        recording = decode(path)
        signal = arrange(recording)
        for name, of_set in outcomes.items():
            part = np.full_like(signal, np.nan)
            rows = [LEADS.index(lead) for lead in leads_of_set(name)]  # type: ignore[arg-type]
            part[rows] = signal[rows]
            try:
                done = best_window(part, recording.sampling_frequency, FEWER)
                of_set.append(findings_text(done.quality & ~np.uint16(QUALITY_FLAGS["absent"]), done.findings))
            except Refusal as refusal:
                of_set.append(refusal.reason)
    for of_set in outcomes.values():
        assert len(of_set) == 36
        assert of_set.count("nothing found") >= 34
