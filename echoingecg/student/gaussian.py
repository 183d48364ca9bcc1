"""Diagonal Gaussians in the shared embedding space, and the distance between two of them."""

from typing import NamedTuple

import torch
from torch import Tensor


class Gaussian(NamedTuple):
    """N(mean, diag(exp(log_var))), one a row.

    Attributes:
        mean: (B, D), unit length.
        log_var: (B, D), natural logarithm of the variance.
    """

    mean: Tensor
    log_var: Tensor

    def float(self) -> "Gaussian":
        """In float32, whatever the autocast made of it."""
        return Gaussian(self.mean.float(), self.log_var.float())

    def rows(self, which: Tensor) -> "Gaussian":
        """The Gaussians at the given rows."""
        return Gaussian(self.mean[which], self.log_var[which])


def pair_distance(a: Gaussian, b: Gaussian, variances: bool = True) -> Tensor:
    """Closed-form sampled distance of every a to every b (Chun, ICLR 2024, eq. 1).

    d = ||mean_a - mean_b||² + sum exp(log_var_a) + sum exp(log_var_b). The squared norm is expanded
    into a matrix product and the variances into two vectors: O(A B) memory, where the formula as
    written holds (A, B, D) tensors. float32 also under autocast, whose bfloat16 has three digits.

    Args:
        a: A Gaussians.
        b: B Gaussians.
        variances: False leaves their sums out: the squared distance of the means alone.

    Returns:
        (A, B) float32.
    """
    with torch.autocast(a.mean.device.type, enabled=False):
        a, b = a.float(), b.float()
        return torch.addmm(own_part(a, variances)[:, None] + own_part(b, variances), a.mean, b.mean.T, alpha=-2)


def own_part(one: Gaussian, variances: bool = True) -> Tensor:
    """(B,) what each Gaussian brings to its distance from any other: ||mean||² + sum exp(log_var)."""
    norm = one.mean.square().sum(1)
    return norm + one.log_var.exp().sum(1) if variances else norm
