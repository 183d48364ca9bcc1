"""A teacher made of any frozen torch network: how frames become its inputs, and its outputs vectors of unit length.

Shapes: vector = one per frame or window, dim = embedding width, size = edge of the frames, px.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from data_contracts.conventions import UserError
from echoingecg.recipe.stages import TeacherSettings
from echoingecg.teacher.embed import embed_clips

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# The first row of a frame that stands for 'no frame': no picture begins with it.
_NO_FRAME = np.array([255, 0, 1], np.uint8)


# Texts, at least one, and a device to vectors of any length, float32 (text, dim).
EncodeTexts = Callable[[list[str], torch.device], torch.Tensor]


@dataclass(frozen=True)
class Preprocessing:
    """How frames must be prepared for a network.

    Attributes:
        size: edge of the square frames, px.
        mean, std: of each channel, for values of 0 to 1.
        window: frames that make one vector; 0 for an image network, which has no time axis.
        step: every `step`-th frame of a clip is in a window.
        short: what fills the window of a clip that is shorter: its frames again, or zeros after normalisation.
    """

    size: int
    mean: Sequence[float]
    std: Sequence[float]
    window: int = 0
    step: int = 1
    short: Literal["repeat", "zeros"] = "repeat"


class FrozenTeacher:
    """A `Teacher` from any network that turns images or windows of frames into vectors.

    Args:
        network: (vector, 3, [window,] size, size) -> (vector, dim); it is frozen and moved to the device.
        preprocessing: of the frames.
        settings: model, precision, batch_frames, windows and channels are read.
        device: torch device.
        compiled: whether torch.compile is applied; it takes minutes once and needs a C++ compiler.
        encode_texts: the text tower, in the space of the vectors; None for a teacher without.
    """

    def __init__(
        self,
        network: nn.Module,
        preprocessing: Preprocessing,
        settings: TeacherSettings,
        device: str,
        compiled: bool,
        encode_texts: EncodeTexts | None = None,
    ) -> None:
        self.has_text_tower, self._encode_texts = encode_texts is not None, encode_texts
        self._device, self._preprocessing = torch.device(device), preprocessing
        # Weights in half precision, not autocast: autocast keeps norms in float32 and converts at each of them.
        self._dtype = _DTYPES[settings.precision]
        network = network.eval().requires_grad_(False).to(self._device, self._dtype)
        network = network.to(memory_format=_memory_format(network))
        self._network: Any = network
        axes = 3 if preprocessing.window else 2
        self._mean = per_channel(preprocessing.mean, self._device, axes)
        self._std = per_channel(preprocessing.std, self._device, axes)
        self._model, self._windows, self._channels = settings.model, settings.windows, settings.channels
        self.image_size = preprocessing.size
        self.batch = max(settings.batch_frames // max(preprocessing.window, 1), 1)
        black = np.zeros((1, self.image_size, self.image_size, 3), np.uint8)
        self.dim = self.forward(torch.from_numpy(self.inputs(black))).shape[1]
        if compiled:  # after the call above, as its single input would be compiled separately
            self._network = torch.compile(network, dynamic=False)

    def inputs(self, frames: np.ndarray) -> np.ndarray:
        """Returns the frames unchanged, or windows (vector, window, size, size, 3).

        Windows are spread evenly from the first frame to the last, and together span every frame; or there is the first
        one alone (`teacher.windows: first`). A clip shorter than a window is filled up, see `Preprocessing.short`.
        """
        window, step = self._preprocessing.window, self._preprocessing.step
        if not window:
            return frames
        span = window * step
        if len(frames) < span:
            return self._filled(frames)[None]
        count = 1 if self._windows == "first" else -(-len(frames) // span)
        starts = np.arange(count) * (len(frames) - span) // max(count - 1, 1)
        return frames[starts[:, None] + np.arange(0, span, step)]

    def _filled(self, frames: np.ndarray) -> np.ndarray:
        window, step = self._preprocessing.window, self._preprocessing.step
        if self._preprocessing.short == "repeat":
            return frames[np.arange(0, window * step, step) % len(frames)]
        taken = frames[::step]
        filled = np.zeros((window, *frames.shape[1:]), np.uint8)
        filled[: len(taken)] = taken
        filled[len(taken) :, 0] = _NO_FRAME
        return filled

    @torch.inference_mode()
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Embeds inputs: uint8 (vector, ...) on the CPU to float32 (vector, dim) on the device, each of unit length."""
        # The permuted view is already channels_last.
        pixels = inputs.to(self._device, non_blocking=True)
        images = pixels.movedim(-1, 1).to(torch.float32)
        if self._channels == "bgr":
            images = images.flip(1)
        images = images.div_(255).sub_(self._mean).div_(self._std)
        if self._preprocessing.short == "zeros":
            is_empty = (pixels[:, :, 0] == torch.from_numpy(_NO_FRAME).to(self._device)).flatten(2).all(dim=2)
            images.masked_fill_(is_empty[:, None, :, None, None], 0.0)
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # TF32 would round float32
            return F.normalize(self._network(images.to(self._dtype)).float(), dim=-1)

    def embed(self, frames: np.ndarray) -> np.ndarray:
        """Embeds one clip: float16 (vector, dim), each of unit length. For frames and errors see `embed_clips`."""
        return next(embed_clips([(None, frames)], [self]))[1]

    @torch.inference_mode()
    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        """Embeds sentences with the text tower, in float32, into the space of the frames.

        Args:
            texts: at least one. Words beyond the tower's context are cut off.

        Returns:
            float32 (text, dim), each of unit length.

        Raises:
            UserError: there is no text tower.
        """
        if self._encode_texts is None:
            raise UserError(f"teacher.model '{self._model}' has no text tower: prompts need an open_clip model")
        parts = [list(texts[start : start + self.batch]) for start in range(0, len(texts), self.batch)]
        encoded = torch.cat([self._encode_texts(part, self._device).float() for part in parts])
        return F.normalize(encoded, dim=-1).cpu().numpy()


def _memory_format(network: nn.Module) -> torch.memory_format:
    """Channels last for images, or for volumes where the network has convolutions over time."""
    has_volumes = any(isinstance(layer, nn.Conv3d) for layer in network.modules())
    return torch.channels_last_3d if has_volumes else torch.channels_last


def per_channel(values: Sequence[float], device: torch.device, axes: int = 2) -> torch.Tensor:
    """Three numbers as float32 (3, 1, ...) with `axes` ones, to broadcast over (..., 3, [time,] height, width)."""
    return torch.tensor(values, dtype=torch.float32, device=device).view(3, *[1] * axes)
