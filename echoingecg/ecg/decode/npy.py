"""NumPy arrays (.npy), as in EchoNext and research exports: numbers only, the export must state the rest."""

from pathlib import Path
from tokenize import TokenError

import numpy as np

from echoingecg.common import Refusal
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
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except _FAULTS as fault:
        raise Refusal("unreadable", f"NumPy fails with {type(fault).__name__}") from fault
    if stored.dtype.kind not in _NUMERIC_KINDS or stored.dtype.itemsize > 8:
        raise Refusal("unknown_format", "an array that is not of numbers")
    check_size(1, stored.size)
    if not stated.leads:
        raise Refusal("missing_leads", "the export does not state which lead stands where in an array")
    frequency = stated.frequency(None)
    per_millivolt = stated.units_per_millivolt(None)
    shape = tuple(size for size in stored.shape if size != 1)
    axes = [axis for axis, size in enumerate(shape) if size == len(stated.leads)]
    if len(shape) != 2 or len(axes) != 1 or stored.size == 0:
        raise Refusal("unreadable", f"{len(stated.leads)} leads do not fit exactly one axis of shape {stored.shape}")
    values = np.asarray(stored, dtype=np.float64).reshape(shape)
    signal = np.ascontiguousarray(values if axes == [0] else values.T) / per_millivolt
    signal[~np.isfinite(signal)] = np.nan
    return Recording(signal, tuple(stated.leads), frequency)
