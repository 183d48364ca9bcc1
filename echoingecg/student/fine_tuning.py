"""Fine-tuning on labels: an ECG encoder with a yes/no head, stopped by its validation loss alone.

Shapes: B ECGs of a batch, n labelled ECGs, D the width of the encoder's output.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.metrics import log_loss
from torch import Tensor, nn
from torch.nn import functional as F

from echoingecg.common import TrainingError
from echoingecg.recipe import TuningSettings
from echoingecg.student.encoders.trunk import add_low_rank
from echoingecg.student.model.student import SignalEncoder

ReadSignals = Callable[[np.ndarray], Tensor]  # (k,) int64 rows -> (k, 12, T) standardised
_ECGS_AT_ONCE = 64


def held_out_fifth(label: np.ndarray, seed: int) -> np.ndarray:
    """Draws a fifth of each class, at least one ECG, (n,) bool; labels (n,) are 0 or 1."""
    random = np.random.default_rng(seed)
    held_out = np.zeros(len(label), bool)
    for value in (0, 1):
        rows = random.permutation(np.flatnonzero(label == value))
        held_out[rows[: max(1, round(len(rows) / 5))]] = True
    return held_out


class Classifier(nn.Module):
    """An encoder and a linear layer on its mean, which has width `dim` and is scaled so that coordinates are near 1."""

    def __init__(self, encoder: SignalEncoder, dim: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(dim, 1)
        self.unit = dim**0.5

    def forward(self, signal: Tensor) -> Tensor:
        """Maps standardised ECGs (B, 12, T) to logits (B,)."""
        logits: Tensor = self.head(self.unit * self.encoder(signal).mean)[:, 0]
        return logits


@dataclass(frozen=True)
class FittedClassifier:
    """The classifier of the best epoch.

    Attributes:
        loss: class-balanced validation loss.
        score: (n,) float64 in [0, 1], of all ECGs.
        epoch: number of the epoch, from 1.
        model: the classifier, in eval mode.
    """

    loss: float
    score: np.ndarray
    epoch: int
    model: Classifier


def fit_classifier(
    make: Callable[[], Classifier],
    read: ReadSignals,
    label: np.ndarray,
    training: np.ndarray,
    validation: np.ndarray,
    rate: float,
    settings: TuningSettings,
    seed: int,
    frozen: bool = False,
) -> FittedClassifier:
    """Minimises the class-balanced BCE with AdamW; the class-balanced validation loss stops it.

    Args:
        make: makes the classifier to start from; called after torch is seeded. Weights without gradient stay.
        read: (k,) int64 into the n ECGs -> (k, 12, T) standardised, on the device to train on.
        label: (n,) 0 or 1; only labels of training and validation ECGs are used.
        training, validation: (n,) bool, each with both classes.
        rate: learning rate.
        settings: epochs, patience, batch_size and weight_decay are used.
        seed: of the weights and of the batches.
        frozen: batch norms keep their running statistics.

    Raises:
        TrainingError: a score is not finite.
    """
    rows, held_out = np.flatnonzero(training), np.flatnonzero(validation)
    negatives, positives = np.bincount(label[rows], minlength=2)
    random = np.random.default_rng(seed)
    best_loss, best_weights, best_epoch = np.inf, {}, 0
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = make()
        device = model.to(read(rows[:1]).device).head.weight.device
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trainable, lr=rate, weight_decay=settings.weight_decay)
        weight = torch.tensor(negatives / positives, dtype=torch.float32, device=device)
        target = torch.from_numpy(label.astype(np.float32)).to(device)
        for epoch in range(1, settings.epochs + 1):
            model.train(not frozen)
            for batch in np.array_split(random.permutation(rows), max(1, len(rows) // settings.batch_size)):
                optimizer.zero_grad()
                F.binary_cross_entropy_with_logits(model(read(batch)), target[batch], pos_weight=weight).backward()
                optimizer.step()
            score = scores(model, read, held_out)
            if not np.isfinite(score).all():
                raise TrainingError(
                    f"evaluation.tuning: scores are not finite after epoch {epoch} at learning rate {rate:g}: lower it"
                )
            loss = balanced_loss(label[held_out], score)
            if loss < best_loss:
                best_loss, best_weights, best_epoch = loss, deepcopy(model.state_dict()), epoch
            if epoch - best_epoch >= settings.patience:
                break
    model.load_state_dict(best_weights)
    return FittedClassifier(best_loss, scores(model, read, np.arange(len(label))), best_epoch, model)


def balanced_loss(label: np.ndarray, score: np.ndarray) -> float:
    """Computes the cross-entropy with equal weight for both classes; labels (n,) 0 or 1, scores (n,) in [0, 1]."""
    weight = 1 / np.bincount(label, minlength=2)[label]
    return float(log_loss(label, score, sample_weight=weight, labels=[0, 1]))


@torch.no_grad()
def scores(model: Classifier, read: ReadSignals, rows: np.ndarray) -> np.ndarray:
    """Scores the ECGs in these rows, (k,) float64 in [0, 1]."""
    model.eval()
    parts = np.split(rows, range(_ECGS_AT_ONCE, len(rows), _ECGS_AT_ONCE))
    return torch.cat([torch.sigmoid(model(read(part)).double()) for part in parts]).cpu().numpy()


def add_adapters(encoder: SignalEncoder, rank: int) -> None:
    """Freezes the encoder and puts an adapter beside each layer of the trunk and the mean's linear layer, in place."""
    add_low_rank(encoder, rank, without=(encoder.std_linear, encoder.gpool.linear, encoder.std_gpool.linear))
