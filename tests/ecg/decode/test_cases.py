"""The table of ../shared/cases/ecg: every file that once went wrong is read as another route reads it, or refused."""

import base64
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import edfio
import h5py
import numpy as np
import pydicom
import pytest
import wfdb

from data_contracts.conventions import LEADS
from echoingecg.common import Refusal
from echoingecg.ecg.decode import decode
from echoingecg.ecg.decode.recording import arrange
from echoingecg.ecg.plot import findings_text
from echoingecg.ecg.process import process
from echoingecg.recipe import EcgSettings
from helpers.ecg.wfdb_files import CLINICAL
from helpers.paths import CASES

MICROVOLT = 1e-3
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="needs '../shared/cases'")


def in_order(rows: dict[str, np.ndarray]) -> np.ndarray:
    """float64 (12, time), mV, of leads by name; the four that follow from I and II are added."""
    one, two = rows["I"], rows["II"]
    derived = {"III": two - one, "aVR": -(one + two) / 2, "aVL": one - two / 2, "aVF": two - one / 2}
    return np.array([(derived | rows)[lead] for lead in LEADS])


def by_wfdb(path: Path) -> np.ndarray:
    record = wfdb.rdrecord(str(path.with_suffix("")), smooth_frames=False)
    return in_order({name.replace("D", ""): row for name, row in zip(record.sig_name, record.e_p_signal, strict=True)})


def by_hand(path: Path, offset: int = 0) -> np.ndarray:
    """Format 16, twelve leads in clinical order, 1000 units a millivolt: what these headers state."""
    stored = np.fromfile(path, "<i2", offset=offset).reshape(-1, 12).T / 1000
    return in_order(dict(zip(CLINICAL, stored, strict=True)))


def by_pydicom(path: Path) -> np.ndarray:
    dataset, rows = pydicom.dcmread(path, force=True), {}
    for number, group in enumerate(dataset.WaveformSequence):
        if group.WaveformOriginality == "ORIGINAL":
            values = dataset.waveform_array(number).T / 1000  # the channels' unit is uV
            for channel, row in zip(group.ChannelDefinitionSequence, values, strict=True):
                rows[channel.ChannelSourceSequence[0].CodeMeaning.split()[1]] = row
    return in_order(rows)


def by_edfio(path: Path) -> np.ndarray:
    content = bytearray(path.read_bytes())
    if content[236:244].strip() == b"-1":
        content[236:244] = b"10      "
    read = edfio.read_bdf if path.suffix == ".bdf" else edfio.read_edf
    units = {"uV": 1000.0, "mV": 1.0}
    signals = read(bytes(content)).signals
    return in_order({one.label.removeprefix("ECG "): one.data / units[one.physical_dimension] for one in signals})


def by_element_tree(path: Path) -> np.ndarray:
    text = path.read_bytes().decode("gb18030").partition("?>")[2]
    waves = ElementTree.fromstring(text).iter("Waveform")
    rhythms = [wave for wave in waves if wave.findtext("WaveformType") == "Rhythm"]
    leads = max((list(wave.iter("LeadData")) for wave in rhythms), key=len)
    return in_order(
        {
            str(lead.findtext("LeadID")): np.frombuffer(base64.b64decode(str(lead.findtext("WaveFormData"))), "<i2")
            * (float(str(lead.findtext("LeadAmplitudeUnitsPerBit"))) / 1000)
            for lead in leads
        }
    )


READ: dict[str, tuple[str, float, Callable[[Path], np.ndarray]]] = {
    "wfdb_multifreq": ("a.hea", 500, by_wfdb),
    "wfdb_dots": ("1.2.840.hea", 500, lambda path: by_hand(path.with_suffix(".dat"))),
    "wfdb_mat_in_record_name": ("E00271.hea", 500, lambda path: by_hand(path.with_suffix(".mat"), 24)),
    "dicom_pad_zero_pydicom": ("a.dcm", 1000, by_pydicom),
    "dicom_groups_of_three": ("a.dcm", 1000, by_pydicom),
    "dicom_no_preamble": ("a.dcm", 1000, by_pydicom),
    "muse_gb2312": ("a.xml", 500, by_element_tree),
    "muse_dup_rhythm": ("a.xml", 500, by_element_tree),
    "lead_names_D": ("a.hea", 500, by_wfdb),
    "edf_records_unknown": ("a.edf", 500, by_edfio),
    "bdf": ("a.bdf", 500, by_edfio),
    "dat_given": ("a.dat", 500, by_hand),
}


@pytest.mark.filterwarnings("ignore")  # pydicom tells of what it meets
@pytest.mark.parametrize("case", READ)
def test_is_read_as_by_another_route(case: str) -> None:
    name, rate, other = READ[case]
    path = CASES / "ecg" / case / name
    found = decode(path)
    assert found.sampling_frequency == rate
    np.testing.assert_allclose(arrange(found), other(path), atol=MICROVOLT, rtol=0)
    assert not process(path, EcgSettings()).quality.any()


FINDINGS = {
    "half_flat": "flat_seconds",
    "chest_leads_dead_8s": "flat_seconds: V1, V2, V3, V4, V5, V6",
    "pulse_in_window": "calibration_pulse",
    "repeated_block": "repeated_block",
    "leads_swapped_avr_avl": "limb_leads",
}
REFUSED = {
    "zeros": "no_signal",
    "page_3x4_zero_filled": "no_qrs",
    "one_nan": "1 of 5000 samples of lead",
}


@pytest.mark.parametrize("case", FINDINGS)
def test_has_its_finding(case: str) -> None:
    (path,) = (CASES / "ecg" / case).glob("*.hea")
    found = process(path, EcgSettings())
    assert FINDINGS[case] in findings_text(found.quality, found.findings)


@pytest.mark.parametrize("case", REFUSED)
def test_is_refused_with_its_reason(case: str) -> None:
    (path,) = (CASES / "ecg" / case).glob("*.hea")
    with pytest.raises(Refusal, match=REFUSED[case]):
        process(path, EcgSettings())


def test_one_missing_sample_is_filled_where_the_recipe_allows() -> None:
    found = process(CASES / "ecg/one_nan/a.hea", EcgSettings(max_nan_share=0.001))
    assert "nan: aVR" in findings_text(found.quality, found.findings)


def test_every_folder_stands_in_this_table() -> None:
    folders = {path.name for path in (CASES / "ecg").iterdir()}
    assert folders == {*READ, *FINDINGS, *REFUSED, "code15_hdf5"}


def test_padding_of_code_15_is_no_signal() -> None:
    path = CASES / "ecg/code15_hdf5/exams_part0.hdf5"
    with h5py.File(path) as file:
        names, tracings = file["exam_id"][:], file["tracings"][:]
    for name, tracing in zip(names, tracings, strict=True):
        found = decode(path.with_name(f"{path.name}#{name}"), "0.1 mV", 400.0, CLINICAL)
        filled = np.flatnonzero(tracing.any(axis=1))
        expected = tracing[filled[0] : filled[-1] + 1].T / 10
        np.testing.assert_allclose(found.signal, expected, atol=MICROVOLT)
        assert found.signal.shape[1] <= 4096


@pytest.mark.parametrize("record", ["same", "order"])
def test_segments_are_joined_by_name(record: str) -> None:
    folder = CASES / "safe/wfdb_segments"
    parts = {"same": ("s1", "s2"), "order": ("s1", "o2")}[record]
    joined = []
    for part in parts:
        read = wfdb.rdrecord(str(folder / part))
        rows = dict(zip(read.sig_name, read.p_signal.T, strict=True))
        joined.append(np.array([rows[lead.upper() if lead.startswith("a") else lead] for lead in LEADS]))
    found = decode(folder / f"{record}.hea")
    np.testing.assert_allclose(arrange(found), np.concatenate(joined, axis=1), atol=1e-9)
    assert found.sampling_frequency == 500


@pytest.mark.parametrize(("record", "words"), [("rate", "a segment at 250 Hz"), ("unit", "different units")])
def test_segments_that_contradict_each_other_are_refused(record: str, words: str) -> None:
    with pytest.raises(Refusal, match=words):
        decode(CASES / f"safe/wfdb_segments/{record}.hea")
