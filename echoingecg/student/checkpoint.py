"""Checkpoints that survive kill -9: one safetensors file, replaced whole or not at all; no pickle."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.optim import Optimizer

from echoingecg.common import flush_to_disk, save_tensors

FILENAME = "checkpoint.safetensors"

Weights = dict[str, Tensor]


@dataclass
class Position:
    """The progress of a training, as plain JSON values; floats are stored exactly.

    Attributes:
        epoch: the epoch in progress, from 1; epochs + 1 at the end.
        batch: number of its batches that are done.
        step: number of optimiser steps that are done.
        loss_sum: training loss summed over the epoch's batches, by kind.
        loss_count: batches in loss_sum, by kind.
        history: rows of data_contracts.student.HISTORY.
        best_epoch: 0 until an epoch has ended.
        best_loss: weighted validation loss of the best epoch; None without validation pairs.
    """

    epoch: int = 1
    batch: int = 0
    step: int = 0
    loss_sum: dict[str, float] = field(default_factory=dict)
    loss_count: dict[str, int] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_loss: float | None = None


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training, complete: what resumes from it equals a training that was not interrupted."""

    position: Position
    tensors: Weights

    def restore(self, module: nn.Module, optimizer: Optimizer) -> None:
        """Restores weights, optimiser moments and torch's random state."""
        module.load_state_dict(_under("weights.", self.tensors))
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in _under("optimizer.", self.tensors).items():
            number, name = key.split(".")
            state.setdefault(int(number), {})[name] = tensor
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        torch.set_rng_state(self.tensors["random.cpu"])
        if "random.cuda" in self.tensors:
            torch.cuda.set_rng_state(self.tensors["random.cuda"])

    @property
    def best(self) -> Weights:
        """Weights of the best epoch; empty before the first epoch has ended."""
        return _under("best.", self.tensors)


def save_checkpoint(
    folder: Path, run: str, position: Position, module: nn.Module, optimizer: Optimizer, best: Weights
) -> None:
    """Writes the checkpoint next to the old one, forces it to disk, then replaces the old one.

    Args:
        folder: exists.
        run: digest of settings and data, so that no other run resumes from the checkpoint.
        position: the progress of the training.
        module: all weights and buffers.
        optimizer: its per-parameter tensors.
        best: weights of the best epoch.
    """
    tensors = {f"weights.{name}": tensor for name, tensor in module.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": tensor for name, tensor in state.items()}
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    partial = folder / f"{FILENAME}.partial"
    metadata = {"run": run, "position": json.dumps(asdict(position), allow_nan=False)}
    save_tensors(tensors, partial, metadata)
    partial.replace(folder / FILENAME)
    flush_to_disk(folder)


def load_checkpoint(folder: Path, run: str) -> Checkpoint | None:
    """Reads the checkpoint of this run; None if there is none, it is damaged, or it belongs to another run."""
    try:
        with safe_open(folder / FILENAME, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("run") != run:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
    except (FileNotFoundError, SafetensorError):
        return None
    return Checkpoint(Position(**json.loads(metadata["position"])), tensors)


def history_so_far(folder: Path) -> list[dict[str, Any]]:
    """Rows of data_contracts.student.HISTORY of the checkpoint in a folder, read from its header alone.

    Empty where there is no checkpoint, or a damaged one.
    """
    try:
        with safe_open(folder / FILENAME, framework="pt") as file:
            metadata = file.metadata() or {}
    except (FileNotFoundError, SafetensorError):
        return []
    return list(json.loads(metadata["position"])["history"]) if "position" in metadata else []


def _under(prefix: str, tensors: Weights) -> Weights:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
