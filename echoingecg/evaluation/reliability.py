"""Reliability diagram: what was predicted against what came true, in bins of the score."""

from dataclasses import dataclass
from typing import Final

import numpy as np

BINS: Final = 10


@dataclass(frozen=True)
class ReliabilityBin:
    """Records whose score lies in (low, high]; the first bin holds 0 too."""

    low: float
    high: float
    records: int
    positives: int
    mean_score: float


def bin_of(score: np.ndarray, bins: int) -> np.ndarray:
    """Place of each score, (n,) in [0, 1], among bins of equal width (Guo et al., ICML 2017): (n,) int64."""
    return np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], score)


def reliability_bins(label: np.ndarray, score: np.ndarray, bins: int = BINS) -> list[ReliabilityBin]:
    """The bins that hold a record, from low to high scores.

    Args:
        label: (n,) 0 or 1.
        score: (n,) in [0, 1].
        bins: of equal width.
    """
    place, edges = bin_of(score, bins), np.linspace(0, 1, bins + 1)
    found = []
    for one in np.unique(place).tolist():
        here = place == one
        found.append(
            ReliabilityBin(
                low=float(edges[one]),
                high=float(edges[one + 1]),
                records=int(here.sum()),
                positives=int((label[here] == 1).sum()),
                mean_score=float(score[here].mean()),
            )
        )
    return found
