"""What every decoder returns."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Recording:
    """One ECG as stored, in physical units.

    Attributes:
        signal: float64 (lead, time), mV; NaN where the file marks a sample as missing.
        leads: the leads' names as the file spells them, one a row of `signal`.
        sampling_frequency: Hz, positive.
        format: what kind of file it was, for example `SCP-ECG`; empty before `decode` has said.
        derived: the leads of `leads` that were computed from others and not read from the file.
    """

    signal: np.ndarray
    leads: tuple[str, ...]
    sampling_frequency: float
    derived: tuple[str, ...] = ()
    format: str = ""
