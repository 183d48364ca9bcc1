"""Batches as tensors: texts tokenised once up front, signals read and standardised on the fly."""

from collections.abc import Generator, Iterable

import numpy as np
import torch
from torch import Tensor

from echoingecg.common.running import prefetched
from echoingecg.student.data.batches import Batch
from echoingecg.student.data.pairs import Pairs, TextPairs, TrainingData
from echoingecg.student.gaussian import Gaussian
from echoingecg.student.model.text_encoder import TextTower
from echoingecg.student.objective import Partner, Tokens
from echoingecg.student.scaler import Scaler
from echoingecg.student.tokens import TokenisedTexts, wrap


def wrapped(pairs: TextPairs) -> list[str]:
    """The texts in their prompts."""
    return [wrap(text, method) for text, method in zip(pairs.text, pairs.method, strict=True)]


class Feed:
    """The batches of one split.

    Args:
        data: signals and targets.
        pairs: of the split.
        scaler: fitted on the training split.
        tower: its tokenizer and padding count here.
        device: where tensors go.
    """

    def __init__(
        self, data: TrainingData, pairs: Pairs, scaler: Scaler, tower: TextTower, device: torch.device
    ) -> None:
        self.pairs = pairs
        self._data = data
        self._scaler = scaler
        self._device = device
        self._texts = TokenisedTexts.of(tower.tokenizer, wrapped(pairs.text), tower.pad)

    def stream(self, batches: Iterable[Batch]) -> Generator[tuple[Batch, tuple[Tensor, Partner]], None, None]:
        """Batches in the order given, each prepared while the one before it is used.

        Exhaust it, or close it (`contextlib.closing`) when leaving early.
        """
        return prefetched(lambda batch: (batch, self.batch(batch)), batches)

    def batch(self, batch: Batch) -> tuple[Tensor, Partner]:
        """Both sides of a batch, as Objective takes them."""
        return self.signal(self.ecg_rows(batch)), self.partner(batch)

    def ecg_rows(self, batch: Batch) -> np.ndarray:
        """Rows of the signals, (B,) int64."""
        pairs = self.pairs.echo if batch.kind == "ecg_echo" else self.pairs.text
        return pairs.ecg[batch.rows]

    def signal(self, rows: np.ndarray) -> Tensor:
        """Standardised ECGs, (B, 12, T) float32."""
        return torch.from_numpy(self._scaler.standardise(self._data.signals.read(rows))).to(self._device)

    def partner(self, batch: Batch) -> Partner:
        """The other side of each pair."""
        if batch.kind == "ecg_echo":
            return self.targets(self.pairs.echo.study[batch.rows])
        return Tokens(*(part.to(self._device) for part in self._texts.batch(batch.rows)))

    def targets(self, studies: np.ndarray) -> Gaussian:
        """The teacher's Gaussians of some studies."""
        mean, log_var = self._data.target_mean[studies], self._data.target_log_var[studies]
        return Gaussian(torch.from_numpy(mean).to(self._device), torch.from_numpy(log_var).to(self._device))
