"""Starting from an earlier student's weights instead of from nothing."""

from echoingecg.common import TrainingError, fingerprint, hash_array
from echoingecg.recipe import ModelSettings
from echoingecg.student.inference import LoadedStudent
from echoingecg.student.loss import Objective
from echoingecg.student.model.text_encoder import TextTower, backbone_from_config, text_config

_FREE = frozenset({"log_var_start"})  # says how weights begin, which an earlier student's have left behind
_OF_THE_LOSS = ("criterion.", ".std_")  # learned scale and shift; the log-variance heads under their released names


def check_architecture(earlier: LoadedStudent, model: ModelSettings) -> None:
    """Raises TrainingError, naming the field, unless the recipe's architecture is the earlier student's."""
    old, new = (one.model_dump(mode="json", exclude=set(_FREE)) for one in (earlier.settings.model, model))
    for field, value in new.items():
        if old[field] != value:
            raise TrainingError(
                f"student.warm_start: the earlier student has student.model.{field}={old[field]}, the recipe {value}: "
                f"set it to {old[field]}, or leave warm_start empty"
            )


def earlier_tower(earlier: LoadedStudent) -> TextTower:
    """The earlier student's text tower, weights still to be taken, and its tokenizer with the words it knows."""
    config = text_config(earlier.objective.student.text_encoder.backbone)
    return TextTower(backbone_from_config(config), earlier.tokenizer)


def take_weights(objective: Objective, earlier: LoadedStudent, loss: str) -> None:
    """Puts the earlier weights in; scale, shift and the log-variance heads only if the loss is the same.

    Args:
        objective: of the earlier student's architecture, see check_architecture.
        earlier: where the weights come from.
        loss: that the objective is made for.
    """
    weights = earlier.objective.state_dict()
    if earlier.settings.loss != loss:
        weights = {name: one for name, one in weights.items() if not any(part in name for part in _OF_THE_LOSS)}
    objective.load_state_dict(objective.state_dict() | weights)


def digest(earlier: LoadedStudent | None) -> str | None:
    """Fingerprint of the earlier weights, None without any."""
    if earlier is None:
        return None
    return fingerprint([hash_array(tensor.cpu().numpy()) for tensor in earlier.objective.state_dict().values()])
