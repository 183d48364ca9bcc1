"""Symmetric InfoNCE on the cosine of the means (CLIP: Radford, ICML 2021, section 2.3), for ablation."""

import math
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from echoingecg.recipe import StudentSettings
from echoingecg.student.gaussian import Gaussian, pair_distance
from echoingecg.student.loss import LossTerms

LARGEST_FACTOR: Final = 100.0  # CLIP's bound on 1 / temperature: beyond it training becomes unstable


class InfoNceLoss(nn.Module):
    """Mean of the cross-entropies that find b's row from a and a's row from b; log-variances play no part.

    Args:
        settings: temperature_start counts here.
    """

    def __init__(self, settings: StudentSettings) -> None:
        super().__init__()
        self.log_factor = nn.Parameter(torch.tensor([-math.log(settings.temperature_start)]))

    @property
    def factor(self) -> Tensor:
        """(1,) float32: 1 / temperature, at most 100; at the bound it can still learn its way back."""
        excess = (self.log_factor.detach() - math.log(LARGEST_FACTOR)).clamp(min=0)
        return (self.log_factor - excess).exp()

    @property
    def scale(self) -> Tensor:
        """Of the match logit -scale * d + shift: with d = ||mean_a - mean_b||² = 2 - 2 cos it is cos / temperature."""
        return self.factor / 2

    @property
    def shift(self) -> Tensor:
        """See scale."""
        return self.factor

    def forward(self, a: Gaussian, b: Gaussian) -> LossTerms:
        """The loss of B matched pairs, in float32 also under autocast.

        Args:
            a: B Gaussians.
            b: B Gaussians, row i the partner of a's row i.
        """
        with torch.autocast(a.mean.device.type, enabled=False):
            cosine = F.normalize(a.mean.float(), dim=1) @ F.normalize(b.mean.float(), dim=1).T
            logits = self.factor * cosine
            matched = torch.arange(len(logits), device=logits.device)
            total = (F.cross_entropy(logits, matched) + F.cross_entropy(logits.T, matched)) / 2
        none = torch.zeros_like(total.detach())
        return LossTerms(total, total.detach(), none, none, none.long())

    def distance(self, a: Gaussian, b: Gaussian) -> Tensor:
        """(A, B) float32: squared distance of the unit-length means, which ranks as the cosine does."""
        return pair_distance(a, b, variances=False)
