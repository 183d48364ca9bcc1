"""Vision and video models of Hugging Face's transformers, from a folder."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_contracts.conventions import UserError
from echoingecg.teacher.networks.kind import TeacherKind, file_in

if TYPE_CHECKING:
    import torch

    from echoingecg.teacher.networks.frozen import FrozenTeacher

_CONFIG, _PROCESSOR, _WEIGHTS = "config.json", "preprocessor_config.json", "model.safetensors"
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Kind(TeacherKind):
    """A model that `transformers.AutoModel` knows, `transformers:FOLDER`: ViT, DINOv2, ConvNeXt, VideoMAE ...

    Its processor states mean, deviation and size; a model whose configuration states `num_frames` takes windows of
    as many frames. The vector is the pooled output where there is one, else the mean over tokens. No code of the folder
    is run.
    """

    def files(self) -> dict[str, Path]:
        """Finds configuration, processor and weights."""
        folder = Path(self.place).expanduser()
        names = {"config": _CONFIG, "processor": _PROCESSOR, "weights": _WEIGHTS}
        return {what: file_in(self.settings, folder, (name,)) for what, name in names.items()}

    def load(self, device: str, compiled: bool) -> "FrozenTeacher":
        """Builds the model. Raises UserError where weights are missing or left over, or the model takes no pixels."""
        from transformers import AutoModel

        from echoingecg.teacher.networks.frozen import FrozenTeacher, Preprocessing

        folder = self.files()["weights"].parent
        model, report = AutoModel.from_pretrained(
            folder, trust_remote_code=False, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
        if model.main_input_name != "pixel_values":
            raise UserError(f"teacher.model '{self.settings.model}' takes {model.main_input_name}, not pictures")
        missing = sorted(key for key in report["missing_keys"] if "pooler" not in key)
        if missing or report["mismatched_keys"]:
            raise UserError(f"teacher.model '{self.settings.model}': the weights lack {(missing or ['a shape'])[0]}")
        processor = json.loads((folder / _PROCESSOR).read_bytes())
        has_pooler = not any("pooler" in key for key in report["missing_keys"])
        window = int(getattr(model.config, "num_frames", 0) or 0)
        mean, deviation = (processor.get(name) for name in ("image_mean", "image_std"))
        if not processor.get("do_normalize", True):
            mean, deviation = (0.0,) * 3, (1.0,) * 3
        preprocessing = Preprocessing(
            self.settings.image_size or _edge(self.settings.model, processor, model.config),
            mean or _IMAGENET[0],
            deviation or _IMAGENET[1],
            window,
        )
        return FrozenTeacher(_vectors(model, bool(window), has_pooler), preprocessing, self.settings, device, compiled)


def _edge(model: str, processor: dict[str, Any], config: Any) -> int:
    """Finds the edge of the pictures: what the model is built for, else what the processor crops or resizes to."""
    for size in (getattr(config, "image_size", None), processor.get("crop_size"), processor.get("size")):
        values = size.values() if isinstance(size, dict) else size if isinstance(size, list | tuple) else [size]
        edges = {int(value) for value in values if value}
        if len(edges) == 1:
            return edges.pop()
    raise UserError(f"teacher.model '{model}': its configuration states no square size, set teacher.image_size")


def _vectors(model: Any, is_video: bool, has_pooler: bool) -> Any:
    """Wraps a model: (vector, 3, [window,] size, size) to (vector, dim)."""
    from torch import nn

    class Vectors(nn.Module):
        """The model and what makes one vector of its output."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: "torch.Tensor") -> "torch.Tensor":
            """Embeds images, or windows, whose time axis such models have before the channels."""
            output = self.model(pixel_values=images.transpose(1, 2) if is_video else images)
            pooled = getattr(output, "pooler_output", None)
            if has_pooler and pooled is not None:
                return pooled.flatten(1)
            tokens: torch.Tensor = output.last_hidden_state
            return tokens.flatten(2).mean(dim=2) if tokens.dim() == 4 else tokens.mean(dim=1)

    return Vectors()
