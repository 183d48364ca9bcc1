"""Gaussians with diagonal covariance, and the closed-form sampled distance between them.

Shape legend: n, m = Gaussians, D = shared embedding width.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np


@dataclass(frozen=True)
class Gaussians:
    """Means and what the distance needs of the variances.

    Attributes:
        mean: (n, D) float32.
        total_variance: (n,) float64, sum over D of exp(log_var); all that the distance uses of it.
        uncertainty: (n,) float64, mean over D of log_var; the scalar uncertainty of METHOD.
    """

    mean: np.ndarray
    total_variance: np.ndarray
    uncertainty: np.ndarray

    @classmethod
    def of(cls, mean: np.ndarray, log_var: np.ndarray) -> Self:
        """Keeps the mean and two scalars a row, so that many rows stay small. Both arrays (n, D)."""
        log_var = log_var.astype(np.float64)
        return cls(mean.astype(np.float32), np.exp(log_var).sum(axis=1), log_var.mean(axis=1))

    @classmethod
    def points(cls, mean: np.ndarray) -> Self:
        """Means that are certain, (n, D): no variance, so neither of the two scalars says anything."""
        return cls(mean.astype(np.float32), np.zeros(len(mean)), np.zeros(len(mean)))

    def __len__(self) -> int:
        return len(self.mean)

    def __getitem__(self, rows: np.ndarray | slice) -> Self:
        return type(self)(self.mean[rows], self.total_variance[rows], self.uncertainty[rows])


def sampled_distances(a: Gaussians, b: Gaussians) -> np.ndarray:
    """Closed-form sampled distance of every pair (Chun, ICLR 2024, eq. 1).

    d = sum over D of (mean_a - mean_b)^2, plus the total variance of both.

    Args:
        a: n Gaussians.
        b: m Gaussians.

    Returns:
        (n, m) float64, not negative.
    """
    left, right = a.mean.astype(np.float64), b.mean.astype(np.float64)
    squared = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1) - 2.0 * left @ right.T
    return np.maximum(squared, 0.0) + a.total_variance[:, None] + b.total_variance
