"""NumPy arrays (.npy), as in EchoNext and research exports: numbers only, the export must state the rest."""

from pathlib import Path
from tokenize import TokenError

import numpy as np

from echoingecg.common import Refusal
from echoingecg.ecg.decode.arrays import standardised
from echoingecg.ecg.decode.recording import Recording, Stated, check_size

_NUMERIC_KINDS = "fiu"  # never objects: no pickle is read
# What NumPy raises on a damaged header.
_FAULTS = (
    ValueError, TypeError, KeyError, SyntaxError, TokenError, EOFError, OverflowError, MemoryError, RecursionError,
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
    except _FAULTS as fault:
        raise Refusal("unreadable", f"NumPy fails with {type(fault).__name__}") from fault
    if stored.dtype.kind not in _NUMERIC_KINDS or stored.dtype.itemsize > 8:
        raise Refusal("unknown_format", "an array that is not of numbers")
    held = path.stat().st_size
    if (promised := stored.offset + stored.nbytes) != held:  # bytes that were put in shift all that follow
        raise Refusal("unreadable", f"the array promises {promised} bytes, the file holds {held}")
    return stored


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
