"""Surroundings in which a training repeats itself exactly."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from echoingecg.recipe import ExecutionSettings


@contextmanager
def reproducible(seed: int, execution: ExecutionSettings) -> Iterator[None]:
    """Seeds torch, asks it for deterministic algorithms, and puts everything back afterwards."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    deterministic_options: Any = torch.utils.deterministic
    filled = deterministic_options.fill_uninitialized_memory
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        # Some CUDA kernels have no deterministic form: there a warning must do.
        torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
        deterministic_options.fill_uninitialized_memory = False  # we read none, and filling costs a tenth
        torch.set_num_threads(execution.threads or threads)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic)
            deterministic_options.fill_uninitialized_memory = filled
            torch.set_num_threads(threads)
