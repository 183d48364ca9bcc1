"""Warm start: training that begins with an earlier student's weights instead of random ones."""

from echoingecg.common import TrainingError, fingerprint, hash_array
from echoingecg.recipe import ModelSettings
from echoingecg.student.inference import LoadedStudent
from echoingecg.student.loss import Objective
from echoingecg.student.model.text_encoder import TextTower, backbone_from_config, text_config

_NOT_COMPARED = {"log_var_start"}  # says how random weights begin, so it has no effect on a warm start
_LOSS_WEIGHTS = ("criterion.", ".std_")  # learned scale and shift; the log-variance heads under their released names


def check_architecture(earlier: LoadedStudent, model: ModelSettings) -> None:
    """Raises TrainingError, naming the field, unless the recipe's architecture is the earlier student's."""
    old, new = (settings.model_dump(mode="json", exclude=_NOT_COMPARED) for settings in (earlier.settings.model, model))
    for field, value in new.items():
        if old[field] != value:
            raise TrainingError(
                f"student.warm_start: the earlier student has student.model.{field}={old[field]}, the recipe {value}: "
                f"set it to {old[field]}, or leave warm_start empty"
            )


def text_tower_of(earlier: LoadedStudent) -> TextTower:
    """Makes a text tower like the earlier student's, with random weights and the earlier tokenizer."""
    config = text_config(earlier.objective.student.text_encoder.backbone)
    return TextTower(backbone_from_config(config), earlier.tokenizer)


def copy_weights(objective: Objective, earlier: LoadedStudent, loss: str) -> None:
    """Copies the earlier weights; scale, shift and the log-variance heads only if the loss is the same.

    Args:
        objective: of the earlier student's architecture, see check_architecture.
        earlier: the student whose weights are copied.
        loss: name of the objective's loss.
    """
    weights = earlier.objective.state_dict()
    if earlier.settings.loss != loss:
        weights = {name: weights[name] for name in weights if not any(part in name for part in _LOSS_WEIGHTS)}
    objective.load_state_dict(objective.state_dict() | weights)


def weights_fingerprint(earlier: LoadedStudent | None) -> str | None:
    """Returns the fingerprint of the earlier weights; None without an earlier student."""
    if earlier is None:
        return None
    return fingerprint([hash_array(tensor.cpu().numpy()) for tensor in earlier.objective.state_dict().values()])
