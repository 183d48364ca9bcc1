"""Names and numbers as the figures and the report show them."""

from typing import Final

from echoingecg.evaluation.bootstrap import Estimate
from echoingecg.evaluation.protocols import LINEAR_PROBE, ZERO_SHOT
from echoingecg.evaluation.uncertainty import ALL, HIGH, LOW

PROTOCOL_NAMES: Final = {ZERO_SHOT: "Zero-shot", LINEAR_PROBE: "Linear probe"}
GROUP_NAMES: Final = {ALL: "All test ECGs", LOW: "More certain half", HIGH: "Less certain half"}
PAIR_NAMES: Final = {
    "ecg_echo": "ECG with echo study",
    "ecg_text": "ECG with report text",
    "labels": "Echo study with measurement",
}


def value_text(found: Estimate) -> str:
    """`0.87`, or a dash."""
    return "–" if found.value is None else f"{found.value:.2f}"


def interval_text(found: Estimate) -> str:
    """`0.80 to 0.93`, or nothing."""
    return "" if found.low is None or found.high is None else f"{found.low:.2f} to {found.high:.2f}"


def probability_text(probability: float) -> str:
    """Two significant digits of the distance to the nearer end: `0.0045`, `0.31`, `0.9955`."""
    if probability <= 0.5:
        return f"{probability:.2g}"
    return f"{1 - float(f'{1 - probability:.2g}'):.12g}"
