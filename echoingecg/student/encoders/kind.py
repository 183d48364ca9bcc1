"""What a kind of ECG encoder states about itself, its layout, and how `student.encoder` leads to a loaded network.

The file of this folder that has the name of `student.encoder` (with `_` for `-`) holds a class `Kind`; a new file is a
new kind. `package.module:Class` is a class of the user's own. Shapes: n = windows, lead = leads of the encoder in its
own order, time = steps of its feature sequence.
"""

import pickle
import pkgutil
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from data_contracts.conventions import LEADS, SAMPLING_FREQUENCY
from echoingecg.common import ContractError, RecipeError, UserError, hash_files
from echoingecg.recipe.stages import PAPER_ENCODER
from echoingecg.teacher.networks.kind import WEIGHTS_SUFFIXES, read_weights

if TYPE_CHECKING:
    from torch import Tensor, nn

CLINICAL_LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
CONFIG = "config.json"  # beside the weights, of kinds that need it
_IN_FOLDER = ("model.safetensors", "pytorch_model.bin")
_NO_KIND = ("kind", "trunk")
_LARGEST_RATE_TERM = 100  # of the fraction of both sampling frequencies

# training: as the paper's, by mean and deviation of each lead over the training ECGs; none: mV; ecg and lead: mean 0,
# deviation 1 over the whole ECG, or over each lead; ecg_range: the ECG from 0 to 1; lead_range: each lead from -1 to 1.
Normalisation = Literal["training", "none", "ecg", "lead", "ecg_range", "lead_range"]


@dataclass(frozen=True)
class EncoderInput:
    """What an encoder takes. The pipeline's signal, 10 s at 100 Hz in mV, is made into it (`trunk.Preparation`).

    Attributes:
        sampling_frequency: Hz.
        samples: of one window; a signal of several windows is encoded window by window.
        normalisation: of the amplitudes, over the whole signal, before it is cut into windows.
        leads: names of the leads in the encoder's order, of conventions.LEADS.
    """

    sampling_frequency: float
    samples: int
    normalisation: Normalisation
    leads: tuple[str, ...] = CLINICAL_LEADS

    def __post_init__(self) -> None:
        """Raises UserError where a value is impossible."""
        if self.samples < 1 or self.sampling_frequency <= 0 or max(self.rate.as_integer_ratio()) > _LARGEST_RATE_TERM:
            raise UserError(
                f"an encoder's input of {self.samples} samples at {self.sampling_frequency:g} Hz: it needs samples, "
                f"and a rate that is to {SAMPLING_FREQUENCY:g} Hz as whole numbers up to {_LARGEST_RATE_TERM}"
            )
        if not self.leads or len(set(self.leads)) < len(self.leads) or not set(self.leads) <= set(LEADS):
            raise UserError(f"an encoder's leads {self.leads}: name each once, of {', '.join(LEADS)}")
        if self.normalisation not in get_args(Normalisation):
            raise UserError(f"an encoder's normalisation '{self.normalisation}': {', '.join(get_args(Normalisation))}")

    @property
    def rate(self) -> Fraction:
        """Its sampling frequency as a multiple of the pipeline's."""
        return Fraction(self.sampling_frequency / SAMPLING_FREQUENCY).limit_denominator(10_000)


class EncoderKind(ABC):
    """An encoder that a recipe names, before its weights are read.

    Its network maps (n, lead, samples) to (n, time, width) and has an attribute `width`.

    Attributes:
        name: value of `student.encoder`.
        declared: what the encoder takes.
        prefix: of the network's names, before those of the layout.
        wrappers: names under which published files keep the weights, beside other things.
        not_needed: names of weights that a published file may hold beside the encoder's.
    """

    name: str
    declared: EncoderInput
    prefix: ClassVar[str] = ""
    wrappers: ClassVar[tuple[str, ...]] = ()
    not_needed: ClassVar[str] = "(?!)"

    def renamed(self, weights: "dict[str, Tensor]") -> "dict[str, Tensor]":
        """Returns the weights under the newest of the names that the layout has had; as they are, where it has one."""
        return weights

    @abstractmethod
    def config(self, weights: "Mapping[str, Tensor]", path: Path) -> dict[str, Any]:
        """Finds the sizes of the network, as JSON values, in the weights or beside them.

        Args:
            weights: under the layout's names.
            path: of the weights' file.

        Raises:
            UserError: a weight that states a size is missing.
        """

    @abstractmethod
    def build(self, config: Mapping[str, Any]) -> "nn.Module":
        """Builds the network of a `config` with random weights."""

    def built(self, config: Mapping[str, Any]) -> "nn.Module":
        """Builds the network of a `config` that may be wrong.

        Raises:
            ContractError: no network has such sizes.
            UserError: as `build`.
        """
        try:
            return self.build(config)
        except UserError:
            raise
        except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as fault:
            line = next(iter(str(fault).splitlines()), "")[:120]
            raise ContractError(
                f"student.encoder '{self.name}': its sizes are impossible: {type(fault).__name__}: {line}"
            ) from fault

    def load(self, place: str) -> "tuple[dict[str, Any], nn.Module]":
        """Builds the network and reads its weights (safetensors, or torch weights only).

        Args:
            place: file of the weights, or its folder.

        Returns:
            The sizes, for `build`, and the network.

        Raises:
            UserError: there is no such file, it holds more than tensors, or its names and shapes are not this layout.
        """
        from torch.random import fork_rng

        path = weights_file(self.name, place)
        weights = self.renamed(self._read(path))
        config = self.config(weights, path)
        with fork_rng(devices=[]):  # initial weights are drawn before the real ones are read
            network = self.built(config)
        shapes = {name.removeprefix(self.prefix): tuple(value.shape) for name, value in network.state_dict().items()}
        check_layout(self.name, path, shapes, weights)
        network.load_state_dict({self.prefix + name: value for name, value in weights.items()})
        return config, network

    def _read(self, path: Path) -> "dict[str, Tensor]":
        from torch import Tensor

        stored: dict[str, Any] = dict(_opened(path))
        wrapped = next((stored[name] for name in self.wrappers if isinstance(stored.get(name), Mapping)), stored)
        if other := next((name for name, value in wrapped.items() if not isinstance(value, Tensor)), None):
            raise UserError(f"{_origin(path)}: '{str(other)[:80]}' is no tensor; only a plain state dict is read")
        needed = {name: value for name, value in wrapped.items() if not re.fullmatch(self.not_needed, name)}
        if bad := next((name for name, value in needed.items() if not value.isfinite().all()), None):
            raise UserError(f"{_origin(path)}: '{bad}' is not finite")
        return needed


def encoder_kind(name: str, allowed: str) -> EncoderKind:
    """Finds the kind of encoder that a recipe or a stored student names.

    Args:
        name: `student.encoder`, not the paper's.
        allowed: `package.module:Class` whose code may run; of a recipe its own, since whoever runs it has named it.

    Raises:
        UserError: there is no such kind, or the name is code that nobody has allowed.
    """
    if ":" in name:
        if allowed != name:
            raise UserError(
                f"student.encoder '{name}' is code, which this student's card names and nobody here has allowed: "
                f"where you know and trust it, use echoingecg.load(..., allow_encoder='{name}') in Python"
            )
        return OwnKind(name)
    module = name.replace("-", "_")
    if module not in (kinds := set(_kinds())):
        known = ", ".join(sorted(kind.replace("_", "-") for kind in kinds))
        raise UserError(f"student.encoder '{name}' is unknown: {PAPER_ENCODER}, {known}, or package.module:Class")
    kind: EncoderKind = import_module(f"{__name__.rpartition('.')[0]}.{module}").Kind()
    return kind


def encoder_identity(name: str, place: str) -> dict[str, str]:
    """Identifies an encoder by the content of its files, wherever they are, and runs none of its code.

    Args:
        name: `student.encoder`; the paper's has no identity but the recipe's.
        place: `student.encoder_weights`.

    Raises:
        UserError: a file is missing.
    """
    files: dict[str, Path] = {}
    if name != PAPER_ENCODER and place:
        files["encoder_weights"] = weights_file(name, place)
        if (config := files["encoder_weights"].parent / CONFIG).is_file():
            files["encoder_config"] = config
    if ":" in name:
        files["encoder_code"] = _source_file(name)
    return {what: hash_files([path]) for what, path in files.items()}


def weights_file(name: str, place: str) -> Path:
    """Finds the file of an encoder's weights.

    Args:
        name: `student.encoder`, for the message.
        place: the file, or its folder.

    Raises:
        UserError: no weights are named, or there is no such file of a kind that holds weights.
    """
    if not place:
        raise UserError(f"student.encoder '{name}' has no weights: set student.encoder_weights to their file or folder")
    path = Path(place).expanduser()
    if path.is_dir():
        path = next((path / file for file in _IN_FOLDER if (path / file).is_file()), path)
    if path.suffix not in WEIGHTS_SUFFIXES or not path.is_file():
        raise UserError(
            f"{_origin(path)}: no such file of a kind {', '.join(WEIGHTS_SUFFIXES)}, nor a folder with "
            f"{' or '.join(_IN_FOLDER)}"
        )
    return path


def check_layout(
    name: str, path: Path, expected: Mapping[str, tuple[int, ...]], weights: "Mapping[str, Tensor]"
) -> None:
    """Checks every name and shape.

    Args:
        name: of the layout, for the message.
        path: of the weights' file, for the message.
        expected: shape of each weight.
        weights: of the file.

    Raises:
        UserError: one line with the first wrong name of each kind: missing, unknown, of another shape.
    """
    others = [key for key, shape in expected.items() if key in weights and tuple(weights[key].shape) != shape]
    faults = [
        f"{len(wrong)} {fault}, first '{wrong[0]}'"
        for fault, wrong in (
            ("missing", [key for key in expected if key not in weights]),
            ("unknown", [key for key in weights if key not in expected]),
            ("of another shape", others),
        )
        if wrong
    ]
    if others:
        faults[-1] += f" {tuple(weights[others[0]].shape)}, expected {expected[others[0]]}"
    if faults:
        raise UserError(f"{_origin(path)}: not the layout of '{name}': {'; '.join(faults)}")


def size_of(weights: "Mapping[str, Tensor]", name: str, axis: int, path: Path) -> int:
    """Reads a size off a weight. Raises UserError where the weight is missing or has no such axis."""
    if name not in weights or weights[name].ndim <= axis or not weights[name].numel():
        raise UserError(f"{_origin(path)}: '{name}' is missing, empty or of too few axes: this is another layout")
    return int(weights[name].shape[axis])


def count_of(weights: "Mapping[str, Tensor]", pattern: str) -> int:
    """Counts the layers whose number the pattern's only group matches: 0, 1, ..., without a gap."""
    numbers = {int(match[1]) for name in weights if (match := re.match(pattern, name))}
    return next(number for number in range(len(numbers) + 1) if number not in numbers)


class OwnKind(EncoderKind):
    """A class of the user's own, `package.module:Class`: an nn.Module that is made without arguments.

    It has `encoder_input`, an EncoderInput, and `width`, the channels of its features, and maps (n, lead, samples) to
    (n, time, width). Its weights' names are its own.
    """

    def __init__(self, name: str) -> None:
        from torch import nn

        self.name = name
        module, _, made = name.partition(":")
        try:
            self._class: Any = getattr(import_module(module), made)
        except (ImportError, AttributeError) as fault:
            raise RecipeError(f"student.encoder '{name}': {fault}; name it as package.module:Class") from fault
        declared = getattr(self._class, "encoder_input", None)
        is_module = isinstance(self._class, type) and issubclass(self._class, nn.Module)
        if not is_module or not isinstance(declared, EncoderInput):
            raise RecipeError(f"student.encoder '{name}' must be an nn.Module with `encoder_input`, an EncoderInput")
        self.declared = declared

    def config(self, weights: "Mapping[str, Tensor]", path: Path) -> dict[str, Any]:
        """Returns nothing: the class knows its sizes."""
        return {}

    def build(self, config: Mapping[str, Any]) -> "nn.Module":
        """Makes an instance. Raises RecipeError where its features have another shape than it declares."""
        import torch

        network: nn.Module = self._class()
        width = getattr(network, "width", None)
        with torch.no_grad():
            zeros = torch.zeros(2, len(self.declared.leads), self.declared.samples)
            features = network.eval()(zeros)
        network.train()
        if features.ndim != 3 or len(features) != 2 or features.shape[1] < 1 or features.shape[2] != width:
            raise RecipeError(
                f"student.encoder '{self.name}' maps {tuple(zeros.shape)} to {tuple(features.shape)}; it must be "
                f"(2, time, width), and its attribute `width` is {width}"
            )
        return network

    def load(self, place: str) -> "tuple[dict[str, Any], nn.Module]":
        """Makes an instance; without weights it has those that it draws itself."""
        return super().load(place) if place else ({}, self.build({}))


def _kinds() -> Iterator[str]:
    package = import_module(__name__.rpartition(".")[0])
    return (module.name for module in pkgutil.iter_modules(package.__path__) if module.name not in _NO_KIND)


def _source_file(name: str) -> Path:
    module = name.partition(":")[0]
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        raise RecipeError(f"student.encoder '{name}': there is no module {module} on Python's path")
    return Path(spec.origin)


def _opened(path: Path) -> "Mapping[str, Tensor]":
    from safetensors import SafetensorError

    try:
        stored: Any = read_weights(path)
    except pickle.UnpicklingError as fault:
        raise UserError(
            f"{_origin(path)}: refused: it holds more than tensors, and nothing was run. Where you trust it, save its "
            "tensors alone as .safetensors"
        ) from fault
    except (OSError, RuntimeError, ValueError, EOFError, LookupError, SafetensorError) as fault:
        raise UserError(f"{_origin(path)}: damaged, or no weights file ({type(fault).__name__})") from fault
    if not isinstance(stored, Mapping):
        raise UserError(f"{_origin(path)}: holds a {type(stored).__name__}, not a state dict: names and tensors")
    return stored


def _origin(path: Path) -> str:
    return f"student.encoder_weights {path}"
