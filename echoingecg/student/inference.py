"""A student ready for use: raw ECGs and plain texts in, Gaussians out."""

from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer

from data_contracts.conventions import LEADS
from echoingecg.common import ContractError
from echoingecg.recipe import StudentSettings, TuningSettings
from echoingecg.recipe.evaluation import TuningMethod
from echoingecg.student import fine_tuning, loss
from echoingecg.student.data.transforms import Scaler
from echoingecg.student.model import gaussian_heads, student, text_encoder

_BATCH = 64


@dataclass(frozen=True)
class LoadedStudent:
    """A student ready to embed.

    Attributes:
        settings: it was trained with.
        objective: student and loss, in eval mode.
        tokenizer: of the text tower.
        scaler: for raw signals.
        device: where the networks are.
    """

    settings: StudentSettings
    objective: loss.Objective
    tokenizer: Tokenizer
    scaler: Scaler
    device: torch.device

    @property
    def dim(self) -> int:
        """Embedding width, D."""
        return self.settings.model.embed_dim

    @property
    def scale(self) -> float:
        """Learned scale of the match logit, -scale * distance + shift."""
        return float(self.objective.criterion.scale.detach())

    @property
    def shift(self) -> float:
        """Learned shift of the match logit."""
        return float(self.objective.criterion.shift.detach())

    @torch.inference_mode()
    def embed_ecg(self, signals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gaussians of ECGs.

        Args:
            signals: (n, 12, T) float32 mV, leads in the order of conventions.LEADS, not standardised.

        Returns:
            mean (n, D), unit length, and log_var (n, D), float32.

        Raises:
            ContractError: signals of another shape.
        """
        if signals.ndim != 3 or signals.shape[1] != len(LEADS):
            raise ContractError(f"signals have shape {signals.shape}, expected (n, {len(LEADS)}, time)")
        return self._joined(
            self.objective.student.encode_ecg(self._standardised(signals[first : first + _BATCH]))
            for first in range(0, len(signals), _BATCH)
        )

    @torch.inference_mode()
    def embed_text(self, texts: list[str], method: str) -> tuple[np.ndarray, np.ndarray]:
        """Gaussians of texts.

        Args:
            texts: reports or prompts; the prompt frame is put around them here.
            method: what they speak of, ECG or ECHO.

        Returns:
            mean (n, D), unit length, and log_var (n, D), float32.
        """
        prompts = [text_encoder.wrap(text, method) for text in texts]
        tokens = text_encoder.TokenisedTexts.of(
            self.tokenizer, prompts, text_encoder.padding(self.objective.student.text_encoder.backbone)
        )
        rows = np.arange(len(texts))
        return self._joined(
            self.objective.student.encode_text(
                *(part.to(self.device) for part in tokens.batch(rows[first : first + _BATCH]))
            )
            for first in range(0, len(texts), _BATCH)
        )

    def classify(
        self,
        method: TuningMethod,
        read: Callable[[np.ndarray], np.ndarray],
        label: np.ndarray,
        split: np.ndarray,
        settings: TuningSettings,
        seed: int,
    ) -> np.ndarray:
        """Scores of all ECGs, (n,) float64 in [0, 1], by `fine_tune`."""
        return self.fine_tune(method, read, label, split, settings, seed).score

    def fine_tune(
        self,
        method: TuningMethod,
        read: Callable[[np.ndarray], np.ndarray],
        label: np.ndarray,
        split: np.ndarray,
        settings: TuningSettings,
        seed: int,
    ) -> fine_tuning.Fitted:
        """Trains a copy of the ECG encoder on labels; this student does not change.

        Args:
            method: from this student's weights, by adapters beside them, or from nothing.
            read: (k,) int64 into the n ECGs -> (k, 12, T) float32 mV.
            label: (n,) 0 or 1; training and validation hold both classes, those of test are not read.
            split: (n,) str.
            settings: rates, epochs, rank.
            seed: of weights and order.
        """

        def make() -> fine_tuning.Classifier:
            if method == "scratch":
                return fine_tuning.Classifier(student.EcgEncoder(self.settings.model), self.dim)
            encoder = deepcopy(self.objective.student.ecg_encoder).requires_grad_(True)
            if method == "lora":
                fine_tuning.add_adapters(encoder, settings.rank)
            return fine_tuning.Classifier(encoder, self.dim)

        return fine_tuning.fit_classifier(
            make,
            lambda rows: self._standardised(read(rows)),
            label,
            split == "train",
            split == "validation",
            settings.rate(method),
            settings,
            seed,
            frozen=method == "lora",
        )

    def score(self, classifier: fine_tuning.Classifier, signals: np.ndarray) -> np.ndarray:
        """Scores of a classifier that `fine_tune` trained, (n,) float64 in [0, 1], for (n, 12, T) float32 mV."""
        return fine_tuning.scores(classifier, lambda rows: self._standardised(signals[rows]), np.arange(len(signals)))

    def _standardised(self, signals: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(self.scaler.standardise(signals)).to(self.device)

    def _joined(self, parts: Iterable[gaussian_heads.GaussianTensor]) -> tuple[np.ndarray, np.ndarray]:
        empty = np.empty((0, self.dim), np.float32)
        mean, log_var = [empty], [empty]
        for part in parts:
            mean.append(part.mean.float().cpu().numpy())
            log_var.append(part.log_var.float().cpu().numpy())
        return np.concatenate(mean), np.concatenate(log_var)
