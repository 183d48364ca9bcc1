"""What a kind of teacher states about itself, its identity, and how `teacher.model` leads to a loaded network.

`teacher.model` is `PREFIX:PLACE`. The file of this folder that has the prefix's name (with `_` for `-`) holds a class
`Kind`; a new file is a new kind. Names without a prefix, `hf-hub:` and `local-dir:` belong to open_clip.
"""

import pickle
import pkgutil
from abc import ABC, abstractmethod
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from data_contracts.conventions import NOT_STATED, UserError
from echoingecg.common import hash_files, read_origin
from echoingecg.recipe.stages import TeacherSettings

if TYPE_CHECKING:
    from torch import Tensor

    from echoingecg.teacher.networks.frozen import FrozenTeacher

_OPEN_CLIP = ("", "hf-hub", "local-dir")
_NO_KIND = ("frozen", "kind", "open_clip")
WEIGHTS_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
TABLE = "table:"  # vectors that were made elsewhere
_TABLE_SUFFIXES = (".parquet", ".csv")


class TeacherKind(ABC):
    """A teacher that a recipe names, before its weights are read.

    Attributes:
        settings: the recipe's section `teacher`.
        place: of `teacher.model`, what stands behind the prefix.
    """

    def __init__(self, settings: TeacherSettings) -> None:
        prefix, colon, place = settings.model.partition(":")
        self.settings, self.place = settings, place if colon else prefix

    @abstractmethod
    def files(self) -> dict[str, Path]:
        """Finds the files that the teacher consists of, by what they are, `weights` among them.

        Raises:
            UserError: a file is missing, or cannot be fetched.
        """

    def identity(self) -> dict[str, str]:
        """Identifies the teacher by the content of its files, wherever they are. Raises UserError."""
        prefix = self.settings.model.partition(":")[0]
        return {"model": prefix} | {name: hash_files([path]) for name, path in self.files().items()}

    def trained_on(self) -> str:
        """Names whose echoes it was trained on: what ORIGIN_FILE beside the weights states. Raises UserError."""
        return read_origin(self.files()["weights"].parent) or NOT_STATED

    @abstractmethod
    def load(self, device: str, compiled: bool) -> "FrozenTeacher":
        """Builds the network and reads its weights.

        Args:
            device: torch device.
            compiled: whether torch.compile is applied.

        Raises:
            UserError: the teacher cannot be built, in one line. `load_teacher` makes one of other errors.
        """


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


def load_teacher(settings: TeacherSettings, device: str, compiled: bool = False) -> "FrozenTeacher":
    """Builds the teacher that the recipe names and loads its weights (safetensors, or torch weights only).

    Args:
        settings: model, weights, image_size, window_frames, windows, channels, precision, batch_frames.
        device: torch device, for example cpu or cuda:1.
        compiled: whether torch.compile is applied.

    Raises:
        UserError: no such model, no weights, weights that do not fit, or no network to download them.
    """
    import torch

    kind = teacher_kind(settings)
    try:
        with torch.random.fork_rng(devices=[]):  # initial weights are drawn before the real ones are loaded
            return kind.load(device, compiled)
    except UserError:
        raise
    except _LOAD_ERRORS as fault:
        line = next(iter(str(fault).splitlines()), "")
        raise UserError(f"teacher.model '{settings.model}' cannot be loaded: {type(fault).__name__}: {line}") from fault


def teacher_kind(settings: TeacherSettings) -> TeacherKind:
    """Finds the kind of teacher that a recipe names.

    Raises:
        UserError: there is no such kind, or it is a table of vectors, which no network makes.
    """
    prefix, colon, _ = settings.model.partition(":")
    name = "open_clip" if not colon or prefix in _OPEN_CLIP else prefix.replace("-", "_")
    if prefix == "table" and colon:
        raise UserError(
            f"teacher.model '{settings.model}' is a table of vectors: there is no network that embeds clips"
        )
    package = __name__.rpartition(".")[0]
    kinds = {module.name for module in pkgutil.iter_modules(import_module(package).__path__)} - set(_NO_KIND)
    if name not in kinds | {"open_clip"}:
        known = sorted([*(f"{kind.replace('_', '-')}:" for kind in kinds), "hf-hub:", "local-dir:", "table:"])
        raise UserError(f"teacher.model '{settings.model}': unknown schema '{prefix}', use {', '.join(known)}")
    kind: TeacherKind = import_module(f"{package}.{name}").Kind(settings)
    return kind


def teacher_identity(settings: TeacherSettings) -> dict[str, str]:
    """Identifies the teacher by the content of its files: equal identities mean equal teachers.

    Reads and hashes the weights file, or the table of vectors. For 'hf-hub:' it downloads files that are not in the
    cache yet, so that the identity is the same before and after the first run.

    Raises:
        UserError: no such model, no weights, or no network to download them.
    """
    if (table := table_file(settings)) is not None:
        return {"model": TABLE.rstrip(":"), "table": hash_files([table])}
    return teacher_kind(settings).identity()


def teacher_origin(settings: TeacherSettings) -> str:
    """Names whose echoes the teacher was trained on. Raises UserError like `teacher_identity`."""
    return NOT_STATED if table_file(settings) is not None else teacher_kind(settings).trained_on()


def table_file(settings: TeacherSettings) -> Path | None:
    """Finds the table of vectors that the recipe names; None for a teacher that reads clips.

    Raises:
        UserError: there is no such file, or other settings of the teacher need the clips.
    """
    if not settings.model.startswith(TABLE):
        return None
    path = Path(settings.model.removeprefix(TABLE)).expanduser()
    if path.suffix not in _TABLE_SUFFIXES or not path.is_file():
        raise UserError(f"teacher.model '{settings.model}': no such file of a kind {', '.join(_TABLE_SUFFIXES)}")
    if settings.weights:
        raise UserError(f"teacher.weights is for an open_clip name; '{TABLE}' brings its own vectors")
    if settings.view_filter or settings.colour_doppler == "refuse":
        raise UserError(
            f"teacher.view_filter and teacher.colour_doppler look at clips, which '{TABLE}' never opens: leave their "
            "rows out of the table"
        )
    return path


def weights_file(settings: TeacherSettings, path: str) -> Path:
    """Checks that weights are named and stand there.

    Args:
        settings: for the message.
        path: of the weights; empty where the recipe names none.

    Raises:
        UserError: no weights are named, or there is no such file of a kind that holds weights.
    """
    if not path:
        raise UserError(
            f"teacher.model '{settings.model}' has no weights, and random ones are refused: "
            "set teacher.weights to a file, or teacher.model to 'demo'"
        )
    file = Path(path).expanduser()
    if file.suffix not in WEIGHTS_SUFFIXES or not file.is_file():
        raise UserError(f"teacher.weights {file}: no such file of a kind {', '.join(WEIGHTS_SUFFIXES)}")
    return file


def file_in(settings: TeacherSettings, folder: Path, names: tuple[str, ...]) -> Path:
    """Finds the first of the names that stands in a folder. Raises UserError where none does."""
    file = next((folder / name for name in names if (folder / name).is_file()), None)
    if file is None:
        raise UserError(f"teacher.model '{settings.model}': the folder needs {' or '.join(names)}")
    return file


def read_weights(path: Path) -> "dict[str, Tensor]":
    """Reads a state dict, safetensors or torch (weights only, on the CPU).

    Raises:
        pickle.UnpicklingError, SafetensorError, OSError, RuntimeError: the file is damaged, or holds code.
    """
    import torch
    from safetensors.torch import load_file

    if path.suffix == ".safetensors":
        return load_file(path)
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state
