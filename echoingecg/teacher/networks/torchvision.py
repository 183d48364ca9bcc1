"""Networks of torchvision.models.video (r2plus1d_18, mvit_v2_s, swin3d_t ...), with weights from a file."""

from pathlib import Path
from typing import TYPE_CHECKING

from data_contracts.conventions import UserError
from echoingecg.common import hash_files
from echoingecg.teacher.networks.kind import TeacherKind, read_weights, weights_file

if TYPE_CHECKING:
    from echoingecg.teacher.networks.frozen import FrozenTeacher

_CLASS_SCORES = ("fc", "head", "classifier")  # names that the networks give their last layer
_CLASSES = 400  # of Kinetics-400, on which torchvision's own weights were trained


class Kind(TeacherKind):
    """A video network `torchvision:NAME`; `teacher.weights` names its file.

    The vector of a window is the input of the network's last layer. Weights of that layer may be absent; class scores
    of Kinetics-400 are left out; any other last layer was trained for something else, and is refused rather than
    dropped. Mean, deviation and frame size are those of torchvision's own weights for the network.
    """

    def files(self) -> dict[str, Path]:
        """Finds the weights."""
        return {"weights": weights_file(self.settings, self.settings.weights)}

    def identity(self) -> dict[str, str]:
        """Identifies the network by its name and its weights."""
        return {"model": self.settings.model, "weights": hash_files([self.files()["weights"]])}

    def load(self, device: str, compiled: bool) -> "FrozenTeacher":
        """Builds the network by torchvision. Raises UserError where torchvision has none of this name."""
        from torch import nn
        from torchvision.models import get_model, get_model_weights, list_models, video

        from echoingecg.teacher.networks.frozen import FrozenTeacher, Preprocessing

        if self.place not in (known := list_models(module=video)):
            raise UserError(
                f"teacher.model '{self.settings.model}': torchvision's video networks are {', '.join(known)}"
            )
        network = get_model(self.place, weights=None)
        last = next(layer for layer in _CLASS_SCORES if hasattr(network, layer))
        setattr(network, last, nn.Identity())
        state = read_weights(self.files()["weights"])
        scores = {key: value for key, value in state.items() if key.startswith(f"{last}.")}
        if width := next((len(value) for value in scores.values() if len(value) != _CLASSES), None):
            raise UserError(
                f"teacher.weights: the last layer, {last}, gives {width} numbers, not the {_CLASSES} classes of "
                f"torchvision's weights. EchoPrime's weights need teacher.model echo-prime:FOLDER; of others leave "
                f"{last}.* out of the file to take what stands before it"
            )
        network.load_state_dict({key: value for key, value in state.items() if key not in scores})
        transforms = get_model_weights(self.place).DEFAULT.transforms()
        size = self.settings.image_size or transforms.crop_size[0]
        preprocessing = Preprocessing(size, transforms.mean, transforms.std, self.settings.window_frames)
        return FrozenTeacher(network, preprocessing, self.settings, device, compiled)
