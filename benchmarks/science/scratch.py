"""The baseline without distillation: the same encoder, trained from nothing on the few labels alone.

Shape legend: B = ECGs of a batch, D = width of the encoder's output.
"""

from copy import deepcopy
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.science.hospital import Hospital
from benchmarks.science.judge import balanced_loss, decided
from benchmarks.science.labels import DRAWS, labelled
from echoingecg.recipe import ModelSettings
from echoingecg.student.encoder import EcgEncoder
from echoingecg.student.scaler import fit_scaler

RATES: Final = (3e-4, 2e-3)
BATCH: Final = 16
WEIGHT_DECAY: Final = 0.01
_CHUNK: Final = 64


class Classifier(nn.Module):
    """The student's ECG encoder and a linear layer on its mean, scaled so that a coordinate is of order 1."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.encoder = EcgEncoder(settings)
        self.head = nn.Linear(settings.embed_dim, 1)
        self.unit = settings.embed_dim**0.5

    def forward(self, signal: Tensor) -> Tensor:
        """(B, 12, T) standardised to (B,) logits."""
        logits: Tensor = self.head(self.unit * self.encoder(signal).mean)[:, 0]
        return logits


def scratch(hospital: Hospital, epochs: int, patience: int) -> dict[str, Any]:
    """For each draw of labels the better of RATES by validation loss, judged on the test cases.

    Args:
        hospital: its validation cases stop the training, choose the rate and the threshold.
        epochs: at most.
        patience: epochs without a better validation loss.
    """
    cases, data = hospital.cases, hospital.data
    scaler = fit_scaler(data.signals, data.train.ecgs)
    signal = torch.from_numpy(scaler.standardise(data.signals.read(cases.ecg)))
    few = []
    for draw in range(DRAWS):
        training = labelled(cases.label, cases.patient, cases.split, hospital.seed, draw)
        tried = [fit(hospital, signal, training, rate, epochs, patience) for rate in RATES]
        _, score, epoch, rate = min(tried, key=lambda one: one[0])
        few.append({**decided(hospital, score), "rate": rate, "epoch": epoch, "labels": int(training.sum())})
    return {"label": cases.label[cases.split == "test"].tolist(), "few": few}


def fit(
    hospital: Hospital, signal: Tensor, training: np.ndarray, rate: float, epochs: int, patience: int
) -> tuple[float, np.ndarray, int, float]:
    """Class-balanced BCE by AdamW; the weights of the best epoch.

    Args:
        hospital: seeds the weights.
        signal: (case, 12, T) standardised.
        training: (case,) bool, whose labels may be used.
        rate: learning rate.
        epochs, patience: as `scratch`.

    Returns:
        class-balanced validation loss, scores (case,) float64, epoch, rate.
    """
    settings = hospital.order.recipe(hospital.seed).student
    label, validation = hospital.cases.label, np.flatnonzero(hospital.cases.split == "validation")
    random = np.random.default_rng(hospital.seed)
    torch.manual_seed(hospital.seed)
    model = Classifier(settings.model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=WEIGHT_DECAY)
    rows = np.flatnonzero(training)
    negatives, positives = np.bincount(label[rows], minlength=2)
    weight = torch.tensor(negatives / positives, dtype=torch.float32)
    wanted = torch.from_numpy(label.astype(np.float32))
    least, best, at = np.inf, model.state_dict(), 0
    for epoch in range(1, epochs + 1):
        model.train()
        for batch in np.array_split(random.permutation(rows), max(1, len(rows) // BATCH)):
            optimizer.zero_grad()
            F.binary_cross_entropy_with_logits(model(signal[batch]), wanted[batch], pos_weight=weight).backward()
            optimizer.step()
        loss = balanced_loss(label[validation], _scores(model, signal[validation]))
        if loss < least:
            least, best, at = loss, deepcopy(model.state_dict()), epoch
        if epoch - at >= patience:
            break
    model.load_state_dict(best)
    return least, _scores(model, signal), at, rate


@torch.no_grad()
def _scores(model: Classifier, signal: Tensor) -> np.ndarray:
    model.eval()
    parts = [torch.sigmoid(model(part).double()) for part in signal.split(_CHUNK)]
    return torch.cat(parts).numpy()
