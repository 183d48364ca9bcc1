"""Every paired ECG through the student once, in chunks, so that memory does not grow with the signals.

Gaussians with diagonal covariance, and the closed-form sampled distance between them.

Shape legend: n, m = Gaussians, D = shared embedding width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np

from echoingecg.common import ContractError, Progress, no_progress
from echoingecg.recipe import TuningSettings
from echoingecg.recipe.evaluation import TuningMethod


@dataclass(frozen=True)
class Gaussians:
    """Means and what the distance needs of the variances.

    Attributes:
        mean: (n, D) float32.
        total_variance: (n,) float64, sum over D of exp(log_var); all that the distance uses of it.
        uncertainty: (n,) float64, mean over D of log_var; the scalar uncertainty of METHOD.
        max_log_var: (n,) float64, largest over D of log_var.
    """

    mean: np.ndarray
    total_variance: np.ndarray
    uncertainty: np.ndarray
    max_log_var: np.ndarray

    @classmethod
    def of(cls, mean: np.ndarray, log_var: np.ndarray) -> Self:
        """Keeps the mean and three scalars a row, so that many rows stay small. Both arrays (n, D)."""
        log_var = log_var.astype(np.float64)
        return cls(mean.astype(np.float32), np.exp(log_var).sum(axis=1), log_var.mean(axis=1), log_var.max(axis=1))

    @classmethod
    def certain(cls, mean: np.ndarray) -> Self:
        """Points, (n, D): no variance, and a log-variance without end."""
        endless = np.full(len(mean), -np.inf)
        return cls(mean.astype(np.float32), np.zeros(len(mean)), endless, endless)

    def __len__(self) -> int:
        return len(self.mean)

    def __getitem__(self, rows: np.ndarray | slice) -> Self:
        return type(self)(self.mean[rows], self.total_variance[rows], self.uncertainty[rows], self.max_log_var[rows])


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


CHUNK = 512  # ECGs a call: 25 MB of signals


class StudentModel(Protocol):
    """What evaluation needs of a trained student. Every mean and log_var is (n, D)."""

    @property
    def dim(self) -> int:
        """Embedding width, D."""

    @property
    def scale(self) -> float:
        """Learned scale of the match logit: -scale * distance + shift."""

    @property
    def shift(self) -> float:
        """Learned shift of the match logit."""

    def embed_ecg(self, signals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and log_var of signals, (n, 12, 1000) float32 in mV."""

    def embed_text(self, texts: list[str], method: str) -> tuple[np.ndarray, np.ndarray]:
        """Mean and log_var of texts that speak of `method`, ECG or ECHO."""

    def classify(
        self,
        method: TuningMethod,
        read: Callable[[np.ndarray], np.ndarray],
        label: np.ndarray,
        split: np.ndarray,
        settings: TuningSettings,
        seed: int,
    ) -> np.ndarray:
        """Scores (n,) in [0, 1] of a classifier made of the ECG encoder, trained on the training ECGs' labels."""


class TextTower(Protocol):
    """The teacher's text tower."""

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        """Unit-length embeddings of texts, (n, D) float32."""


class Signals(Protocol):
    """Reads signals by row."""

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Rows (n,) int64 -> (n, 12, 1000) float32, mV."""


def embed_ecgs(
    student: StudentModel, signals: Signals, rows: np.ndarray, dim: int, progress: Progress = no_progress
) -> Gaussians:
    """ECGs as Gaussians.

    Args:
        student: the trained student.
        signals: where the signals are read.
        rows: (n,) int64, rows of `signals`; read in ascending order.
        dim: embedding width, which the student must have.
        progress: told the ECGs done.

    Raises:
        ContractError: the student's width is another, or an output is not finite.
    """
    mean = np.empty((len(rows), dim), np.float32)
    total_variance, uncertainty, max_log_var = (np.empty(len(rows)) for _ in range(3))
    order = np.argsort(rows, kind="stable")
    for start in range(0, len(rows), CHUNK):
        at = order[start : start + CHUNK]
        part = _checked(*student.embed_ecg(signals.read(rows[at])), len(at), dim, "ECGs")
        mean[at], total_variance[at] = part.mean, part.total_variance
        uncertainty[at], max_log_var[at] = part.uncertainty, part.max_log_var
        progress(start + len(at), len(rows), "ECGs embedded")
    return Gaussians(mean, total_variance, uncertainty, max_log_var)


def embed_prompts(student: StudentModel, prompts: tuple[str, ...], dim: int) -> Gaussians:
    """Echo sentences as Gaussians. Raises ContractError like `embed_ecgs`."""
    return _checked(*student.embed_text(list(prompts), "ECHO"), len(prompts), dim, "prompts")


def _checked(mean: np.ndarray, log_var: np.ndarray, rows: int, dim: int, what: str) -> Gaussians:
    if mean.shape != (rows, dim) or log_var.shape != (rows, dim):
        raise ContractError(
            f"student: {what} embed to mean {mean.shape} and log_var {log_var.shape}, expected ({rows}, {dim}): "
            "use a student trained on this teacher"
        )
    with np.errstate(over="ignore"):
        found = Gaussians.of(mean, log_var)
    if not (np.isfinite(found.mean).all() and np.isfinite(found.total_variance).all()):
        raise ContractError(f"student: the embedding of {what} holds values that are not finite: train it again")
    return found
