"""Readers of ECG files beside ours: the largest difference on every real file at hand, microvolts.

Files are those of `../shared/data` (or ECHOINGECG_SHARED) where it is there, else those of tests/data, and the one that
pydicom ships. Peers that are not installed are left out: `pip install .[test]` brings all but ecgdatakit.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from benchmarks.measure import Row, below

Leads = dict[str, np.ndarray]  # mV, (time,) by name

_ROOT = Path(__file__).resolve().parents[1]
_MICROVOLTS = 1000.0


def _files(pattern: str) -> list[Path]:
    shared = Path(os.environ.get("ECHOINGECG_SHARED", _ROOT.parent / "shared")) / "data"
    folder = shared if shared.is_dir() else _ROOT / "tests/data/recordings"
    return sorted(path for path in folder.rglob("*") if path.match(pattern))


def _by_wfdb(path: Path) -> Leads:
    import wfdb

    record = wfdb.rdrecord(str(path.with_suffix("")), smooth_frames=False)
    return dict(zip(record.sig_name, record.e_p_signal, strict=True))


def _by_pydicom(path: Path) -> Leads:
    import pydicom

    dataset = pydicom.dcmread(path)
    channels = dataset.WaveformSequence[0].ChannelDefinitionSequence
    names = [channel.ChannelSourceSequence[0].CodeMeaning for channel in channels]
    return dict(zip(names, dataset.waveform_array(0).T / _MICROVOLTS, strict=True))


def _by_sierraecg(path: Path) -> Leads:
    import sierraecg

    return {lead.label: np.array(lead.samples) * 0.005 for lead in sierraecg.read_file(str(path)).leads}


def _by_edfio(path: Path) -> Leads:
    import edfio

    read = edfio.read_bdf if path.suffix == ".bdf" else edfio.read_edf
    return {signal.label: signal.data for signal in read(path).signals}


def _by_ecgdatakit(path: Path) -> Leads:
    import ecgdatakit

    leads = [lead if lead.units else lead.to_physical() for lead in ecgdatakit.FileParser().parse(str(path)).leads]
    per_millivolt = {"mV": 1.0, "uV": _MICROVOLTS}
    return {lead.label: np.asarray(lead.samples, np.float64) / per_millivolt[lead.units] for lead in leads}


def _written_by_edfio(source: Path, folder: Path, ending: str) -> Path:
    """A real ECG as EDF or BDF."""
    import edfio

    signal_of, file_of = (edfio.EdfSignal, edfio.Edf) if ending == "edf" else (edfio.BdfSignal, edfio.Bdf)
    signals = [
        signal_of(row, 500, label=f"ECG {lead}", physical_dimension="mV", physical_range=(-10, 10))
        for lead, row in _by_wfdb(source).items()
    ]
    path = folder / f"{source.stem}.{ending}"
    file_of(signals, data_record_duration=1).write(path)
    return path


def _largest_difference(paths: list[Path], peer: Callable[[Path], Leads]) -> float:
    """Microvolts, over all leads of all files; lengths must agree."""
    from echoingecg.ecg.decode import decode

    largest = 0.0
    for path in paths:
        found, theirs = decode(path), peer(path)
        for lead, row in zip(found.leads, found.signal, strict=True):
            bare = lead.lower().removeprefix("mdc_ecg_lead_")
            spellings = {lead.lower(), bare, f"lead {bare}", f"lead {bare} (einthoven)"}
            other = next(values for name, values in theirs.items() if name.lower() in spellings)
            if abs(len(other) - len(row)) > 1:  # XLI pads a lead to whole bytes: a value more may be read
                raise ValueError(f"{path}: {len(row)} samples, the peer reads {len(other)}")
            both = min(len(row), len(other))
            largest = max(largest, float(np.nanmax(np.abs(row[:both] - other[:both]))) * _MICROVOLTS)
    return largest


def rows() -> Iterator[Row]:
    """One row for each format and peer."""
    records = _files("*.hea")
    with tempfile.TemporaryDirectory() as folder:
        sources = [path for path in records if path.stem.endswith("_hr")]
        written = {
            ending: [_written_by_edfio(path, Path(folder), ending) for path in sources] if find_spec("edfio") else []
            for ending in ("edf", "bdf")
        }
        dicom = []
        if find_spec("pydicom"):
            from pydicom.data import get_testdata_file

            dicom = [Path(str(get_testdata_file("waveform_ecg.dcm")))]
        sets: list[tuple[str, str, list[Path], Callable[[Path], Leads]]] = [
            ("WFDB", "wfdb", records, _by_wfdb),
            ("DICOM", "pydicom", dicom, _by_pydicom),
            ("Philips XML", "sierraecg", _files("philips_xml/*.[xX][mM][lL]"), _by_sierraecg),
            ("Philips XML", "ecgdatakit", _files("philips_xml/*.[xX][mM][lL]"), _by_ecgdatakit),
            ("GE MUSE XML", "ecgdatakit", _files("muse_xml/*/*.xml"), _by_ecgdatakit),
            ("HL7 aECG", "ecgdatakit", _files("hl7_aecg/*/*.xml"), _by_ecgdatakit),
            ("SCP-ECG", "ecgdatakit", _files("scp_ecg/*/*.scp"), _by_ecgdatakit),
            ("EDF", "edfio", written["edf"], _by_edfio),
            ("BDF", "edfio", written["bdf"], _by_edfio),
        ]
        for form, peer, paths, read in sets:
            if find_spec(peer) and paths:
                work = f"{form}: {len(paths)} files, largest difference in any sample"
                yield Row(work, f"read by {peer}", None, _largest_difference(paths, read), below(1), "uV")
