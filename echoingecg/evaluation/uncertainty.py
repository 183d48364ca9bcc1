"""Does the predicted variance tell where the student errs? Halves and bins by scalar uncertainty."""

from dataclasses import dataclass
from typing import Final

import numpy as np

ALL: Final = "all"
LOW: Final = "low_uncertainty"
HIGH: Final = "high_uncertainty"
MAX_BINS: Final = 5
MIN_PER_BIN: Final = 10


@dataclass(frozen=True)
class VarianceBin:
    """ECGs of neighbouring uncertainty."""

    uncertainty: float  # mean of the bin
    records: int
    errors: int
    positives: int

    @property
    def error_rate(self) -> float:
        return self.errors / self.records

    @property
    def positive_share(self) -> float:
        return self.positives / self.records


def groups(uncertainty: np.ndarray) -> dict[str, np.ndarray]:
    """All ECGs, the half of low and the half of high uncertainty, as (n,) bool.

    Halves are cut by rank, equals in their order; with an odd count the low half has one more. The variance
    often follows the class more than the error, so read halves with their class counts.
    """
    rank = np.argsort(np.argsort(uncertainty, kind="stable"), kind="stable")
    low = rank < (len(uncertainty) + 1) // 2
    return {ALL: np.ones(len(uncertainty), dtype=bool), LOW: low, HIGH: ~low}


def variance_bins(uncertainty: np.ndarray, label: np.ndarray, decision: np.ndarray) -> list[VarianceBin]:
    """Quantile bins of equal size (give or take one), from certain to uncertain.

    Up to 5 bins, fewer where a bin would hold under 10 ECGs; none without ECGs. All arrays (n,).
    """
    if len(uncertainty) == 0:
        return []
    bins = int(np.clip(len(uncertainty) // MIN_PER_BIN, 1, MAX_BINS))
    return [
        VarianceBin(
            uncertainty=float(uncertainty[part].mean()),
            records=len(part),
            errors=int((label[part] != decision[part]).sum()),
            positives=int((label[part] == 1).sum()),
        )
        for part in np.array_split(np.argsort(uncertainty, kind="stable"), bins)
    ]
