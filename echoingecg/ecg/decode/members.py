"""ECGs that lie together in one file: which path names which of them, what it holds, and what it is recognised by.

A path `exams_part13.hdf5#1169160` names exam 1169160 of an HDF5 file. A file of exactly that name comes first.
"""

import hashlib
import re
from pathlib import Path

import numpy as np

from echoingecg.ecg.decode import hdf5
from echoingecg.ecg.decode.recording import Recording, Stated

_PATH = re.compile(r"(?P<file>.+\.(?:hdf5|h5))#(?P<name>[0-9]{1,18}(?:of[0-9]{1,18})?)", re.IGNORECASE)

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
    """Looks whether a file holds an ECG, without reading it. Raises Refusal, OSError."""
    hdf5.check_tracing(path, name)


def hash_member(path: Path, name: str) -> str:
    """Returns the SHA-256 (64 hexadecimal digits) of one ECG's values and shape. Raises as `check_member`."""
    stored = np.ascontiguousarray(hdf5.read_tracing(path, name))
    digest = hashlib.sha256(f"{stored.dtype.str}{stored.shape}".encode())
    digest.update(stored.data)
    return digest.hexdigest()


def decode_member(path: Path, name: str, stated: Stated) -> Recording:
    """Reads one ECG. Raises Refusal, OSError: see `hdf5.decode_tracing`."""
    return hdf5.decode_tracing(path, name, stated)
