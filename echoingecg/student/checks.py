"""Checks before training starts and after each step, and the error line when training must stop."""

import math

import numpy as np
import torch

from echoingecg.common import TrainingError
from echoingecg.recipe import ExecutionSettings, StudentSettings
from echoingecg.student.checkpoint import Position
from echoingecg.student.data.pairs import KINDS, Kind, TrainingData


def usable_kinds(data: TrainingData, settings: StudentSettings) -> tuple[Kind, ...]:
    """Returns the kinds of pairs that have a weight and rows.

    Raises:
        TrainingError: there are none, one cannot fill a batch, or student and teacher differ in width.
    """
    weights = loss_weights(settings)
    kinds = tuple(kind for kind in KINDS if weights[kind] > 0 and data.train.count(kind))
    if not kinds:
        raise TrainingError("no training pairs: neither ECG-echo nor ECG-text has rows in the train split")
    for kind in kinds:
        if data.train.count(kind) < settings.batch_size:
            raise TrainingError(
                f"student.batch_size is {settings.batch_size}, but the train split holds only "
                f"{data.train.count(kind)} {kind} pairs: lower batch_size, or set that loss's weight to 0"
            )
    if "ecg_echo" in kinds and data.dim != settings.model.embed_dim:
        raise TrainingError(
            f"student.model.embed_dim is {settings.model.embed_dim}, but the teacher embeds in {data.dim} dimensions: "
            "they must be equal"
        )
    return kinds


def loss_weights(settings: StudentSettings) -> dict[Kind, float]:
    """Returns the weight of each loss."""
    return {"ecg_echo": settings.echo_weight, "ecg_text": settings.text_weight}


def derived_seed(seed: int, rank: int, step: int) -> int:
    """Derives a seed for each process and checkpoint, so that their dropout masks differ.

    Args:
        seed: the recipe's.
        rank: of the process, from 0.
        step: of the checkpoint.
    """
    return int(np.random.SeedSequence([seed % 2**64], spawn_key=(rank, step)).generate_state(1, np.uint64)[0])


def accelerator(execution: ExecutionSettings) -> str:
    """Returns 'cpu' or 'cuda'. Raises TrainingError if the recipe wants CUDA and there is none."""
    if execution.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if execution.device == "cuda" and not torch.cuda.is_available():
        raise TrainingError("execution.device=cuda, but torch finds no CUDA device: use auto or cpu")
    return execution.device


def step_fault(loss: float, gradient_norm: float, settings: StudentSettings) -> str | None:
    """Describes what is wrong with a step, such as 'loss or its gradient is not finite'; None if nothing is.

    Args:
        loss: of the batch, unweighted.
        gradient_norm: before clipping.
        settings: loss_limit and gradient_limit are used.
    """
    if not (math.isfinite(loss) and math.isfinite(gradient_norm)):
        return "loss or its gradient is not finite"
    for name, value, limit, field in (
        ("loss", loss, settings.loss_limit, "loss_limit"),
        ("loss's gradient norm", gradient_norm, settings.gradient_limit, "gradient_limit"),
    ):
        if limit is not None and value > limit:
            return f"{name} of {value:.3g} is beyond student.{field}={limit:g}"
    return None


def stop_message(event: str, position: Position, steps: int, saved_step: int | None) -> str:
    """Writes the error line of a training that must stop.

    Args:
        event: what happened, as subject and verb.
        position: of the step that failed; the step does not count as done.
        steps: number of steps of the whole run.
        saved_step: step of the last checkpoint; None if there is none.
    """
    saved = "there is no checkpoint yet"
    if saved_step is not None:
        saved = f"the last good checkpoint is of step {saved_step}"
    return (
        f"the {event} at step {position.step + 1} of {steps} (epoch {position.epoch}); {saved}. "
        "Lower student.learning_rate, set student.model.log_var_start, or use student.precision=float32"
    )
