"""NumPy arrays (.npy), the form of EchoNext and of research exports: the numbers only, the rest must be stated."""

from collections.abc import Sequence
from pathlib import Path
from tokenize import TokenError

import numpy as np

from echoingecg.common import Refusal
from echoingecg.ecg.decode.recording import Recording, check_size, sampling_frequency, units_per_millivolt

SIGNATURE = b"\x93NUMPY"
_KINDS = "fiu"  # never objects: no pickle is read
# What NumPy raises on a damaged header.
_FAULTS = (
    ValueError, TypeError, KeyError, SyntaxError, TokenError, EOFError, OverflowError, MemoryError, RecursionError,
)  # fmt: skip


def decode_npy(
    path: Path,
    stated_unit: str | None,
    stated_sampling_frequency: float | None,
    stated_leads: Sequence[str] | None,
) -> Recording:
    """Reads one ECG of shape (lead, time) or (time, lead), axes of length 1 apart.

    Raises:
        Refusal: missing_leads, missing_units, missing_sampling_frequency when the export does not state
            them; unreadable when the shape can be read in more than one way, or in none.
        OSError: the file cannot be read.
    """
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except _FAULTS as fault:
        raise Refusal("unreadable", f"NumPy fails with {type(fault).__name__}") from fault
    if stored.dtype.kind not in _KINDS or stored.dtype.itemsize > 8:
        raise Refusal("unknown_format", "an array that is not of numbers")
    check_size(1, stored.size)
    if not stated_leads:
        raise Refusal("missing_leads", "the export does not state which lead stands where in an array")
    frequency = sampling_frequency(None, stated_sampling_frequency)
    per_millivolt = units_per_millivolt(stated_unit or "")
    shape = tuple(size for size in stored.shape if size != 1)
    axes = [axis for axis, size in enumerate(shape) if size == len(stated_leads)]
    if len(shape) != 2 or len(axes) != 1 or stored.size == 0:
        raise Refusal("unreadable", f"{len(stated_leads)} leads do not fit exactly one axis of shape {stored.shape}")
    values = np.asarray(stored, dtype=np.float64).reshape(shape)
    signal = np.ascontiguousarray(values if axes == [0] else values.T) / per_millivolt
    signal[~np.isfinite(signal)] = np.nan
    return Recording(signal, tuple(stated_leads), frequency)
