"""A trained student ready for use: raw ECGs and plain texts in, Gaussians out; fine-tuning on labels; a warm start."""

from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from tokenizers import Tokenizer

from data_contracts.conventions import LEADS, LeadSet
from echoingecg.common import ContractError, TrainingError, fingerprint, hash_array
from echoingecg.ecg.decode.recording.leads import leads_of_set
from echoingecg.recipe import StudentSettings, TuningSettings
from echoingecg.recipe.evaluation import TuningMethod
from echoingecg.student import fine_tuning, loss
from echoingecg.student.data.transforms import Scaler
from echoingecg.student.encoders.trunk import Trunk, trunk_of_recipe
from echoingecg.student.model import gaussian_heads, student, text_encoder

_ROWS_AT_ONCE = 64


@dataclass(frozen=True)
class LoadedStudent:
    """A student ready to embed.

    Attributes:
        settings: of its training.
        objective: student and loss, in eval mode.
        tokenizer: of the text tower.
        scaler: standardises raw signals.
        device: of the networks.
        lead_set: whose leads alone are seen; the others are 0 after standardisation.
    """

    settings: StudentSettings
    objective: loss.Objective
    tokenizer: Tokenizer
    scaler: Scaler
    device: torch.device
    lead_set: LeadSet = "twelve"

    @property
    def lead_sets(self) -> tuple[LeadSet, ...]:
        """Sets of fewer than twelve leads that it was trained for, the largest first; none twice under two names."""
        named = {leads_of_set(name): name for name in reversed(self.settings.leads.sets)}
        return tuple(named[leads] for leads in sorted(named, key=len, reverse=True) if leads != LEADS)

    def with_lead_set(self, name: LeadSet) -> Self:
        """Returns the student that sees no other leads of an ECG than those of the set."""
        return replace(self, lead_set=name)

    @property
    def trunk(self) -> Trunk | None:
        """Its ECG encoder under the heads, where that is not the paper's."""
        encoder = self.objective.student.ecg_encoder
        return encoder.trunk if isinstance(encoder, student.TrunkEncoder) else None  # type: ignore[return-value]

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
        """Encodes ECGs as Gaussians.

        Args:
            signals: (n, 12, T) float32 mV, leads in the order of conventions.LEADS, not standardised.

        Returns:
            mean (n, D), unit length, and log_var (n, D), float32.

        Raises:
            ContractError: the signals have another shape.
        """
        mean, log_var, _ = self.embed_ecg_with_features(signals)
        return mean, log_var

    @torch.inference_mode()
    def embed_ecg_with_features(self, signals: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Encodes ECGs as Gaussians, and tells what the trunk saw.

        Args:
            signals: as in `embed_ecg`.

        Returns:
            mean (n, D), log_var (n, D), and the trunk's features over time: their means, then their standard
            deviations, (n, 2 channels). All float32.

        Raises:
            ContractError: the signals have another shape.
        """
        if signals.ndim != 3 or signals.shape[1] != len(LEADS):
            raise ContractError(f"signals have shape {signals.shape}, expected (n, {len(LEADS)}, time)")
        encoder = self.objective.student.ecg_encoder
        mean, log_var, pooled = [], [], []
        for first in range(0, max(len(signals), 1), _ROWS_AT_ONCE):
            features = encoder.features(self._standardised(signals[first : first + _ROWS_AT_ONCE]))
            gaussian = encoder.pool(features)
            mean.append(gaussian.mean)
            log_var.append(gaussian.log_var)
            middle = features.mean(dim=1, keepdim=True)
            spread = (features - middle).square().mean(dim=1).sqrt()
            pooled.append(torch.cat([middle[:, 0], spread], dim=1))
        joined = [torch.cat(parts).float().cpu().numpy() for parts in (mean, log_var, pooled)]
        return joined[0], joined[1], joined[2]

    @torch.inference_mode()
    def embed_text(self, texts: list[str], method: str) -> tuple[np.ndarray, np.ndarray]:
        """Encodes texts as Gaussians.

        Args:
            texts: reports or sentences; the prompt is put around them here.
            method: the examination that they describe, ECG or ECHO.

        Returns:
            mean (n, D), unit length, and log_var (n, D), float32.
        """
        prompts = [text_encoder.wrap(text, method) for text in texts]
        tokens = text_encoder.TokenisedTexts.from_texts(
            self.tokenizer, prompts, text_encoder.padding(self.objective.student.text_encoder.backbone)
        )
        rows = np.arange(len(texts))
        return self._joined(
            self.objective.student.encode_text(
                *(part.to(self.device) for part in tokens.batch(rows[first : first + _ROWS_AT_ONCE]))
            )
            for first in range(0, len(texts), _ROWS_AT_ONCE)
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
        """Fine-tunes and returns the scores of all ECGs, (n,) float64 in [0, 1]. Arguments as in `fine_tune`."""
        return self.fine_tune(method, read, label, split, settings, seed).score

    def fine_tune(
        self,
        method: TuningMethod,
        read: Callable[[np.ndarray], np.ndarray],
        label: np.ndarray,
        split: np.ndarray,
        settings: TuningSettings,
        seed: int,
    ) -> fine_tuning.FittedClassifier:
        """Trains a copy of the ECG encoder on labels; this student does not change.

        Args:
            method: all weights from this student's, adapters beside this student's, or all weights from random ones.
            read: (k,) int64 into the n ECGs -> (k, 12, T) float32 mV.
            label: (n,) 0 or 1; training and validation hold both classes, labels of test are not used.
            split: (n,) str, the split of each ECG.
            settings: rates, epochs, rank.
            seed: of the weights and of the batches.
        """

        def make() -> fine_tuning.Classifier:
            if method == "scratch":
                return fine_tuning.Classifier(self._random_encoder(), self.dim)
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
        """Scores ECGs, (n, 12, T) float32 mV, by a classifier of `fine_tune`: (n,) float64 in [0, 1]."""
        return fine_tuning.scores(classifier, lambda rows: self._standardised(signals[rows]), np.arange(len(signals)))

    def _random_encoder(self) -> student.SignalEncoder:
        """Makes an encoder of the student's sizes with random weights, all of which are trained."""
        if (trunk := self.trunk) is None:
            return student.EcgEncoder(self.settings.model)
        return student.TrunkEncoder(trunk.fresh(), self.settings.model)

    def _standardised(self, signals: np.ndarray) -> torch.Tensor:
        standardised = self.scaler.standardise(signals)
        if self.lead_set != "twelve":
            standardised[:, ~np.isin(LEADS, leads_of_set(self.lead_set))] = 0
        return torch.from_numpy(standardised).to(self.device)

    def _joined(self, parts: Iterable[gaussian_heads.GaussianTensor]) -> tuple[np.ndarray, np.ndarray]:
        empty = np.empty((0, self.dim), np.float32)
        mean, log_var = [empty], [empty]
        for part in parts:
            mean.append(part.mean.float().cpu().numpy())
            log_var.append(part.log_var.float().cpu().numpy())
        return np.concatenate(mean), np.concatenate(log_var)


_NOT_COMPARED = {"log_var_start"}  # says how random weights begin, so it has no effect on a warm start
_LOSS_WEIGHTS = ("criterion.", ".std_")  # learned scale and shift; the log-variance heads under their released names


def check_architecture(earlier: LoadedStudent, settings: StudentSettings) -> None:
    """Raises TrainingError, naming the field, unless the recipe's architecture is the earlier student's."""
    old, new = (_architecture(section) for section in (earlier.settings, settings))
    for name, value in new.items():
        if old[name] != value:
            raise TrainingError(
                f"student.warm_start: the earlier student has student.{name}={old[name]}, the recipe {value}: "
                f"set it to {old[name]}, or leave warm_start empty"
            )
    if settings.encoder_weights:
        raise TrainingError("student.warm_start brings the encoder's weights: leave student.encoder_weights empty")


def _architecture(settings: StudentSettings) -> dict[str, object]:
    """Returns what decides the names and shapes of all weights, by field."""
    model = settings.model.model_dump(mode="json", exclude=_NOT_COMPARED)
    tuning = "lora" if settings.encoder_tuning == "lora" else "full or frozen"  # those two have the same weights
    encoder = {"encoder": settings.encoder, "encoder_tuning": tuning, "lora_rank": settings.lora_rank}
    return {f"model.{name}": value for name, value in model.items()} | encoder


def trunk_for(settings: StudentSettings, earlier: LoadedStudent | None) -> Trunk | None:
    """Makes the trunk of a training: the recipe's with its weights; for a warm start, one like the earlier student's.

    Args:
        settings: of the training.
        earlier: student of a warm start, whose weights `copy_weights` then copies.

    Raises:
        UserError: as trunk_of_recipe.
    """
    if earlier is None:
        return trunk_of_recipe(settings)
    return earlier.trunk and earlier.trunk.fresh(settings.encoder_tuning, settings.lora_rank)


def text_tower_of(earlier: LoadedStudent) -> text_encoder.TextTower:
    """Makes a text tower like the earlier student's, with random weights and the earlier tokenizer."""
    config = text_encoder.text_config(earlier.objective.student.text_encoder.backbone)
    return text_encoder.TextTower(text_encoder.backbone_from_config(config), earlier.tokenizer)


def copy_weights(objective: loss.Objective, earlier: LoadedStudent, name: str) -> None:
    """Copies the earlier weights; scale, shift and the log-variance heads only if the loss is the same.

    Args:
        objective: of the earlier student's architecture, see check_architecture.
        earlier: the student whose weights are copied.
        name: of the objective's loss.
    """
    weights = earlier.objective.state_dict()
    if earlier.settings.loss != name:
        weights = {key: weights[key] for key in weights if not any(part in key for part in _LOSS_WEIGHTS)}
    objective.load_state_dict(objective.state_dict() | weights)


def weights_fingerprint(earlier: LoadedStudent | None) -> str | None:
    """Returns the fingerprint of the earlier weights; None without an earlier student."""
    if earlier is None:
        return None
    return fingerprint([hash_array(tensor.cpu().numpy()) for tensor in earlier.objective.state_dict().values()])
