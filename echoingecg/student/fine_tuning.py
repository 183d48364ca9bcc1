"""An ECG encoder with a yes/no head, trained on labels; validation alone stops it.

Shape legend: B = ECGs of a batch, n = labelled ECGs, D = width of the encoder's output.

Low-rank adapters beside frozen weights (LoRA: Hu et al., ICLR 2022), for 1-D convolutions as for linear layers.
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
from echoingecg.student.model.student import EcgEncoder

_CHUNK = 64  # ECGs scored at once
Read = Callable[[np.ndarray], Tensor]


class Classifier(nn.Module):
    """An encoder and a linear layer on its mean of width `dim`, scaled so that a coordinate is of order 1."""

    def __init__(self, encoder: EcgEncoder, dim: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(dim, 1)
        self.unit = dim**0.5

    def forward(self, signal: Tensor) -> Tensor:
        """(B, 12, T) standardised to (B,) logits."""
        logits: Tensor = self.head(self.unit * self.encoder(signal).mean)[:, 0]
        return logits


@dataclass(frozen=True)
class Fitted:
    """The classifier of the best epoch.

    Attributes:
        loss: class-balanced validation loss.
        score: (n,) float64 in [0, 1], of all ECGs.
        epoch: its number, from 1.
        model: its weights, in eval mode.
    """

    loss: float
    score: np.ndarray
    epoch: int
    model: Classifier


def fit_classifier(
    make: Callable[[], Classifier],
    read: Read,
    label: np.ndarray,
    training: np.ndarray,
    validation: np.ndarray,
    rate: float,
    settings: TuningSettings,
    seed: int,
    frozen: bool = False,
) -> Fitted:
    """Class-balanced BCE by AdamW, stopped by the class-balanced validation loss.

    Args:
        make: what to start from; called once torch is seeded. What needs no gradient stays as it is.
        read: (k,) int64 into the n ECGs -> (k, 12, T) standardised, on the device to train on.
        label: (n,) 0 or 1; those of other ECGs than training and validation are not read.
        training, validation: (n,) bool, each with both classes.
        rate: learning rate.
        settings: epochs, patience, batch_size and weight_decay count here.
        seed: of weights and order.
        frozen: batch norms keep their running statistics.

    Raises:
        TrainingError: a score is not finite.
    """
    rows, held_out = np.flatnonzero(training), np.flatnonzero(validation)
    negatives, positives = np.bincount(label[rows], minlength=2)
    random = np.random.default_rng(seed)
    least, best, at = np.inf, {}, 0
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = make()
        device = model.to(read(rows[:1]).device).head.weight.device
        learned = [one for one in model.parameters() if one.requires_grad]
        optimizer = torch.optim.AdamW(learned, lr=rate, weight_decay=settings.weight_decay)
        weight = torch.tensor(negatives / positives, dtype=torch.float32, device=device)
        wanted = torch.from_numpy(label.astype(np.float32)).to(device)
        for epoch in range(1, settings.epochs + 1):
            model.train(not frozen)
            for batch in np.array_split(random.permutation(rows), max(1, len(rows) // settings.batch_size)):
                optimizer.zero_grad()
                F.binary_cross_entropy_with_logits(model(read(batch)), wanted[batch], pos_weight=weight).backward()
                optimizer.step()
            score = scores(model, read, held_out)
            if not np.isfinite(score).all():
                raise TrainingError(
                    f"evaluation.tuning: scores are not finite after epoch {epoch} at learning rate {rate:g}: lower it"
                )
            loss = balanced_loss(label[held_out], score)
            if loss < least:
                least, best, at = loss, deepcopy(model.state_dict()), epoch
            if epoch - at >= settings.patience:
                break
    model.load_state_dict(best)
    return Fitted(least, scores(model, read, np.arange(len(label))), at, model)


def balanced_loss(label: np.ndarray, score: np.ndarray) -> float:
    """Cross-entropy in which both classes weigh the same; labels (n,) of both classes, scores (n,) in [0, 1]."""
    weight = 1 / np.bincount(label, minlength=2)[label]
    return float(log_loss(label, score, sample_weight=weight, labels=[0, 1]))


@torch.no_grad()
def scores(model: Classifier, read: Read, rows: np.ndarray) -> np.ndarray:
    """Scores of the ECGs in these rows, (k,) float64 in [0, 1]."""
    model.eval()
    parts = [torch.sigmoid(model(read(part)).double()) for part in np.split(rows, range(_CHUNK, len(rows), _CHUNK))]
    return torch.cat(parts).cpu().numpy()


class LowRank(nn.Module):
    """base(x) + up(down(x)); `up` starts at zero, so that the sum starts as the base.

    For a convolution `down` has the base's kernel and stride and `up` is pointwise: together a kernel of rank r.
    """

    def __init__(self, base: nn.Conv1d | nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base
        self.down: nn.Module
        self.up: nn.Conv1d | nn.Linear
        if isinstance(base, nn.Linear):
            self.down = nn.Linear(base.in_features, rank, bias=False)
            self.up = nn.Linear(rank, base.out_features, bias=False)
        else:
            shape = (base.kernel_size, base.stride, base.padding)
            self.down = nn.Conv1d(base.in_channels, rank, *shape, bias=False)  # type: ignore[arg-type]
            self.up = nn.Conv1d(rank, base.out_channels, 1, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.base(x) + self.up(self.down(x))
        return y


def add_adapters(encoder: EcgEncoder, rank: int) -> None:
    """Freezes the encoder and puts an adapter beside every convolution and the mean's linear layer, in place."""
    encoder.requires_grad_(False)
    for name, module in list(encoder.named_modules()):
        if isinstance(module, nn.Conv1d) or module is encoder.linear:
            parent, _, child = name.rpartition(".")
            encoder.get_submodule(parent).register_module(child, LowRank(module, rank))
