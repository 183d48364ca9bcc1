"""What both trainings share: the learning rate of each step, and settings of torch that make a run repeatable."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def learning_rate(step: int, steps: int, peak: float, warmup_share: float, warmup_start: float) -> float:
    """Returns the learning rate of one optimiser step: linear warm-up, then a cosine down to zero.

    Args:
        step: number of the step, from 0; `steps` gives 0, the end of the cosine.
        steps: number of steps of the whole run.
        peak: largest learning rate.
        warmup_share: share of the steps spent on warm-up, 0 to 1.
        warmup_start: first learning rate, as a share of the peak.
    """
    warmup_steps = math.ceil(warmup_share * steps)
    if step < warmup_steps:
        share = warmup_start + (1 - warmup_start) * step / warmup_steps
    else:
        share = 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(1, steps - warmup_steps)))
    return peak * share


@contextmanager
def reproducible(seed: int, threads: int) -> Iterator[None]:
    """Seeds torch and requests deterministic algorithms inside the block; restores all settings afterwards.

    Args:
        seed: seed of torch's random generators.
        threads: number of torch threads inside the block; 0 leaves it unchanged.
    """
    threads_before, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    deterministic_options: Any = torch.utils.deterministic
    fill_before = deterministic_options.fill_uninitialized_memory
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        # Some CUDA kernels have no deterministic form: with CUDA, torch only warns about them.
        torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
        # No uninitialised memory is read here, and filling it costs a tenth of the time.
        deterministic_options.fill_uninitialized_memory = False
        torch.set_num_threads(threads or threads_before)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic)
            deterministic_options.fill_uninitialized_memory = fill_before
            torch.set_num_threads(threads_before)
