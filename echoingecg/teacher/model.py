"""The frozen teacher that a recipe names: an open_clip model (ECHO-CLIP, Nature Medicine 2024) or a video network.

Shape legend: text = sentences, dim = embedding width.
"""

import pickle
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, Final

import numpy as np
import open_clip
import torch
from safetensors import SafetensorError

from data_contracts.errors import UserError
from echoingecg.recipe.stages import TeacherSettings
from echoingecg.teacher.frozen import FrozenTeacher, Preprocessing
from echoingecg.teacher.identity import TORCHVISION, Source, teacher_source

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

Tokenizer = Callable[[list[str]], torch.Tensor]


class OpenClipTeacher(FrozenTeacher):
    """Both towers of an open_clip model.

    Args:
        model: an open_clip CLIP.
        tokenizer: makes what turns texts into int64 (text, context); called when the first text comes.
        settings, device, compiled: as `FrozenTeacher`.
    """

    reads = True

    def __init__(
        self, model: Any, tokenizer: Callable[[], Tokenizer], settings: TeacherSettings, device: str, compiled: bool
    ) -> None:
        wanted = open_clip.get_model_preprocess_cfg(model.visual)
        model = model.eval().requires_grad_(False)
        preprocessing = Preprocessing(_square(wanted["size"]), wanted["mean"], wanted["std"])
        super().__init__(model.visual, preprocessing, settings, device, compiled)
        self._clip, self._tokenizer = model, cache(tokenizer)

    @torch.inference_mode()
    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        """Embeds sentences with the text tower, in float32, in the space of the frames.

        Args:
            texts: at least one. What is beyond the tower's context is cut off.

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
        compiled: goes through torch.compile.

    Raises:
        UserError: no such model, no weights, weights that do not fit, or no network to fetch them.
    """
    source = teacher_source(settings)
    try:
        with torch.random.fork_rng(devices=[]):  # initial weights are drawn before others are loaded
            if settings.model.startswith(TORCHVISION):
                from echoingecg.teacher.video_model import video_teacher

                return video_teacher(source.weights, settings, device, compiled)
            return _open_clip_teacher(source, settings, device, compiled)
    except UserError:
        raise
    except _LOAD_FAULTS as fault:
        first = next(iter(str(fault).splitlines()), "")
        raise UserError(
            f"teacher.model '{settings.model}' cannot be loaded: {type(fault).__name__}: {first}"
        ) from fault


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


def _square(size: int | tuple[int, int]) -> int:
    height, width = (size, size) if isinstance(size, int) else size
    if height != width:
        raise UserError(f"teacher: the model takes {width} x {height} px images, only square ones are supported")
    return height
