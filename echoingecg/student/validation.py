"""Validation: the losses on held-out pairs, and how well ECGs and echo studies find each other."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from echoingecg.student.data.batches import Batch, Feed
from echoingecg.student.data.pairs import Kind
from echoingecg.student.loss import Objective
from echoingecg.student.model.gaussian_heads import GaussianTensor

RECALL_AT = 5
_CHUNK = 256  # ECGs encoded at once


@dataclass(frozen=True)
class Validation:
    """What one validation found; a loss or recall is absent when there are no such pairs.

    Attributes:
        loss: mean over batches, by kind.
        recall_ecg_to_echo: share of ECGs with a study of theirs among the nearest 5.
        recall_echo_to_ecg: share of studies with an ECG of theirs among the nearest 5.
    """

    loss: dict[Kind, float]
    recall_ecg_to_echo: float | None
    recall_echo_to_ecg: float | None

    def weighted(self, weights: Mapping[Kind, float]) -> float | None:
        """Weighted sum of the losses; None without any."""
        return sum(weights[kind] * loss for kind, loss in self.loss.items()) if self.loss else None


@torch.no_grad()
def validate(objective: Objective, feed: Feed, batches: list[Batch]) -> Validation:
    """Losses and recall in eval mode. Every ECG is encoded once.

    Args:
        objective: left in eval mode.
        feed: of the validation split.
        batches: all its pairs, see Planner.everything.
    """
    objective.eval()
    rows = np.unique(np.concatenate([np.empty(0, np.int64), *(feed.ecg_rows(batch) for batch in batches)]))
    if not len(rows):
        return Validation({}, None, None)
    ecgs = encode_ecgs(objective, feed, rows)
    losses: dict[Kind, list[float]] = {}
    for batch in batches:
        ecg = ecgs.rows(torch.from_numpy(np.searchsorted(rows, feed.ecg_rows(batch))).to(ecgs.mean.device))
        terms = objective.criterion(ecg, objective.encode_partner(feed.partner(batch)))
        losses.setdefault(batch.kind, []).append(float(terms.total))
    loss = {kind: float(np.mean(values)) for kind, values in losses.items()}
    if "ecg_echo" not in loss:
        return Validation(loss, None, None)
    return Validation(loss, *_recalls(objective, feed, rows, ecgs))


def encode_ecgs(objective: Objective, feed: Feed, rows: np.ndarray) -> GaussianTensor:
    """Gaussians of some ECGs, by rows of the signals, float32."""
    parts = [
        objective.student.encode_ecg(feed.signal(rows[first : first + _CHUNK])).float()
        for first in range(0, len(rows), _CHUNK)
    ]
    return GaussianTensor(torch.cat([part.mean for part in parts]), torch.cat([part.log_var for part in parts]))


def recall_at_k(distance: Tensor, match: Tensor, k: int) -> float:
    """Share of the rows with at least one match among their k nearest columns.

    Args:
        distance: (A, B) float32.
        match: (A, B) bool; each row holds a match.
        k: at most B counts.
    """
    nearest = distance.topk(min(k, distance.shape[1]), dim=1, largest=False).indices
    return float(match.gather(1, nearest).any(dim=1).float().mean())


def _recalls(objective: Objective, feed: Feed, rows: np.ndarray, ecgs: GaussianTensor) -> tuple[float, float]:
    """Both directions. One ECG may belong to several studies and one study to several ECGs: all count."""
    pairs = feed.pairs.echo
    paired, ecg = np.unique(pairs.ecg, return_inverse=True)
    studies, study = np.unique(pairs.study, return_inverse=True)
    device = ecgs.mean.device
    ecgs = ecgs.rows(torch.from_numpy(np.searchsorted(rows, paired)).to(device))
    distance = objective.criterion.distance(ecgs, feed.targets(studies))
    match = torch.zeros_like(distance, dtype=torch.bool)
    match[torch.from_numpy(ecg).to(device), torch.from_numpy(study).to(device)] = True
    return recall_at_k(distance, match, RECALL_AT), recall_at_k(distance.T, match.T, RECALL_AT)
