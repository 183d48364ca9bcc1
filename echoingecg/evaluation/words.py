"""Names and numbers as the figures and the report show them."""

from typing import Final

from echoingecg.evaluation.bootstrap import Estimate
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
    return "–" if found.value is None else f"{found.value:.2f}"


def interval_text(found: Estimate) -> str:
    """`0.80 to 0.93`, or nothing."""
    return "" if found.low is None or found.high is None else f"{found.low:.2f} to {found.high:.2f}"


def percent_text(found: Estimate) -> dict[str, str]:
    """`78.9` and `75.1 to 82.3`, in per cent; a dash and nothing where there is none."""
    if found.value is None:
        return {"value": "–", "interval": ""}
    interval = "" if found.low is None or found.high is None else f"{100 * found.low:.1f} to {100 * found.high:.1f}"
    return {"value": f"{100 * found.value:.1f}", "interval": interval}


def probability_text(probability: float) -> str:
    """Two significant digits of the distance to the nearer end: `0.0045`, `0.31`, `0.9955`."""
    if probability <= 0.5:
        return f"{probability:.2g}"
    return f"{1 - float(f'{1 - probability:.2g}'):.12g}"
