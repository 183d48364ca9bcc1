"""PCME++ (Chun, ICLR 2024) as EchoingECG uses it: both of its losses have this form.

The ablation 'mean_only' is the same form of the means alone: d = ||mean_a - mean_b||², and no KL.
Neither side's log-variance has a part in it.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from echoingecg.recipe import StudentSettings
from echoingecg.student.gaussian import Gaussian, pair_distance


class LossTerms(NamedTuple):
    """The loss and what it is made of; scalars.

    Attributes:
        total: the weighted sum, the only one to differentiate.
        match: BCE against the identity.
        pseudo: BCE with pseudo-positives, both directions added.
        kl: KL to N(0, I), both sides added, after the guard.
        n_pseudo: pseudo-positives of both directions, matched pairs not counted.
    """

    total: Tensor
    match: Tensor
    pseudo: Tensor
    kl: Tensor
    n_pseudo: Tensor


def kl_to_standard_normal(gaussian: Gaussian) -> Tensor:
    """KL(N(mean, exp(log_var)) || N(0, 1)), the mean over all elements."""
    mean, log_var = gaussian.float()
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var).mean()


def at_least_matched(logits: Tensor) -> Tensor:
    """(B, B) bool: pairs whose logit is at least that of the row's matched pair, which is one of them."""
    return logits >= logits.diagonal()[:, None]


class PcmeLoss(nn.Module):
    """Match BCE + guarded KL + pseudo-positive BCE, with learned logit scale and shift.

    Row i of one side matches row i of the other and no other row.

    Args:
        settings: starts, weights and the KL limit; loss 'mean_only' leaves variances and KL out.
    """

    def __init__(self, settings: StudentSettings) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([settings.scale_start]))
        self.shift = nn.Parameter(torch.tensor([settings.shift_start]))
        self.variances = settings.loss != "mean_only"
        self.match_weight = settings.match_weight
        self.kl_weight = settings.kl_weight
        self.kl_limit = settings.kl_limit
        self.pseudo_weight = settings.pseudo_positive_weight

    def forward(self, a: Gaussian, b: Gaussian) -> LossTerms:
        """The loss of B matched pairs, in float32 also under autocast.

        Args:
            a: B Gaussians.
            b: B Gaussians, row i the partner of a's row i.
        """
        with torch.autocast(a.mean.device.type, enabled=False):
            logits = self.shift - self.scale * self.distance(a, b)
            matched = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
            pseudo_ab = at_least_matched(logits.detach())
            pseudo_ba = at_least_matched(logits.detach().T).T
            match = _bce(logits, matched)
            pseudo = _bce(logits, pseudo_ab) + _bce(logits, pseudo_ba)
            kl = self._kl(a) + self._kl(b)
            total = self.match_weight * match + self.kl_weight * kl + self.pseudo_weight * pseudo
            n_pseudo = pseudo_ab.sum() + pseudo_ba.sum() - 2 * len(logits)
        return LossTerms(total, match.detach(), pseudo.detach(), kl.detach(), n_pseudo)

    def distance(self, a: Gaussian, b: Gaussian) -> Tensor:
        """(A, B) float32: what the loss calls near, which retrieval ranks by."""
        return pair_distance(a, b, self.variances)

    def _kl(self, gaussian: Gaussian) -> Tensor:
        if not self.variances:
            return gaussian.mean.new_zeros(())
        kl = kl_to_standard_normal(gaussian)
        return torch.where(kl > self.kl_limit, 0.0, kl)


def _bce(logits: Tensor, positive: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, positive.to(logits.dtype))
