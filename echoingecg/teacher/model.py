"""The frozen teacher: frames in, unit-length embeddings out (ECHO-CLIP, Nature Medicine 2024; open_clip).

Shape legend: frame = images of one clip, dim = embedding width.
"""

import pickle
from typing import Any, Final

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import nn

from data_contracts.errors import UserError
from echoingecg.recipe.sections import DEMO_TEACHER, TeacherSettings
from echoingecg.teacher.identity import demo_config, teacher_source

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
_CENTRING_IMAGES: Final = 64


class Teacher:
    """The image tower of an open_clip model, in eval mode.

    Attributes:
        dim: embedding width.
        image_size: edge of the square frames that `embed` takes, px.
    """

    def __init__(self, visual: nn.Module, settings: TeacherSettings, device: str) -> None:
        preprocess = open_clip.get_model_preprocess_cfg(visual)
        self._device = torch.device(device)
        # Weights in bfloat16 rather than autocast: autocast keeps the norms in float32 and pays a cast at each.
        self._dtype = torch.bfloat16 if settings.precision == "bfloat16" else torch.float32
        visual = visual.eval().requires_grad_(False).to(self._device, self._dtype)
        self._visual = visual.to(memory_format=torch.channels_last)
        self._mean = _per_channel(preprocess["mean"], self._device)
        self._scale = _per_channel(preprocess["std"], self._device)
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
    def _forward(self, frames: torch.Tensor) -> torch.Tensor:
        """(frame, h, w, 3) uint8 -> (frame, dim) float32. The permuted view is channels_last as it stands."""
        images = frames.to(self._device).permute(0, 3, 1, 2).to(torch.float32)
        images = images.div_(255).sub_(self._mean).div_(self._scale).to(self._dtype)
        return self._visual(images).float()


def load_teacher(settings: TeacherSettings, device: str) -> Teacher:
    """Builds the teacher that the recipe names and loads its weights (safetensors, or torch weights only).

    Args:
        settings: model, weights, image_size, precision, batch_frames, seed.
        device: torch device, for example cpu or cuda.

    Raises:
        UserError: no such model, no weights, weights that do not fit, or no network to fetch them.
    """
    with torch.random.fork_rng(devices=[]):  # open_clip draws initial weights even where it loads others
        visual = _demo_visual(settings) if settings.model == DEMO_TEACHER else _loaded_visual(settings)
    return Teacher(visual, settings, device)


def _loaded_visual(settings: TeacherSettings) -> nn.Module:
    source = teacher_source(settings)
    try:
        model = open_clip.create_model(
            f"local-dir:{source.folder}" if source.folder else settings.model,
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
    return model.visual


def _demo_visual(settings: TeacherSettings) -> nn.Module:
    """A seeded, untrained ConvNeXt whose embeddings still differ between frames. Not for patients.

    As it is initialised, ConvNeXt's layer scale is 1e-6, so that its blocks do nothing, and all images share one
    large mean embedding. Layer scale 1 lets the blocks act; the projection's bias takes the mean over smooth
    seeded noise away. Mean cosine between frames of different real clips: 0.99 before, 0.85 after.
    """
    config = demo_config()
    size = settings.image_size or config["model_cfg"]["vision_cfg"]["image_size"]
    config["model_cfg"]["vision_cfg"]["image_size"] = size
    torch.manual_seed(settings.seed)
    visual = open_clip.CLIP(**config["model_cfg"]).visual.eval()
    with torch.no_grad():
        for name, weight in visual.named_parameters():
            if name.endswith(".gamma"):
                weight.fill_(1.0)
        coarse = torch.rand(_CENTRING_IMAGES, 1, 7, 7) * torch.rand(_CENTRING_IMAGES, 1, 1, 1)
        noise = F.interpolate(coarse, size=(size, size), mode="bilinear").expand(-1, 3, -1, -1)
        mean, scale = (_per_channel(config["preprocess_cfg"][name], torch.device("cpu")) for name in ("mean", "std"))
        visual.head.proj.bias -= visual((noise - mean) / scale).mean(dim=0)
    open_clip.model.set_model_preprocess_cfg(visual, config["preprocess_cfg"] | {"size": size})
    return visual


def _per_channel(values: Any, device: torch.device) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device).view(3, 1, 1)


def _square(size: int | tuple[int, int]) -> int:
    height, width = (size, size) if isinstance(size, int) else size
    if height != width:
        raise UserError(f"teacher: the model takes {width} x {height} px images, only square ones are supported")
    return height
