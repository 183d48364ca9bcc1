"""A frozen network that sees frames, or windows of them: what teachers of every library share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from data_contracts.errors import UserError
from echoingecg.recipe.stages import TeacherSettings
from echoingecg.teacher.embed import embed_clips

_DTYPES: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Preprocessing:
    """What the network wants to be given.

    Attributes:
        size: edge of the square frames, px.
        mean, std: of each channel, for values of 0 to 1.
        window: frames that make one vector; 0 for an image network, which has no axis of time.
    """

    size: int
    mean: Sequence[float]
    std: Sequence[float]
    window: int = 0


class FrozenTeacher:
    """Implements `Teacher` but for texts, with any network from images or videos to vectors.

    Args:
        network: (vector, 3, [window,] size, size) -> (vector, dim); it is frozen and moved.
        preprocessing: of the frames.
        settings: model, precision and batch_frames are read.
        device: torch device.
        compiled: goes through torch.compile, which takes minutes once and needs a C++ compiler.

    Attributes:
        As `Teacher`.
    """

    reads = False

    def __init__(
        self, network: nn.Module, preprocessing: Preprocessing, settings: TeacherSettings, device: str, compiled: bool
    ) -> None:
        self._device, self._window = torch.device(device), preprocessing.window
        # Weights in half precision rather than autocast: autocast keeps the norms in float32 and pays a cast at each.
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
        if compiled:  # for batches alone: one input would be compiled for itself
            self._network = torch.compile(network, dynamic=False)

    def inputs(self, frames: np.ndarray) -> np.ndarray:
        """The frames as they are, or windows (vector, window, size, size, 3) that together see every frame.

        Windows are spread evenly from the first frame to the last. A clip shorter than one begins again.
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
        """As `Teacher`. The permuted view is channels_last as it stands."""
        images = inputs.to(self._device, non_blocking=True).movedim(-1, 1).to(torch.float32)
        images = images.div_(255).sub_(self._mean).div_(self._std).to(self._dtype)
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # float32 means float32
            return F.normalize(self._network(images).float(), dim=-1)

    def embed(self, frames: np.ndarray) -> np.ndarray:
        """float16 (vector, dim) of one clip, each of unit length. Args and Raises as `embed_clips`."""
        return next(embed_clips([(None, frames)], [self]))[1]

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        """Raises UserError: there is no text tower."""
        raise UserError(f"teacher.model '{self._model}' has no text tower: prompts need an open_clip model")


def per_channel(values: Sequence[float], device: torch.device, axes: int = 2) -> torch.Tensor:
    """Three numbers as float32 (3, 1, ...), to broadcast over (..., 3, [time,] height, width) of so many `axes`."""
    return torch.tensor(values, dtype=torch.float32, device=device).view(3, *[1] * axes)
