"""One ECG as a bare matrix of numbers, of which the export or the user must state the rest.

NumPy arrays (.npy), as in EchoNext and research exports, and MATLAB files of version 5 to 7.
"""

import zlib
from pathlib import Path
from struct import error
from tokenize import TokenError

import numpy as np

from echoingecg.common import Refusal
from echoingecg.ecg.decode.arrays import standardised
from echoingecg.ecg.decode.recording import MAX_BYTES, Recording, Stated, check_expansion, check_size

_NUMERIC_KINDS = "fiu"  # never objects: no pickle is read
# What NumPy raises on a damaged header.
_NUMPY_FAULTS = (
    ValueError, TypeError, KeyError, SyntaxError, TokenError, EOFError, OverflowError, MemoryError, RecursionError,
)  # fmt: skip
MATLAB_SIGNATURE = b"MATLAB "
_NEWEST_MATLAB = b"MATLAB 7.3"
_MATLAB_CLASSES = ("double", "single", "int8", "int16", "int32", "uint8", "uint16", "uint32")
# What SciPy raises on damaged content.
_SCIPY_FAULTS = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, EOFError, MemoryError,
    NotImplementedError, UnicodeError, zlib.error, error, OSError,
)  # fmt: skip


def decode_npy(path: Path, stated: Stated) -> Recording:
    """Reads one ECG of shape (lead, time) or (time, lead); axes of length 1 are ignored.

    Raises:
        Refusal: missing_leads, missing_units, missing_sampling_frequency when the export does not state
            them; unreadable when the shape can be read in more than one way, or in none.
        OSError: the file cannot be read.
    """
    return as_stated(_mapped(path), stated)


def decode_row(path: Path, row: int, rows: int, stated: Stated) -> Recording:
    """Reads one ECG of an array (ecg, ..., lead and time in either order). Arguments and faults: see `read_row`."""
    return as_stated(read_row(path, row, rows), stated)


def read_row(path: Path, row: int, rows: int) -> np.ndarray:
    """Returns one row of an array as stored; the others are not read.

    Args:
        path: a file of NumPy.
        row: from 0.
        rows: that the export lists for this file, in its order.

    Raises:
        Refusal: unreadable when the file has another number of rows.
        OSError: the file cannot be read.
    """
    stored = _mapped(path)
    if stored.ndim < 3 or len(stored) != rows:
        held = len(stored) if stored.ndim else 0
        raise Refusal("unreadable", f"an array of {held} ECGs for a table of {rows}: which is whose is not known")
    if row >= rows:
        raise Refusal("missing_file", "the array has no such row")
    return np.array(stored[row])


def _mapped(path: Path) -> np.ndarray:
    """The array on the disk, of numbers alone."""
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except _NUMPY_FAULTS as fault:
        raise Refusal("unreadable", f"NumPy fails with {type(fault).__name__}") from fault
    if stored.dtype.kind not in _NUMERIC_KINDS or stored.dtype.itemsize > 8:
        raise Refusal("unknown_format", "an array that is not of numbers")
    held = path.stat().st_size
    if (promised := stored.offset + stored.nbytes) != held:  # bytes that were put in shift all that follow
        raise Refusal("unreadable", f"the array promises {promised} bytes, the file holds {held}")
    return stored


def decode_mat(path: Path, stated: Stated) -> Recording:
    """Reads the only matrix that has the stated leads along an axis; other variables do not matter.

    Raises:
        Refusal: see `decode_npy`; unreadable when no matrix has them, or several.
        OSError: the file cannot be read.
    """
    from scipy import io

    if not stated.leads:
        raise Refusal("missing_leads", "the export does not state which lead stands where in an array")
    with path.open("rb") as file:
        size = path.stat().st_size
        if file.read(len(_NEWEST_MATLAB)) == _NEWEST_MATLAB:
            raise Refusal("unknown_format", "a MATLAB file of version 7.3: save it as version 7")
        if size > MAX_BYTES:
            raise Refusal("unreadable", f"over {MAX_BYTES} bytes: no resting ECG")
        try:
            file.seek(0)
            matrices = [
                (name, shape)
                for name, shape, kind in io.whosmat(file)
                if kind in _MATLAB_CLASSES
                and len(stated.leads) in shape
                and np.prod(shape, dtype=float) > len(stated.leads)
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
        except _SCIPY_FAULTS as fault:
            if isinstance(fault, OSError) and fault.errno is not None:  # the disk's fault
                raise
            raise Refusal("unreadable", f"SciPy fails with {type(fault).__name__}") from fault
    if stored.dtype.kind not in "fiu":
        raise Refusal("unreadable", "a matrix that is not of real numbers")
    return as_stated(stored, stated)


def as_stated(stored: np.ndarray, stated: Stated) -> Recording:
    """One ECG of numbers as stored, with leads, unit and rate as stated. Raises what `decode_npy` does."""
    check_size(1, stored.size)
    if not stated.leads:
        raise Refusal("missing_leads", "the export does not state which lead stands where in an array")
    frequency = stated.frequency(None)
    has_constants = standardised.is_standardised(stated.unit)
    per_millivolt = 1.0 if has_constants else stated.units_per_millivolt(None)
    shape = tuple(size for size in stored.shape if size != 1)
    axes = [axis for axis, size in enumerate(shape) if size == len(stated.leads)]
    if len(shape) != 2 or len(axes) != 1 or stored.size == 0:
        raise Refusal("unreadable", f"{len(stated.leads)} leads do not fit exactly one axis of shape {stored.shape}")
    values = np.asarray(stored, dtype=np.float64).reshape(shape)
    signal = np.ascontiguousarray(values if axes == [0] else values.T) / per_millivolt
    signal[~np.isfinite(signal)] = np.nan
    if not has_constants:
        return Recording(signal, tuple(stated.leads), frequency)
    recording = Recording(standardised.turned_back(signal, stated.unit or ""), tuple(stated.leads), frequency)
    standardised.check_limb_leads(recording)
    return recording
