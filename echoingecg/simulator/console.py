"""How the sonographer has set the scanner: what it prints, and what it does to grey levels."""

from dataclasses import dataclass
from typing import Final

import numpy as np

_PROBES: Final = ("S5-1", "X5-1", "M5Sc", "P4-2", "5V1")
_GREYS: Final = 255
_USUAL_RANGE: Final = 60  # dB


@dataclass(frozen=True)
class Console:
    """Settings of one clip.

    Attributes:
        probe: model of the transducer.
        mechanical_index, thermal_index: as printed.
        gain: dB against what suits the patient.
        dynamic_range: dB from black to white.
        number: what stands in place of a patient's id.
    """

    probe: str
    mechanical_index: float
    thermal_index: float
    gain: float
    dynamic_range: float
    number: int

    @property
    def grey_per_db(self) -> float:
        return _GREYS / self.dynamic_range

    @property
    def contrast(self) -> float:
        """Grey levels for one at the usual dynamic range."""
        return _USUAL_RANGE / self.dynamic_range


def sample_console(rng: np.random.Generator) -> Console:
    """One sonographer's choice on one machine."""
    return Console(
        probe=str(rng.choice(_PROBES)),
        mechanical_index=float(rng.uniform(0.8, 1.6)),
        thermal_index=float(rng.uniform(0.3, 1.4)),
        gain=float(rng.normal(0, 2.2)),
        dynamic_range=float(rng.uniform(50, 76)),
        number=int(rng.integers(1_000_000)),
    )
