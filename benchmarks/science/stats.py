"""Means over seeds with their intervals, and rank correlations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.stats import rankdata, t

LEVEL: Final = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and its 95 % interval.

    Attributes:
        mean: None without a value.
        low, high: None with under two values.
        seeds: number of values.
    """

    mean: float | None
    low: float | None
    high: float | None
    seeds: int

    def __str__(self) -> str:
        if self.mean is None:
            return "–"
        if self.low is None or self.high is None:
            return _signed(self.mean)
        return f"{_signed(self.mean)} ({_signed(self.low)} to {_signed(self.high)})"

    @property
    def above_zero(self) -> bool:
        """Whether the whole interval is."""
        return self.low is not None and self.low > 0


def t_interval(values: Sequence[float | None]) -> Interval:
    """Student's t interval of the mean of one value a seed; seeds without a value (None) are left out."""
    known = np.array([one for one in values if one is not None], np.float64)
    if len(known) == 0:
        return Interval(None, None, None, 0)
    mean = float(known.mean())
    if len(known) < 2:
        return Interval(mean, None, None, len(known))
    half = float(t.ppf((1 + LEVEL) / 2, len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known)))
    return Interval(mean, mean - half, mean + half, len(known))


def paired(first: Mapping[int, float | None], second: Mapping[int, float | None]) -> Interval:
    """Interval of first - second over the seeds that have both."""
    found = []
    for seed in sorted(first.keys() & second.keys()):
        a, b = first[seed], second[seed]
        if a is not None and b is not None:
            found.append(a - b)
    return t_interval(found)


def spearman(a: np.ndarray, b: np.ndarray) -> float | None:
    """Rank correlation; None where a side does not vary or there are under three values."""
    return _correlation(rankdata(a), rankdata(b))


def partial_spearman(a: np.ndarray, b: np.ndarray, given: np.ndarray) -> float | None:
    """Rank correlation of a and b with the rank of `given` regressed out of both."""
    ranks = np.column_stack([np.ones(len(given)), rankdata(given)])

    def rest(one: np.ndarray) -> np.ndarray:
        rank = rankdata(one)
        return np.asarray(rank - ranks @ np.linalg.lstsq(ranks, rank, rcond=None)[0])

    return _correlation(rest(a), rest(b))


def _correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    if len(a) < 3 or np.ptp(a) < 1e-9 or np.ptp(b) < 1e-9:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def _signed(value: float) -> str:
    """Two decimals, three near zero, with a true minus sign."""
    text = f"{value:.3f}" if abs(value) < 0.1 else f"{value:.2f}"
    return text.replace("-", "−")
