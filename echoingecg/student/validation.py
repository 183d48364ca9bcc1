"""Validation: the losses on held-out pairs, and how well ECGs and echo studies find each other."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from echoingecg.common.running import check_stop
from echoingecg.student.data.batches import Batch, Feed
from echoingecg.student.data.pairs import Kind
from echoingecg.student.loss import Objective
from echoingecg.student.model.gaussian_heads import GaussianTensor

RECALL_AT = 5
_ECGS_AT_ONCE = 256


@dataclass(frozen=True)
class Validation:
    """The result of one validation; a loss or recall is absent if there are no such pairs.

    Attributes:
        loss: mean over batches, by kind.
        recall_ecg_to_echo: share of ECGs with one of their studies among the 5 nearest.
        recall_echo_to_ecg: share of studies with one of their ECGs among the 5 nearest.
    """

    loss: dict[Kind, float]
    recall_ecg_to_echo: float | None
    recall_echo_to_ecg: float | None

    def weighted(self, weights: Mapping[Kind, float]) -> float | None:
        """Returns the weighted sum of the losses; None without losses."""
        return sum(weights[kind] * loss for kind, loss in self.loss.items()) if self.loss else None


@torch.no_grad()
def validate(objective: Objective, feed: Feed, batches: list[Batch]) -> Validation:
    """Computes losses and recall in eval mode. Every ECG is encoded once.

    Args:
        objective: left in eval mode.
        feed: of the validation split.
        batches: all its pairs, from Planner.all_batches.
    """
    objective.eval()
    rows = np.unique(np.concatenate([np.empty(0, np.int64), *(feed.ecg_rows(batch) for batch in batches)]))
    if not len(rows):
        return Validation({}, None, None)
    ecgs = encode_ecgs(objective, feed, rows)
    losses: dict[Kind, list[float]] = {}
    for batch in batches:
        check_stop()
        ecg = ecgs.rows(torch.from_numpy(np.searchsorted(rows, feed.ecg_rows(batch))).to(ecgs.mean.device))
        partner = objective.encode_partner(feed.partner(batch))
        terms = objective.pair_loss(ecg, partner, feed.identity(batch), targets=batch.kind == "ecg_echo")
        losses.setdefault(batch.kind, []).append(float(terms.total))
    loss = {kind: float(np.mean(values)) for kind, values in losses.items()}
    if "ecg_echo" not in loss:
        return Validation(loss, None, None)
    return Validation(loss, *_recalls(objective, feed, rows, ecgs))


def encode_ecgs(objective: Objective, feed: Feed, rows: np.ndarray) -> GaussianTensor:
    """Encodes ECGs, given by rows of the signals, as Gaussians in float32."""
    parts = [
        objective.student.encode_ecg(feed.signal(rows[first : first + _ECGS_AT_ONCE])).float()
        for first in range(0, len(rows), _ECGS_AT_ONCE)
    ]
    return GaussianTensor(torch.cat([part.mean for part in parts]), torch.cat([part.log_var for part in parts]))


def recall_at_k(distance: Tensor, match: Tensor, k: int) -> float:
    """Computes the share of rows with at least one match among their k nearest columns.

    Args:
        distance: (A, B) float32.
        match: (A, B) bool; each row holds a match.
        k: a k above B is taken as B.
    """
    nearest = distance.topk(min(k, distance.shape[1]), dim=1, largest=False).indices
    return float(match.gather(1, nearest).any(dim=1).float().mean())


def _recalls(objective: Objective, feed: Feed, rows: np.ndarray, ecgs: GaussianTensor) -> tuple[float, float]:
    """Computes recall in both directions. An ECG may have several studies and a study several ECGs: all count."""
    pairs = feed.pairs.echo
    paired, ecg = np.unique(pairs.ecg, return_inverse=True)
    studies, study = np.unique(pairs.study, return_inverse=True)
    device = ecgs.mean.device
    ecgs = ecgs.rows(torch.from_numpy(np.searchsorted(rows, paired)).to(device))
    distance = objective.criterion.distance(ecgs, feed.targets(studies))
    match = torch.zeros_like(distance, dtype=torch.bool)
    match[torch.from_numpy(ecg).to(device), torch.from_numpy(study).to(device)] = True
    return recall_at_k(distance, match, RECALL_AT), recall_at_k(distance.T, match.T, RECALL_AT)
