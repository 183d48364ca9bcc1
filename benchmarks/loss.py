"""PCME++ forward and backward: our matrix products against the published formula with (B, B, D) tensors."""

from collections.abc import Iterator

import psutil
import torch
from torch.nn import functional as F

from benchmarks.measure import Row, at_least, below, in_fresh_process, once, peak_mb
from echoingecg.recipe import StudentSettings
from echoingecg.student.loss import PcmeLoss
from echoingecg.student.model.gaussian_heads import GaussianTensor

DIM = 512
PLAIN_REPEATS = {128: 3, 256: 3, 512: 1, 1024: 1}  # at B 1024 one call takes 20 s
PLAIN_NEEDS = {1024: 16e9}  # bytes free; 13 GB are used
OURS_REPEATS = {128: 20, 256: 20, 512: 10, 1024: 5, 2048: 3, 4096: 3, 8192: 1}
RATIO = {256: at_least(100), 1024: at_least(300)}
MEMORY = {1024: below(250)}


def _gaussian(size: int, seed: int) -> GaussianTensor:
    generator = torch.Generator().manual_seed(seed)
    mean = F.normalize(torch.randn(size, DIM, generator=generator), dim=-1)
    log_var = torch.randn(size, DIM, generator=generator) * 0.1 - 6
    return GaussianTensor(mean.requires_grad_(), log_var.requires_grad_())


def published(a: GaussianTensor, b: GaussianTensor) -> torch.Tensor:
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


def ours(a: GaussianTensor, b: GaussianTensor) -> torch.Tensor:
    """The project's loss as training uses it."""
    total: torch.Tensor = PcmeLoss(StudentSettings())(a, b).total
    return total


ROUTES = {"published": published, "ours": ours}


def cost(route: str, size: int, repeats: int) -> tuple[float, float]:
    """(seconds of the fastest call, extra MB at the peak) of forward and backward in this process, best a fresh one.

    A call of B 8 comes first, so that what torch sets up once is not counted.
    """

    def step(a: GaussianTensor, b: GaussianTensor) -> None:
        ROUTES[route](a, b).backward()

    step(_gaussian(8, 1), _gaussian(8, 2))
    a, b = _gaussian(size, 1), _gaussian(size, 2)
    before = psutil.Process().memory_info().rss / 1e6
    taken = [once(lambda: step(a, b)) for _ in range(repeats)]
    return min(taken), peak_mb() - before


def rows() -> Iterator[Row]:
    """Each size and route in a process of its own."""
    a, b = _gaussian(64, 1), _gaussian(64, 2)
    torch.testing.assert_close(published(a, b), ours(a, b), rtol=1e-4, atol=1e-6)
    for size, repeats in OURS_REPEATS.items():
        plain, plain_mb, route = None, None, "not run: (B, B, D) tensors need too much memory"
        if size in PLAIN_REPEATS and psutil.virtual_memory().available > PLAIN_NEEDS.get(size, 0):
            plain, plain_mb = in_fresh_process("loss", "cost", "published", size, PLAIN_REPEATS[size])
            route = "(B, B, D) tensors"
        spent, spent_mb = in_fresh_process("loss", "cost", "ours", size, repeats)
        yield Row(f"loss forward + backward, D {DIM}, B {size}", route, plain, spent, RATIO.get(size))
        yield Row(f"its extra memory, B {size}", route, plain_mb, spent_mb, MEMORY.get(size), "MB")
