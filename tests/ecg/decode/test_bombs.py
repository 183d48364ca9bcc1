"""Small files that unpack to gigabytes: refused in one line, in little memory. Others' libraries write each of them."""

import gzip
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pydicom
import pytest
import soundfile
from pydicom.uid import DeflatedExplicitVRLittleEndian
from scipy.io import savemat

from echoingecg.catalog.layouts import tables
from echoingecg.common import ExportError, Refusal
from echoingecg.ecg.decode import decode
from helpers.ecg.ecg_files import ecg_steps, write_dicom
from helpers.ecg.wfdb_files import CLINICAL
from helpers.paths import ROOT

MOST_BYTES = 400 << 20  # resident, of which libraries take half
CHANNELS, VALUES = 8, 1 << 26


def _deflated(folder: Path, zeros: int) -> Path:
    dataset = pydicom.dcmread(write_dicom(folder, ecg_steps(seconds=1.0)))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.add_new(0x00420011, "OB", bytes(zeros))  # Encapsulated Document
    dataset.save_as(folder / "ecg.dcm")
    return folder / "ecg.dcm"


def _flac(folder: Path, samples: int = VALUES // CHANNELS) -> Path:
    with soundfile.SoundFile(folder / "ecg.flac", "w", 500, CHANNELS, "PCM_16") as file:
        for start in range(0, samples, 1 << 20):
            file.write(np.zeros((min(1 << 20, samples - start), CHANNELS), np.int16))
    (folder / "ecg.flac").rename(folder / "ecg.dat")
    leads = "".join(f"ecg.dat 516 200/mV 16 0 0 0 0 {lead}\n" for lead in CLINICAL[:CHANNELS])
    (folder / "ecg.hea").write_text(f"ecg {CHANNELS} 500 {samples}\n{leads}")
    return folder / "ecg.hea"


def _repeats(folder: Path) -> Path:
    """A segment of 20,000 samples, named 300 times."""
    _flac(folder, 20_000).rename(folder / "part.hea")
    (folder / "part.hea").write_text((folder / "part.hea").read_text().replace("ecg ", "part ", 1))
    (folder / "ecg.hea").write_text(f"ecg/300 {CHANNELS} 500 6000000\n" + "part 20000\n" * 300)
    return folder / "ecg.hea"


def _mat(folder: Path) -> Path:
    savemat(folder / "ecg.mat", {"ecg": np.zeros((12, VALUES // 48), np.int16)}, do_compression=True)
    return folder / "ecg.mat"


def _hdf5(shape: tuple[int, ...], chunks: tuple[int, ...], ids: int) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        with h5py.File(folder / "exams.hdf5", "w") as file:  # no chunk is ever stored
            file.create_dataset("tracings", shape, "f8", chunks=chunks, compression="gzip")
            file.create_dataset("exam_id", (ids,), "i8", chunks=(min(ids, 1024),), compression="gzip")
            file["exam_id"][0] = 1
        return folder / "exams.hdf5#1"

    return write


BOMBS = {
    "deflated DICOM": lambda folder: _deflated(folder, 1 << 28),
    "WFDB of FLAC": _flac,
    "WFDB of repeats": _repeats,
    "MATLAB": _mat,
    "HDF5, one long exam": _hdf5((2, VALUES // 12, 12), (1, 1024, 12), 2),
    "HDF5, one large chunk": _hdf5((VALUES // 1200, 100, 12), (VALUES // 1200, 100, 12), VALUES // 1200),
    "HDF5, many exams": _hdf5((1 << 30, 100, 12), (1, 100, 12), 1 << 30),
}
_MEASURE = """
import sys
from pathlib import Path
from echoingecg.common import Refusal
from echoingecg.ecg.decode import decode
try:
    print(decode(Path(sys.argv[1]), "mV", 500.0, sys.argv[2].split()).signal.shape)
except Refusal as refusal:
    print(refusal)
print(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")))
"""


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_in_little_memory(tmp_path: Path, name: str) -> None:
    path = BOMBS[name](tmp_path)
    held = sum(file.stat().st_size for file in tmp_path.iterdir())
    assert held < 1 << 20
    call = [sys.executable, "-c", _MEASURE, str(path), " ".join(CLINICAL)]
    said, peak = subprocess.run(
        call, check=True, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(ROOT)}
    ).stdout.splitlines()  # fmt: skip
    assert said.startswith("unreadable: ")
    assert int(peak.split()[1]) << 10 < MOST_BYTES


def test_what_is_compressed_as_an_ecg_is_read(tmp_path: Path) -> None:
    """Half an hour of zeros in FLAC, a deflated DICOM of some megabytes beside the ECG."""
    assert decode(_flac(tmp_path, 1000)).signal.shape == (CHANNELS, 1000)
    assert decode(_deflated(tmp_path, 1 << 22)).signal.shape == (12, 500)


def test_flac_of_a_length_that_is_not_stated_is_refused(tmp_path: Path) -> None:
    path = _flac(tmp_path, 1000)
    path.write_text(path.read_text().replace(f"ecg {CHANNELS} 500 1000", f"ecg {CHANNELS} 500", 1))
    with pytest.raises(Refusal, match="length that is not stated"):
        decode(path)


def test_a_table_that_unpacks_to_too_much_stops_the_run_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_FREE_BYTES", 1 << 20)
    row = b"P1,1,2021-03-01 08:00:00," + b" " * 974 + b"x\n"
    with gzip.open(tmp_path / "ecgs.csv.gz", "wb") as file:
        file.write(b"patient_id,ecg_id,time,path\n" + row * 20_000)
    table = tables.find_tables(tmp_path, ["ecgs.csv"], 0)["ecgs.csv"]
    with pytest.raises(ExportError, match=r"^ecgs\.csv\.gz: .*over 200 times as large once unpacked$"):
        for _ in table._stream(4, ["path"], tables._CODES, []):
            pass
