"""MATLAB files of version 5 to 7: one matrix of numbers holds one ECG, the export or the user must state the rest."""

import zlib
from pathlib import Path
from struct import error

import numpy as np

from echoingecg.common import Refusal
from echoingecg.ecg.decode.arrays import npy
from echoingecg.ecg.decode.recording import MAX_BYTES, Recording, Stated, check_expansion

SIGNATURE = b"MATLAB "

_NEWEST = b"MATLAB 7.3"
_CLASSES = ("double", "single", "int8", "int16", "int32", "uint8", "uint16", "uint32")
# What SciPy raises on damaged content.
_FAULTS = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, EOFError, MemoryError,
    NotImplementedError, UnicodeError, zlib.error, error, OSError,
)  # fmt: skip


def decode_mat(path: Path, stated: Stated) -> Recording:
    """Reads the only matrix that has the stated leads along an axis; other variables do not matter.

    Raises:
        Refusal: see `npy.decode_npy`; unreadable when no matrix has them, or several.
        OSError: the file cannot be read.
    """
    from scipy import io

    if not stated.leads:
        raise Refusal("missing_leads", "the export does not state which lead stands where in an array")
    with path.open("rb") as file:
        size = path.stat().st_size
        if file.read(len(_NEWEST)) == _NEWEST:
            raise Refusal("unknown_format", "a MATLAB file of version 7.3: save it as version 7")
        if size > MAX_BYTES:
            raise Refusal("unreadable", f"over {MAX_BYTES} bytes: no resting ECG")
        try:
            file.seek(0)
            matrices = [
                (name, shape)
                for name, shape, kind in io.whosmat(file)
                if kind in _CLASSES and len(stated.leads) in shape and np.prod(shape, dtype=float) > len(stated.leads)
            ]
            if len(matrices) != 1:
                detail = f"{len(matrices) or 'no'} matrices have {len(stated.leads)} leads along an axis, one must"
                raise Refusal("unreadable", detail)
            name, shape = matrices[0]
            check_expansion(int(np.prod(shape, dtype=float)), size)
            file.seek(0)
            stored = np.asarray(io.loadmat(file, variable_names=[name])[name])
        except Refusal:
            raise
        except _FAULTS as fault:
            if isinstance(fault, OSError) and fault.errno is not None:  # the disk's fault
                raise
            raise Refusal("unreadable", f"SciPy fails with {type(fault).__name__}") from fault
    if stored.dtype.kind not in "fiu":
        raise Refusal("unreadable", "a matrix that is not of real numbers")
    return npy.as_stated(stored, stated)
