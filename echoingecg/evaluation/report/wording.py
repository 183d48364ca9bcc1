"""Names of protocols, groups and models, and numbers as text, as the figures and the report show them."""

from collections.abc import Sequence

from echoingecg.evaluation.data import names
from echoingecg.evaluation.metrics import bootstrap, selective

PROTOCOL_NAMES = {
    names.ZERO_SHOT: "Zero-shot",
    names.EXPECTED_ECHO: "Expected echo",
    names.RANKED: "Ranked prompts",
    names.EXPECTED_NUMBER: "Expected number",
    names.LINEAR_PROBE: "Linear probe",
    names.RIDGE: "Ridge regression",
    "fine_tune": "Fine-tuned",
    "lora": "Fine-tuned by LoRA",
    "scratch": "Same encoder from scratch",
    names.ECG_MEASUREMENTS: "ECG measurements, no network",
    names.TRAINING_MEAN: "Always the training mean",
}
SPACE_NAMES = {names.TEACHER: "teacher's texts", names.CENTRED: "centred"}
GROUP_NAMES = {
    selective.ALL: "All test ECGs",
    selective.LOW: "More certain half",
    selective.HIGH: "Less certain half",
}
METRIC_NAMES = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "balanced_accuracy": "Balanced accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
}
PAIR_NAMES = {
    "split": "Patient on a side of the published split",
    "ecg_echo": "ECG with echo study",
    "ecg_text": "ECG with report text",
    "labels": "Echo study with measurement",
}


NONE = "–"  # where there is no value


def protocol_name(protocol: str) -> str:
    """Name of a protocol: `Zero-shot, teacher's texts`, or with another model `Linear probe (merl)`."""
    own, _, model = protocol.partition("@")
    spaces = [""]
    for suffix, name in reversed(SPACE_NAMES.items()):
        if own.endswith(suffix):
            own, spaces = own.removesuffix(suffix), [name, *spaces]
    text = ", ".join([PROTOCOL_NAMES[own], *spaces[:-1]])
    return f"{text} ({model})" if model else text


def model_name(model: str) -> str:
    """Name of a model: `Student` for the student under test."""
    return "Student" if model == names.STUDENT else model


def value_text(estimate: bootstrap.Estimate) -> str:
    """Value as text: `0.87`, or a dash."""
    return NONE if estimate.value is None else _signed(estimate.value)


def interval_text(estimate: bootstrap.Estimate) -> str:
    """Interval as text: `0.80 to 0.93`, or empty."""
    return (
        "" if estimate.low is None or estimate.high is None else f"{_signed(estimate.low)} to {_signed(estimate.high)}"
    )


def percent_text(estimate: bootstrap.Estimate) -> dict[str, str]:
    """Value and interval in per cent: `78.9` and `75.1 to 82.3`; a dash and empty where there is none."""
    value, low, high = (
        None if number is None else _signed(100 * number, 1) for number in (estimate.value, estimate.low, estimate.high)
    )
    return {"value": value or NONE, "interval": "" if low is None or high is None else f"{low} to {high}"}


def _signed(value: float, digits: int = 2) -> str:
    """Number as text, with a typographic minus sign, and without a sign for zero."""
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def probability_text(probability: float, digits: int = 2) -> str:
    """Probability with significant digits of its distance to 0 or 1: `0.0045`, `0.31`, `0.9955`."""
    if probability <= 0.5:
        return f"{probability:.{digits}g}"
    return f"{1 - float(f'{1 - probability:.{digits}g}'):.12g}"


def probability_texts(probabilities: Sequence[float]) -> list[str]:
    """Tick labels of an axis: as many digits as needed to keep them distinct, five at most."""
    for digits in (2, 3, 4, 5):
        texts = [probability_text(probability, digits) for probability in probabilities]
        if len(set(texts)) == len(texts):
            break
    return texts
