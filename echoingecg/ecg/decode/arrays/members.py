"""ECGs that lie together in one file: which path names which of them, what it holds, and what it is recognised by.

A path names one ECG after `#`: `exams_part13.hdf5#1169160` is exam 1169160 of an HDF5 file,
`EchoNext_val_waveforms.npy#17of4626` row 17, from 0, of an array for which the export lists 4626 rows. A file of
exactly that name comes first.
"""

import hashlib
import re
from pathlib import Path

import numpy as np

from echoingecg.ecg.decode.arrays import hdf5, matrix
from echoingecg.ecg.decode.recording import Recording, Stated

_NUMBER = r"[0-9]{1,18}"
_PATH = re.compile(
    rf"(?P<file>.+\.(?:(?:hdf5|h5)(?=#)|npy(?=#{_NUMBER}of)))#(?P<name>{_NUMBER}(?:of{_NUMBER})?)", re.IGNORECASE
)
_NUMPY = ".npy"

SIGNATURE = b"\x89HDF\r\n\x1a\n"


def split_member(path: str) -> tuple[str, str] | None:
    """Returns the path of the file and the name of the ECG in it; None for a path of a whole file."""
    match = _PATH.fullmatch(path)
    return (match["file"], match["name"]) if match else None


def member_of(path: Path) -> tuple[Path, str] | None:
    """Returns what `split_member` does; None also where a file of the whole name is there."""
    member = split_member(str(path))
    return None if member is None or path.is_file() else (Path(member[0]), member[1])


def check_member(path: Path, name: str) -> None:
    """Looks whether a file holds an ECG, without reading all of it. Raises Refusal, OSError."""
    if _is_array(path):
        matrix.read_row(path, *_row(name))
    else:
        hdf5.check_tracing(path, name)


def hash_member(path: Path, name: str) -> str:
    """Returns the SHA-256 (64 hexadecimal digits) of one ECG's values and shape. Raises as `check_member`."""
    stored = matrix.read_row(path, *_row(name)) if _is_array(path) else hdf5.read_tracing(path, name)
    stored = np.ascontiguousarray(stored)
    digest = hashlib.sha256(f"{stored.dtype.str}{stored.shape}".encode())
    digest.update(stored.data)
    return digest.hexdigest()


def decode_member(path: Path, name: str, stated: Stated) -> tuple[str, Recording]:
    """Reads one ECG; returns its format, too. Raises as `hdf5.decode_tracing` and `matrix.decode_row` do."""
    if _is_array(path):
        return "NumPy", matrix.decode_row(path, *_row(name), stated)
    return "HDF5", hdf5.decode_tracing(path, name, stated)


def _is_array(path: Path) -> bool:
    return path.suffix.lower() == _NUMPY


def _row(name: str) -> tuple[int, int]:
    """Returns row and number of rows."""
    row, _, rows = name.partition("of")
    return int(row), int(rows)
