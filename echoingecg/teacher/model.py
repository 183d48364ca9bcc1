"""The frozen teacher: frames or sentences in, unit-length embeddings out (ECHO-CLIP, Nature Medicine 2024; open_clip).

Shape legend: frame = images of one clip, text = sentences, dim = embedding width.
"""

import pickle
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, Final

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import nn

from data_contracts.errors import UserError
from echoingecg.recipe.sections import TeacherSettings
from echoingecg.teacher.identity import teacher_source

# What open_clip and torch raise for a wrong configuration, or weights of another architecture.
_LOAD_FAULTS: Final = (
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
_MAX_DETAIL: Final = 300  # characters; a state dict of another architecture lists every key

Tokenizer = Callable[[list[str]], torch.Tensor]


class Teacher:
    """Both towers of an open_clip model, in eval mode.

    Args:
        model: an open_clip CLIP; it is frozen and moved.
        tokenizer: makes what turns texts into int64 (text, context); called when the first text comes.
        settings: precision and batch_frames are read.
        device: torch device.

    Attributes:
        dim: embedding width.
        image_size: edge of the square frames that `embed` takes, px.
    """

    def __init__(self, model: Any, tokenizer: Callable[[], Tokenizer], settings: TeacherSettings, device: str) -> None:
        preprocess = open_clip.get_model_preprocess_cfg(model.visual)
        self._device = torch.device(device)
        # Weights in bfloat16 rather than autocast: autocast keeps the norms in float32 and pays a cast at each.
        self._dtype = torch.bfloat16 if settings.precision == "bfloat16" else torch.float32
        model = model.eval().requires_grad_(False)
        self._visual: nn.Module = model.visual.to(self._device, self._dtype).to(memory_format=torch.channels_last)
        self._model, self._tokenizer = model, cache(tokenizer)
        self._mean = per_channel(preprocess["mean"], self._device)
        self._scale = per_channel(preprocess["std"], self._device)
        self._batch_frames = settings.batch_frames
        self.image_size = _square(preprocess["size"])
        blank = np.zeros((1, self.image_size, self.image_size, 3), np.uint8)
        self.dim = self._forward(torch.from_numpy(blank)).shape[1]

    def embed(self, frames: np.ndarray) -> np.ndarray:
        """Embeds the frames of one clip; each frame on its own, so the batch size does not matter.

        Args:
            frames: uint8 (frame, image_size, image_size, 3), RGB, at least one.

        Returns:
            float16 (frame, dim), each of unit length.

        Raises:
            UserError: the network gives a value that is not finite.
        """
        batches = torch.from_numpy(frames).split(self._batch_frames)
        embeddings = torch.cat([F.normalize(self._forward(batch), dim=-1) for batch in batches])
        if not torch.isfinite(embeddings).all():
            raise UserError("teacher: an embedding is not finite: are its weights whole, or set precision: float32")
        return embeddings.half().cpu().numpy()

    @torch.inference_mode()
    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        """Embeds sentences with the text tower, in float32, in the space of the frames.

        Args:
            texts: at least one. What is beyond the tower's context is cut off.

        Returns:
            float32 (text, dim), each of unit length.
        """
        tokens = self._tokenizer()(list(texts)).split(self._batch_frames)
        model = self._model.to(self._device)
        return torch.cat([model.encode_text(part.to(self._device), normalize=True) for part in tokens]).cpu().numpy()

    @torch.inference_mode()
    def _forward(self, frames: torch.Tensor) -> torch.Tensor:
        """(frame, h, w, 3) uint8 -> (frame, dim) float32. The permuted view is channels_last as it stands."""
        images = frames.to(self._device).permute(0, 3, 1, 2).to(torch.float32)
        images = images.div_(255).sub_(self._mean).div_(self._scale).to(self._dtype)
        return self._visual(images).float()


def load_teacher(settings: TeacherSettings, device: str) -> Teacher:
    """Builds the teacher that the recipe names and loads its weights (safetensors, or torch weights only).

    Args:
        settings: model, weights, image_size, precision, batch_frames.
        device: torch device, for example cpu or cuda.

    Raises:
        UserError: no such model, no weights, weights that do not fit, or no network to fetch them.
    """
    source = teacher_source(settings)
    name = f"local-dir:{source.folder}" if source.folder else settings.model
    try:
        with torch.random.fork_rng(devices=[]):  # open_clip draws initial weights before it loads others
            model = open_clip.create_model(
                name,
                pretrained=None if source.folder else str(source.weights),
                force_image_size=settings.image_size or None,
                require_pretrained=True,
                weights_only=True,
            )
    except _LOAD_FAULTS as fault:
        first = next(iter(str(fault).splitlines()), "")
        raise UserError(
            f"teacher.model '{settings.model}' cannot be loaded: {type(fault).__name__}: {first}"
        ) from fault
    return Teacher(model, partial(open_clip.get_tokenizer, name), settings, device)


def per_channel(values: Any, device: torch.device) -> torch.Tensor:
    """Three numbers as (3, 1, 1) float32, to broadcast over (..., 3, height, width)."""
    return torch.tensor(values, dtype=torch.float32, device=device).view(3, 1, 1)


def _square(size: int | tuple[int, int]) -> int:
    height, width = (size, size) if isinstance(size, int) else size
    if height != width:
        raise UserError(f"teacher: the model takes {width} x {height} px images, only square ones are supported")
    return height
