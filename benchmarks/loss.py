"""PCME++ forward and backward: our matrix products against the published formula with (B, B, D) tensors."""

from collections.abc import Iterator

import torch
from torch.nn import functional as F

from benchmarks.measure import Row, seconds
from echoingecg.recipe import StudentSettings
from echoingecg.student.gaussian import Gaussian
from echoingecg.student.loss import PcmeLoss

DIM = 512


def _gaussian(size: int, seed: int) -> Gaussian:
    generator = torch.Generator().manual_seed(seed)
    mean = F.normalize(torch.randn(size, DIM, generator=generator), dim=-1)
    log_var = torch.randn(size, DIM, generator=generator) * 0.1 - 6
    return Gaussian(mean.requires_grad_(), log_var.requires_grad_())


def published(a: Gaussian, b: Gaussian) -> torch.Tensor:
    """The loss as the formula is written: every pair's difference as a tensor of its own."""
    difference = (a.mean[:, None] - b.mean[None]).square()
    variance = a.log_var.exp()[:, None] + b.log_var.exp()[None]
    logits = 5.0 - 5.0 * (difference + variance).sum(-1)
    eye = torch.eye(len(logits))
    pseudo = [(view >= view.diagonal()[:, None]).float() for view in (logits, logits.T)]
    match = F.binary_cross_entropy_with_logits(logits, eye)
    extra = sum(F.binary_cross_entropy_with_logits(v, p) for v, p in zip((logits, logits.T), pseudo, strict=True))
    kl = sum(0.5 * (one.mean.square() + one.log_var.exp() - 1 - one.log_var).mean() for one in (a, b))
    return 2 * match + 1e-4 * kl + 0.1 * extra


def rows() -> Iterator[Row]:
    """B 128 and 256; larger ones need many gigabytes on the plain route."""
    ours = PcmeLoss(StudentSettings())
    for size, goal in ((128, None), (256, 100.0)):
        a, b = _gaussian(size, 1), _gaussian(size, 2)
        torch.testing.assert_close(published(a, b), ours(a, b).total, rtol=1e-4, atol=1e-6)
        yield Row(
            f"loss forward + backward, D {DIM}, B {size}",
            "(B, B, D) tensors",
            seconds(lambda a=a, b=b: published(a, b).backward()),  # type: ignore[misc]
            seconds(lambda a=a, b=b: ours(a, b).total.backward(), 10),  # type: ignore[misc]
            goal,
        )
