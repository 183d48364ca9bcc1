"""Loads the frozen teacher that a recipe names, of whatever kind."""

import pickle

import torch
from safetensors import SafetensorError

from data_contracts.conventions import UserError
from echoingecg.recipe.stages import TeacherSettings
from echoingecg.teacher.networks.frozen import FrozenTeacher
from echoingecg.teacher.networks.kind import teacher_kind

# What the libraries raise for a wrong configuration, or weights of another architecture.
_LOAD_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    OSError,
    RuntimeError,
    SafetensorError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
)


def load_teacher(settings: TeacherSettings, device: str, compiled: bool = False) -> FrozenTeacher:
    """Builds the teacher that the recipe names and loads its weights (safetensors, or torch weights only).

    Args:
        settings: model, weights, image_size, window_frames, windows, channels, precision, batch_frames.
        device: torch device, for example cpu or cuda:1.
        compiled: whether torch.compile is applied.

    Raises:
        UserError: no such model, no weights, weights that do not fit, or no network to download them.
    """
    kind = teacher_kind(settings)
    try:
        with torch.random.fork_rng(devices=[]):  # initial weights are drawn before the real ones are loaded
            return kind.load(device, compiled)
    except UserError:
        raise
    except _LOAD_ERRORS as fault:
        line = next(iter(str(fault).splitlines()), "")
        raise UserError(f"teacher.model '{settings.model}' cannot be loaded: {type(fault).__name__}: {line}") from fault
