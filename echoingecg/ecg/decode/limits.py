"""What a decoder may read and allocate, and which rates it accepts."""

from math import isfinite
from os import fstat
from pathlib import Path
from typing import Final

from echoingecg.common.errors import Refusal

# All signals together: 1 GB as float64, or more than three hours of twelve leads at 1 kHz.
MAX_VALUES: Final = 1 << 27
# A whole file that must be parsed in memory: XML and SCP-ECG of 10 s have 30 kB to 2 MB.
MAX_BYTES: Final = 1 << 26


def check_size(signals: int, samples: int) -> None:
    """Raises Refusal before memory is asked for that no resting ECG needs."""
    if signals * samples > MAX_VALUES:
        raise Refusal("unreadable", f"{signals} signals of {samples} samples: no resting ECG")


def read_whole(path: Path) -> bytes:
    """The file's content. Raises Refusal(unreadable) for one that is too large for an ECG, OSError."""
    with path.open("rb") as file:
        size = fstat(file.fileno()).st_size
        if size > MAX_BYTES:
            raise Refusal("unreadable", f"over {MAX_BYTES} bytes: no resting ECG")
        return file.read(size)


def sampling_frequency(found: float | None, stated: float | None) -> float:
    """Hz, from the file if it says so, else from the export. Raises Refusal(missing_sampling_frequency)."""
    frequency = stated if found is None else found
    if frequency is None:
        raise Refusal("missing_sampling_frequency", "the sampling frequency is not stated")
    if not isfinite(frequency) or frequency <= 0:
        raise Refusal("missing_sampling_frequency", f"a sampling frequency of {frequency:g} Hz")
    return frequency
