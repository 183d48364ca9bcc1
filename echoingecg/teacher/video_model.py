"""torchvision's video networks as teachers: what stands before the class scores is the vector of a window of frames."""

from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load_file
from torch import nn
from torchvision.models import get_model, get_model_weights, list_models, video

from data_contracts.errors import UserError
from echoingecg.recipe.stages import TeacherSettings
from echoingecg.teacher.frozen import FrozenTeacher, Preprocessing
from echoingecg.teacher.identity import TORCHVISION

_CLASS_SCORES: Final = ("fc", "head", "classifier")  # the last layer's name in one network or another


def video_teacher(weights: Path, settings: TeacherSettings, device: str, compiled: bool) -> FrozenTeacher:
    """A network of torchvision.models.video (r2plus1d_18, mvit_v2_s, swin3d_t ...) with weights from a file.

    Mean, deviation and frame size are those of torchvision's own weights for the network. Weights of
    its last layer, for whatever classes, are left out.

    Args:
        weights: state dict, safetensors or torch.
        settings: model, image_size, window_frames; the rest as `FrozenTeacher`.
        device, compiled: as `FrozenTeacher`.

    Raises:
        UserError: torchvision has no such video network.
        RuntimeError: the weights do not fit, or the network cannot take windows of this size.
    """
    name = settings.model.removeprefix(TORCHVISION)
    if name not in (known := list_models(module=video)):
        raise UserError(f"teacher.model '{settings.model}': torchvision's video networks are {', '.join(known)}")
    network = get_model(name, weights=None)
    last = next(one for one in _CLASS_SCORES if hasattr(network, one))
    setattr(network, last, nn.Identity())
    state = load_file(weights) if weights.suffix == ".safetensors" else torch.load(weights, weights_only=True)
    network.load_state_dict({key: value for key, value in state.items() if not key.startswith(f"{last}.")})
    wanted = get_model_weights(name).DEFAULT.transforms()
    size = settings.image_size or wanted.crop_size[0]
    preprocessing = Preprocessing(size, wanted.mean, wanted.std, settings.window_frames)
    return FrozenTeacher(network, preprocessing, settings, device, compiled)
