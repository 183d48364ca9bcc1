"""PanEcho: an image network, and a transformer over 16 frames (Holste et al., medRxiv 2024.11.16.24317431)."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_contracts.conventions import UserError
from echoingecg.teacher.networks.kind import TeacherKind, read_weights, weights_file

if TYPE_CHECKING:
    from torch import nn

    from echoingecg.teacher.networks.frozen import FrozenTeacher

_SIZE, _WINDOW = 112, 16
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
_LAYERS, _HEADS = 4, 8
_BACKBONE = "encoder."  # in the published file; beside it stand the heads of 39 tasks, which a teacher does not need


class Kind(TeacherKind):
    """PanEcho's published weights, `panecho:FILE`: the vector of a window is the backbone's, 768 numbers."""

    def files(self) -> dict[str, Path]:
        """Finds the weights."""
        return {"weights": weights_file(self.settings, self.place)}

    def load(self, device: str, compiled: bool) -> "FrozenTeacher":
        """Builds the backbone. Weights of the 39 heads are left out; those of the backbone must fit one by one."""
        from echoingecg.teacher.networks.frozen import FrozenTeacher, Preprocessing

        stored: dict[str, Any] = dict(read_weights(self.files()["weights"]))
        state = stored.get("weights", stored)  # published in a dictionary of its own
        backbone = {key.removeprefix(_BACKBONE): value for key, value in state.items() if key.startswith(_BACKBONE)}
        if other := next((key for key in state if not key.startswith(_BACKBONE) and "_head." not in key), None):
            raise UserError(f"teacher.model '{self.settings.model}': '{other}' is no part of PanEcho")
        network = build_backbone()
        network.load_state_dict(backbone)
        preprocessing = Preprocessing(self.settings.image_size or _SIZE, _MEAN, _STD, _WINDOW)
        return FrozenTeacher(network, preprocessing, self.settings, device, compiled)


def build_backbone() -> "nn.Module":
    """Builds PanEcho's backbone with random weights: (vector, 3, 16, size, size) to (vector, 768).

    ConvNeXt-Tiny embeds each image; a sinusoidal code of the position is added; four post-norm transformer layers
    follow, and the mean over time. The published network lays a clip out for the image network by reshaping
    (3, 16, ...) to (16, 3, ...) without exchanging the axes: an image holds three successive planes of the clip,
    first all red ones. Its weights were trained so, and so it is done here.
    """
    import torch
    from torch import nn
    from torchvision.models import convnext_tiny

    class ImageEncoder(nn.Module):
        """The image network, under the name that the weights give it."""

        def __init__(self) -> None:
            super().__init__()
            self.model = convnext_tiny(weights=None)
            self.model.classifier[-1] = nn.Identity()

    class TimeCode(nn.Module):
        """The positions' code, which the weights hold."""

        def __init__(self, width: int) -> None:
            super().__init__()
            self.pe = nn.Parameter(torch.zeros(1, _WINDOW, width), requires_grad=False)

    class Backbone(nn.Module):
        """Images, positions, transformer, mean."""

        def __init__(self, width: int = 768) -> None:
            super().__init__()
            self.encoder = ImageEncoder()
            layer = nn.TransformerEncoderLayer(width, _HEADS, width, dropout=0.0, activation="relu", batch_first=True)
            self.transformer = nn.TransformerEncoder(layer, _LAYERS)
            self.time_encoder = TimeCode(width)

        def forward(self, clips: torch.Tensor) -> torch.Tensor:
            """Embeds clips, (vector, 3, 16, size, size)."""
            count, channels, frames = clips.shape[:3]
            images = clips.reshape(count * frames, channels, *clips.shape[3:])
            features = self.encoder.model(images).reshape(count, frames, -1)
            embedded: torch.Tensor = self.transformer(features + self.time_encoder.pe)
            return embedded.mean(dim=1)

    return Backbone()
