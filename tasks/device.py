"""Which device a network runs on, and how many threads it takes."""

import torch

from echoingecg.common.errors import UserError
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


def replicas(execution: ExecutionSettings) -> list[str]:
    """Devices that each hold a copy of a network that does not learn: `execution.devices` GPUs, or the CPU.

    Raises:
        UserError: there are fewer GPUs.
    """
    if device(execution) == "cpu":
        return ["cpu"]
    if execution.devices > (found := torch.cuda.device_count()):
        raise UserError(f"execution.devices={execution.devices}, but torch finds {found} CUDA devices")
    return [f"cuda:{index}" for index in range(execution.devices)]
