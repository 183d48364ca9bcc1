"""Names and numbers as the figures and the report show them."""

from collections.abc import Sequence
from typing import Final

from echoingecg.evaluation.metrics.bootstrap import Estimate
from echoingecg.evaluation.names import (
    CENTRED,
    ECG_MEASUREMENTS,
    LINEAR_PROBE,
    RANKED,
    RIDGE,
    STUDENT,
    TEACHER,
    TRAINING_MEAN,
    ZERO_SHOT,
)
from echoingecg.evaluation.uncertainty import ALL, HIGH, LOW

PROTOCOL_NAMES: Final = {
    ZERO_SHOT: "Zero-shot",
    RANKED: "Ranked prompts",
    LINEAR_PROBE: "Linear probe",
    RIDGE: "Ridge regression",
    "fine_tune": "Fine-tuned",
    "lora": "Fine-tuned by LoRA",
    "scratch": "Same encoder from scratch",
    ECG_MEASUREMENTS: "ECG measurements, no network",
    TRAINING_MEAN: "Always the training mean",
}
SPACE_NAMES: Final = {TEACHER: "teacher's texts", CENTRED: "centred"}
GROUP_NAMES: Final = {ALL: "All test ECGs", LOW: "More certain half", HIGH: "Less certain half"}
PAIR_NAMES: Final = {
    "ecg_echo": "ECG with echo study",
    "ecg_text": "ECG with report text",
    "labels": "Echo study with measurement",
}


NONE: Final = "–"  # where there is no value


def protocol_name(protocol: str) -> str:
    """`Zero-shot, teacher's texts`; another model stands behind its protocol: `Linear probe (merl)`."""
    own, _, model = protocol.partition("@")
    found = [""]
    for suffix, name in reversed(SPACE_NAMES.items()):
        if own.endswith(suffix):
            own, found = own.removesuffix(suffix), [name, *found]
    text = ", ".join([PROTOCOL_NAMES[own], *found[:-1]])
    return f"{text} ({model})" if model else text


def model_name(model: str) -> str:
    """The student under test, or another model by its name."""
    return "Student" if model == STUDENT else model


def value_text(found: Estimate) -> str:
    """`0.87`, or a dash."""
    return NONE if found.value is None else _signed(found.value)


def interval_text(found: Estimate) -> str:
    """`0.80 to 0.93`, or nothing."""
    return "" if found.low is None or found.high is None else f"{_signed(found.low)} to {_signed(found.high)}"


def percent_text(found: Estimate) -> dict[str, str]:
    """`78.9` and `75.1 to 82.3`, in per cent; a dash and nothing where there is none."""
    value, low, high = (None if one is None else _signed(100 * one, 1) for one in (found.value, found.low, found.high))
    return {"value": value or NONE, "interval": "" if low is None or high is None else f"{low} to {high}"}


def _signed(value: float, digits: int = 2) -> str:
    """With a minus sign that is as wide as a plus, and none before a zero."""
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def probability_text(probability: float, digits: int = 2) -> str:
    """Significant digits of the distance to the nearer end: `0.0045`, `0.31`, `0.9955`."""
    if probability <= 0.5:
        return f"{probability:.{digits}g}"
    return f"{1 - float(f'{1 - probability:.{digits}g}'):.12g}"


def probability_texts(probabilities: Sequence[float]) -> list[str]:
    """Each with as many digits as it takes to tell them apart, five at most: marks of an axis."""
    for digits in (2, 3, 4, 5):
        found = [probability_text(one, digits) for one in probabilities]
        if len(set(found)) == len(found):
            break
    return found
