"""Which device a network runs on, and how many threads it takes."""

import torch

from echoingecg.errors import UserError
from echoingecg.recipe import ExecutionSettings


def device(execution: ExecutionSettings) -> str:
    """'cpu' or 'cuda', with torch's thread count set.

    Raises:
        UserError: the recipe asks for CUDA and there is none.
    """
    if execution.threads:
        torch.set_num_threads(execution.threads)
    if execution.device == "cuda" and not torch.cuda.is_available():
        raise UserError("execution.device=cuda, but torch finds no CUDA device: use auto or cpu")
    if execution.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return execution.device
