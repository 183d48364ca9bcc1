"""Learning rate of each step: linear warm-up, cosine to zero (METHOD, optimiser).

Surroundings in which a training repeats itself exactly.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch


class Rates(Protocol):
    """The part of a recipe's section that a schedule reads."""

    @property
    def learning_rate(self) -> float:
        """The peak."""

    @property
    def warmup_share(self) -> float:
        """Share of the steps spent on warm-up."""

    @property
    def warmup_start(self) -> float:
        """First rate as a share of the peak."""


def learning_rate(settings: Rates, step: int, steps: int) -> float:
    """The rate that optimiser step number `step` uses.

    Args:
        settings: of the training.
        step: from 0; `steps` gives 0, the end of the cosine.
        steps: of the whole run.
    """
    warmup = math.ceil(settings.warmup_share * steps)
    if step < warmup:
        share = settings.warmup_start + (1 - settings.warmup_start) * step / warmup
    else:
        share = 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
    return settings.learning_rate * share


@contextmanager
def reproducible(seed: int, threads: int) -> Iterator[None]:
    """Seeds torch, asks it for deterministic algorithms, and puts everything back afterwards.

    Args:
        seed: of torch's generators.
        threads: of torch meanwhile; 0 leaves their number as it is.
    """
    threads_before, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    deterministic_options: Any = torch.utils.deterministic
    filled = deterministic_options.fill_uninitialized_memory
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        # Some CUDA kernels have no deterministic form: there a warning must do.
        torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
        deterministic_options.fill_uninitialized_memory = False  # we read none, and filling costs a tenth
        torch.set_num_threads(threads or threads_before)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic)
            deterministic_options.fill_uninitialized_memory = filled
            torch.set_num_threads(threads_before)
