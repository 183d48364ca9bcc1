"""What a teacher must be able to do, whichever library it comes from."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch


class Teacher(Protocol):
    """Frames of one clip in, vectors out: one a frame, one a window of frames, or one for the whole clip.

    Attributes:
        dim: width of a vector.
        image_size: edge of the square frames that it takes, px.
        batch: inputs of a forward pass.
        reads: whether it has a text tower.
    """

    dim: int
    image_size: int
    batch: int
    reads: bool

    def inputs(self, frames: np.ndarray) -> np.ndarray:
        """What each vector of a clip is made of.

        Args:
            frames: uint8 (frame, image_size, image_size, 3), RGB, at least one.

        Returns:
            uint8 (vector, ...), the other dimensions equal for all clips.
        """
        ...

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Embeds inputs of any clips, each on its own.

        Args:
            inputs: uint8 (vector, ...), on the CPU.

        Returns:
            float32 (vector, dim), each of unit length, on the teacher's device; a GPU may still be at work on it.
        """
        ...

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        """float32 (text, dim) of unit length, in the space of the frames. Raises UserError without a text tower."""
        ...
