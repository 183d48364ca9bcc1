"""Loads the frozen teacher that a recipe names: an open_clip model (such as ECHO-CLIP) or a torchvision video network.

Shapes: text = sentences, dim = embedding width, size = edge of the frames, px, vector = one per frame or window.
"""

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torchvision.models import get_model, get_model_weights, list_models, video

from data_contracts.conventions import UserError
from echoingecg.recipe.stages import TeacherSettings
from echoingecg.teacher.embed import embed_clips
from echoingecg.teacher.identity import TORCHVISION, Source, teacher_source

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_CLASS_SCORES = ("fc", "head", "classifier")  # names that the networks give their last layer
# What open_clip and torch raise for a wrong configuration, or weights of another architecture.
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

Tokenizer = Callable[[list[str]], torch.Tensor]


@dataclass(frozen=True)
class Preprocessing:
    """How frames must be prepared for a network.

    Attributes:
        size: edge of the square frames, px.
        mean, std: of each channel, for values of 0 to 1.
        window: frames that make one vector; 0 for an image network, which has no time axis.
    """

    size: int
    mean: Sequence[float]
    std: Sequence[float]
    window: int = 0


class FrozenTeacher:
    """A `Teacher` without a text tower, from any network that turns images or windows of frames into vectors.

    Args:
        network: (vector, 3, [window,] size, size) -> (vector, dim); it is frozen and moved to the device.
        preprocessing: of the frames.
        settings: model, precision and batch_frames are read.
        device: torch device.
        compiled: whether torch.compile is applied; it takes minutes once and needs a C++ compiler.
    """

    has_text_tower = False

    def __init__(
        self, network: nn.Module, preprocessing: Preprocessing, settings: TeacherSettings, device: str, compiled: bool
    ) -> None:
        self._device, self._window = torch.device(device), preprocessing.window
        # Weights in half precision, not autocast: autocast keeps norms in float32 and converts at each of them.
        self._dtype = _DTYPES[settings.precision]
        layout = torch.channels_last_3d if self._window else torch.channels_last
        network = network.eval().requires_grad_(False).to(self._device, self._dtype).to(memory_format=layout)
        self._network: Any = network
        axes = 3 if self._window else 2
        self._mean = per_channel(preprocessing.mean, self._device, axes)
        self._std = per_channel(preprocessing.std, self._device, axes)
        self._model = settings.model
        self.image_size = preprocessing.size
        self.batch = max(settings.batch_frames // max(self._window, 1), 1)
        black = np.zeros((1, self.image_size, self.image_size, 3), np.uint8)
        self.dim = self.forward(torch.from_numpy(self.inputs(black))).shape[1]
        if compiled:  # after the call above, as its single input would be compiled separately
            self._network = torch.compile(network, dynamic=False)

    def inputs(self, frames: np.ndarray) -> np.ndarray:
        """Returns the frames unchanged, or windows (vector, window, size, size, 3) that together cover every frame.

        Windows are spread evenly from the first frame to the last. A clip shorter than a window is repeated.
        """
        if not self._window:
            return frames
        if len(frames) < self._window:
            return frames[np.arange(self._window) % len(frames)][None]
        count = -(-len(frames) // self._window)
        starts = np.arange(count) * (len(frames) - self._window) // max(count - 1, 1)
        return frames[starts[:, None] + np.arange(self._window)]

    @torch.inference_mode()
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Embeds inputs: uint8 (vector, ...) on the CPU to float32 (vector, dim) on the device, each of unit length."""
        # The permuted view is already channels_last.
        images = inputs.to(self._device, non_blocking=True).movedim(-1, 1).to(torch.float32)
        images = images.div_(255).sub_(self._mean).div_(self._std).to(self._dtype)
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # TF32 would round float32
            return F.normalize(self._network(images).float(), dim=-1)

    def embed(self, frames: np.ndarray) -> np.ndarray:
        """Embeds one clip: float16 (vector, dim), each of unit length. For frames and errors see `embed_clips`."""
        return next(embed_clips([(None, frames)], [self]))[1]

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        """Raises UserError, since there is no text tower."""
        raise UserError(f"teacher.model '{self._model}' has no text tower: prompts need an open_clip model")


def per_channel(values: Sequence[float], device: torch.device, axes: int = 2) -> torch.Tensor:
    """Three numbers as float32 (3, 1, ...) with `axes` ones, to broadcast over (..., 3, [time,] height, width)."""
    return torch.tensor(values, dtype=torch.float32, device=device).view(3, *[1] * axes)


class OpenClipTeacher(FrozenTeacher):
    """A `Teacher` with both towers of an open_clip model.

    Args:
        model: an open_clip CLIP.
        tokenizer: makes a function from texts to int64 (text, context); called at the first text.
        settings, device, compiled: see `FrozenTeacher`.
    """

    has_text_tower = True

    def __init__(
        self, model: Any, tokenizer: Callable[[], Tokenizer], settings: TeacherSettings, device: str, compiled: bool
    ) -> None:
        config = open_clip.get_model_preprocess_cfg(model.visual)
        model = model.eval().requires_grad_(False)
        preprocessing = Preprocessing(_square_edge(config["size"]), config["mean"], config["std"])
        super().__init__(model.visual, preprocessing, settings, device, compiled)
        self._clip, self._tokenizer = model, cache(tokenizer)

    @torch.inference_mode()
    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        """Embeds sentences with the text tower, in float32, into the space of the frames.

        Args:
            texts: at least one. Words beyond the tower's context are cut off.

        Returns:
            float32 (text, dim), each of unit length.
        """
        tokens = self._tokenizer()(list(texts)).split(self.batch)
        model = self._clip.to(self._device)
        return torch.cat([model.encode_text(part.to(self._device), normalize=True) for part in tokens]).cpu().numpy()


def load_teacher(settings: TeacherSettings, device: str, compiled: bool = False) -> FrozenTeacher:
    """Builds the teacher that the recipe names and loads its weights (safetensors, or torch weights only).

    Args:
        settings: model, weights, image_size, window_frames, precision, batch_frames.
        device: torch device, for example cpu or cuda:1.
        compiled: whether torch.compile is applied.

    Raises:
        UserError: no such model, no weights, weights that do not fit, or no network to download them.
    """
    source = teacher_source(settings)
    try:
        with torch.random.fork_rng(devices=[]):  # initial weights are drawn before the real ones are loaded
            if settings.model.startswith(TORCHVISION):
                return _video_teacher(source.weights, settings, device, compiled)
            return _open_clip_teacher(source, settings, device, compiled)
    except UserError:
        raise
    except _LOAD_ERRORS as fault:
        line = next(iter(str(fault).splitlines()), "")
        raise UserError(f"teacher.model '{settings.model}' cannot be loaded: {type(fault).__name__}: {line}") from fault


def _open_clip_teacher(source: Source, settings: TeacherSettings, device: str, compiled: bool) -> FrozenTeacher:
    name = f"local-dir:{source.folder}" if source.folder else settings.model
    model = open_clip.create_model(
        name,
        pretrained=None if source.folder else str(source.weights),
        force_image_size=settings.image_size or None,
        require_pretrained=True,
        weights_only=True,
    )
    return OpenClipTeacher(model, partial(open_clip.get_tokenizer, name), settings, device, compiled)


def _square_edge(size: int | tuple[int, int]) -> int:
    height, width = (size, size) if isinstance(size, int) else size
    if height != width:
        raise UserError(f"teacher: the model takes {width} x {height} px images, only square ones are supported")
    return height


def _video_teacher(weights: Path, settings: TeacherSettings, device: str, compiled: bool) -> FrozenTeacher:
    """A network of torchvision.models.video (r2plus1d_18, mvit_v2_s, swin3d_t ...) with weights from a file.

    The vector of a window is the input of the network's last layer, which computes class scores: weights of that
    layer are left out. Mean, deviation and frame size are those of torchvision's own weights for the network.

    Args:
        weights: state dict, safetensors or torch.
        settings: model, image_size, window_frames; for the rest see `FrozenTeacher`.
        device, compiled: see `FrozenTeacher`.

    Raises:
        UserError: torchvision has no such video network.
        RuntimeError: the weights do not fit, or the network cannot take windows of this size.
    """
    name = settings.model.removeprefix(TORCHVISION)
    if name not in (known := list_models(module=video)):
        raise UserError(f"teacher.model '{settings.model}': torchvision's video networks are {', '.join(known)}")
    network = get_model(name, weights=None)
    last = next(layer for layer in _CLASS_SCORES if hasattr(network, layer))
    setattr(network, last, nn.Identity())
    state = load_file(weights) if weights.suffix == ".safetensors" else torch.load(weights, weights_only=True)
    network.load_state_dict({key: value for key, value in state.items() if not key.startswith(f"{last}.")})
    transforms = get_model_weights(name).DEFAULT.transforms()
    size = settings.image_size or transforms.crop_size[0]
    preprocessing = Preprocessing(size, transforms.mean, transforms.std, settings.window_frames)
    return FrozenTeacher(network, preprocessing, settings, device, compiled)
