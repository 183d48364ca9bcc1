"""ECGs and sentences as Gaussians with diagonal covariance, the closed-form sampled distance, and the nearest by it.

ECGs pass through the student once, in chunks, so that memory does not grow with the signals.

Shape legend: n, m = Gaussians, D = shared embedding width.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np

from data_contracts.conventions import LeadSet
from echoingecg.common import ContractError, Progress, no_progress
from echoingecg.recipe import TuningSettings
from echoingecg.recipe.evaluation import TuningMethod

ROWS_PER_CHUNK = 8192  # of the gallery: 34 MB as float64 at an embedding width of 512


@dataclass(frozen=True)
class GaussianTable:
    """Gaussians as NumPy arrays: means, and what the distance needs of the variances.

    Attributes:
        mean: (n, D) float32.
        total_variance: (n,) float64, sum over D of exp(log_var); the distance needs no more of the variances.
        uncertainty: (n,) float64, mean over D of log_var; the scalar uncertainty of docs/method.md.
        max_log_var: (n,) float64, largest over D of log_var.
    """

    mean: np.ndarray
    total_variance: np.ndarray
    uncertainty: np.ndarray
    max_log_var: np.ndarray

    @classmethod
    def from_log_var(cls, mean: np.ndarray, log_var: np.ndarray) -> Self:
        """A table from mean and log-variance, both (n, D); keeps three scalars a row, so that many rows stay small."""
        log_var = log_var.astype(np.float64)
        return cls(mean.astype(np.float32), np.exp(log_var).sum(axis=1), log_var.mean(axis=1), log_var.max(axis=1))

    @classmethod
    def from_points(cls, mean: np.ndarray) -> Self:
        """A table of point estimates, (n, D): variance 0, log-variance -inf."""
        no_variance = np.full(len(mean), -np.inf)
        return cls(mean.astype(np.float32), np.zeros(len(mean)), no_variance, no_variance)

    def __len__(self) -> int:
        return len(self.mean)

    def __getitem__(self, rows: np.ndarray | slice) -> Self:
        return type(self)(self.mean[rows], self.total_variance[rows], self.uncertainty[rows], self.max_log_var[rows])


def sampled_distances(a: GaussianTable, b: GaussianTable) -> np.ndarray:
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


CHUNK = 512  # ECGs embedded in one call: 25 MB of signals


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

    @property
    def lead_sets(self) -> tuple[LeadSet, ...]:
        """Sets of fewer than twelve leads that it was trained for, the largest first."""

    def with_lead_set(self, name: LeadSet) -> Self:
        """Returns the student that sees no other leads of an ECG than those of the set."""

    def embed_ecg(self, signals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and log_var of signals, (n, 12, 1000) float32 in mV."""

    def embed_ecg_with_features(self, signals: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean, log_var and the trunk's features, (n, F), of signals, (n, 12, 1000) float32 in mV."""

    def embed_text(self, texts: list[str], method: str) -> tuple[np.ndarray, np.ndarray]:
        """Mean and log_var of texts about one method, `ECG` or `ECHO`."""

    def classify(
        self,
        method: TuningMethod,
        read: Callable[[np.ndarray], np.ndarray],
        label: np.ndarray,
        split: np.ndarray,
        settings: TuningSettings,
        seed: int,
    ) -> np.ndarray:
        """Scores in [0, 1], (n,), of a classifier made from the ECG encoder, trained on the training ECGs' labels."""


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
) -> GaussianTable:
    """Embeds ECGs, see `embed_with_features`."""
    return embed_with_features(student, signals, rows, dim, progress)[0]


def embed_with_features(
    student: StudentModel, signals: Signals, rows: np.ndarray, dim: int, progress: Progress = no_progress
) -> tuple[GaussianTable, np.ndarray]:
    """Embeds ECGs, and keeps what the trunk saw.

    Args:
        student: the trained student.
        signals: to read the signals from.
        rows: (n,) int64, rows of `signals`; read in ascending order.
        dim: embedding width that the student must have.
        progress: receives the number of ECGs done.

    Returns:
        The Gaussians, and the trunk's features, (n, F) float32.

    Raises:
        ContractError: the student has another width, or an output is not finite.
    """
    mean = np.empty((len(rows), dim), np.float32)
    total_variance, uncertainty, max_log_var = (np.empty(len(rows)) for _ in range(3))
    features = np.empty((len(rows), 0), np.float32)
    order = np.argsort(rows, kind="stable")
    for start in range(0, max(len(rows), 1), CHUNK):  # without ECGs the features still have their width
        chunk_rows = order[start : start + CHUNK]
        chunk_mean, log_var, chunk_features = student.embed_ecg_with_features(signals.read(rows[chunk_rows]))
        part = _checked(chunk_mean, log_var, len(chunk_rows), dim, "ECGs")
        mean[chunk_rows], total_variance[chunk_rows] = part.mean, part.total_variance
        uncertainty[chunk_rows], max_log_var[chunk_rows] = part.uncertainty, part.max_log_var
        if start == 0:
            features = np.empty((len(rows), chunk_features.shape[1]), np.float32)
        features[chunk_rows] = chunk_features
        progress(start + len(chunk_rows), len(rows), "ECGs embedded")
    return GaussianTable(mean, total_variance, uncertainty, max_log_var), features


def embed_prompts(student: StudentModel, prompts: tuple[str, ...], dim: int) -> GaussianTable:
    """Embeds echo sentences. Raises ContractError like `embed_ecgs`."""
    return _checked(*student.embed_text(list(prompts), "ECHO"), len(prompts), dim, "prompts")


def _checked(mean: np.ndarray, log_var: np.ndarray, rows: int, dim: int, what: str) -> GaussianTable:
    if mean.shape != (rows, dim) or log_var.shape != (rows, dim):
        raise ContractError(
            f"student: {what} embed to mean {mean.shape} and log_var {log_var.shape}, expected ({rows}, {dim}): "
            "use a student trained on this teacher"
        )
    with np.errstate(over="ignore"):
        embedded = GaussianTable.from_log_var(mean, log_var)
    if not (np.isfinite(embedded.mean).all() and np.isfinite(embedded.total_variance).all()):
        raise ContractError(f"student: the embedding of {what} holds values that are not finite: train it again")
    return embedded


@dataclass(frozen=True)
class Nearest:
    """The k nearest gallery rows of each of q queries, nearest first; at equal distance the first in the gallery.

    Attributes:
        distance: (q, k) float64.
        row: (q, k) int64, row in the gallery.
    """

    distance: np.ndarray
    row: np.ndarray


def find_nearest(queries: GaussianTable, gallery: Iterable[GaussianTable], k: int) -> Nearest:
    """Finds the nearest gallery rows by measuring every pair.

    Args:
        queries: q Gaussians; a few, since the (q, m) distances to a chunk are held at once.
        gallery: in chunks, see `split_into_chunks`; rows are numbered across chunks.
        k: at least 1; fewer are found in a smaller gallery.
    """
    distance, row = np.empty((len(queries), 0)), np.empty((len(queries), 0), np.int64)
    start = 0
    for chunk in gallery:
        numbers = np.broadcast_to(np.arange(start, start + len(chunk)), (len(queries), len(chunk)))
        distance = np.concatenate([distance, sampled_distances(queries, chunk)], axis=1)
        row = np.concatenate([row, numbers], axis=1)
        first = np.argsort(distance, axis=1, kind="stable")[:, :k]  # rows ascend among equals, so the first stays first
        distance, row = np.take_along_axis(distance, first, axis=1), np.take_along_axis(row, first, axis=1)
        start += len(chunk)
    return Nearest(distance, row)


def split_into_chunks(gallery: GaussianTable, size: int = ROWS_PER_CHUNK) -> Iterator[GaussianTable]:
    """Splits a gallery into chunks; its mean may be a memory map."""
    yield from (gallery[start : start + size] for start in range(0, len(gallery), size))
