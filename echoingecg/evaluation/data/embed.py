"""Every paired ECG through the student once, in chunks, so that memory does not grow with the signals."""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import numpy as np

from echoingecg.common.errors import ContractError
from echoingecg.evaluation.gaussians import Gaussians
from echoingecg.progress import Progress, silent
from echoingecg.recipe import TuningSettings
from echoingecg.recipe.evaluation import TuningMethod

CHUNK: Final = 512  # ECGs a call: 25 MB of signals


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
    student: StudentModel, signals: Signals, rows: np.ndarray, dim: int, progress: Progress = silent
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
