"""Prediction: the reading card that an evaluation writes, and the tables that reading ECGs with it gives.

The reading card is one safetensors file. It holds all that an evaluation chose, so that new ECGs are read exactly the
same way: the arrays below and, under the metadata key `card`, a `ReadingCard` as JSON. Its only patient data are
quantiles of the uncertainty on validation, and single validation scores as limits and as points of a calibrator.

The tables are not artefacts: they are for the user who named the files, and hold these files' names.
"""

from collections.abc import Mapping
from typing import Any, Literal, Self, get_args

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from data_contracts.quarantine import REASONS
from data_contracts.tables import TableContract, column

FILENAME = "reading_card.safetensors"
METADATA = "card"

WEIGHT = "weight"  # (reading, dim) float64: logit = weight . mean embedding + bias
BIAS = "bias"  # (reading,) float64
UNCERTAINTY = "uncertainty"  # (quantile,) float64, ascending: uncertainty of the validation ECGs

Calibrator = Literal["none", "platt", "isotonic"]
ReferralKind = Literal["conformal", "nearest"]


class _CardPart(BaseModel):
    # JSON has no infinity: it is written as text.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Calibration(_CardPart):
    """How a score becomes a probability."""

    method: Calibrator
    slope: float = Field(1.0, description="platt: of the score's log-odds")
    intercept: float = Field(0.0, description="platt: intercept of the same line")
    score: tuple[float, ...] = Field((), description="isotonic: points of the line, ascending")
    probability: tuple[float, ...] = Field((), description="isotonic: probability at each point")
    says: str = Field(description="where it comes from, as a sentence")

    @model_validator(mode="after")
    def _points(self) -> Self:
        if len(self.score) != len(self.probability) or (self.method == "isotonic") != bool(self.score):
            raise ValueError("isotonic takes as many probabilities as scores, at least one; others take none")
        return self


class Referral(_CardPart):
    """The rule that decides which ECGs are referred to echo; evaluation and prediction both apply it."""

    kind: ReferralKind = Field(description="how the limits were chosen")
    threshold: float = Field(ge=0, le=1, description="a score that reaches it is decided as label 1")
    one_from: float = Field(description="label 1 is possible from this score on; -inf for always")
    zero_to: float = Field(description="label 0 is possible up to this score; inf for always")
    most_uncertain: float = Field(description="largest uncertainty among the validation ECGs; -inf without any")
    says: str = Field(description="where it comes from, as a sentence")


class Reading(_CardPart):
    """One endpoint under one protocol; reading i belongs to row i of the arrays."""

    endpoint: str = Field(description="name of the endpoint in the recipe")
    question: str = Field(description="what label 1 means, for example lvef < 40 %")
    protocol: str = Field(description="how the score was computed, for example zero_shot")
    threshold_says: str = Field(description="where the threshold comes from, as a sentence")
    calibration: Calibration
    referral: Referral


class ReadingCard(_CardPart):
    """Everything in a reading card except the arrays."""

    student: str = Field(description="version of the student that was evaluated")
    ecg: dict[str, Any] = Field(description="the recipe's section `ecg` that its signals were made with")
    readings: tuple[Reading, ...]

    @model_validator(mode="after")
    def _no_repetition(self) -> Self:
        names = [(reading.endpoint, reading.protocol) for reading in self.readings]
        if len(names) != len(set(names)):
            raise ValueError("an endpoint is read twice under one protocol")
        return self


NOTICE = "Research software, not a medical device. Not for clinical use."

Advice = Literal["predict", "refer"]
ADVICE: tuple[Advice, ...] = get_args(Advice)


def _checks(check: Any) -> Mapping[str, Any]:
    share = check.in_range(0, 1)
    return {
        "probability": share,
        "score": share,
        "low": share,
        "high": share,
        "uncertainty_percentile": check.in_range(0, 100),
        "decision": check.isin([0, 1]),
        "advice": check.isin(ADVICE),
        "reason": check.isin(sorted(REASONS)),
    }


_FILE = column("file", pa.string(), "as it was named, or found in the folder that was")
_REFUSAL = (
    column("reason", pa.string(), "why the file was refused: data_contracts.quarantine.REASONS", optional=True),
    column("detail", pa.string(), "what was found in it", optional=True),
)
_FINDINGS = column(
    "findings", pa.list_(pa.string()), "quality findings of the recording and of its leads", optional=True
)

# One row per endpoint for an ECG that was read; one row with a reason for a file that was refused.
READINGS = TableContract(
    "readings",
    (
        _FILE,
        column("endpoint", pa.string(), "name of the endpoint in the recipe", optional=True),
        column("protocol", pa.string(), "how the probability was come by", optional=True),
        column("probability", pa.float64(), "calibrated probability of label 1", optional=True),
        column("low", pa.float64(), "2.5 % of the probability over the ECG's own Gaussian", optional=True),
        column("high", pa.float64(), "97.5 % of the probability over the ECG's own Gaussian", optional=True),
        column("score", pa.float64(), "what is calibrated: as in evaluation.PREDICTIONS", optional=True),
        column("decision", pa.int8(), "1 when the score reaches the threshold", optional=True),
        column("uncertainty", pa.float64(), "mean over dimensions of the ECG's log-variance", optional=True),
        column(
            "uncertainty_percentile",
            pa.float64(),
            "share of validation ECGs that are no more uncertain; null when there were none",
            "%",
            optional=True,
        ),
        column("advice", pa.string(), "predict: answered with the decision; refer: to echo", optional=True),
        _FINDINGS,
        *_REFUSAL,
    ),
    _checks,
    notice=NOTICE,
)

# One row per file.
SCORES = TableContract(
    "scores",
    (
        _FILE,
        column("score", pa.float64(), "of the question that was asked, not calibrated", optional=True),
        column("uncertainty", pa.float64(), "mean over dimensions of the ECG's log-variance", optional=True),
        _FINDINGS,
        *_REFUSAL,
    ),
    _checks,
    notice=NOTICE,
)

# One row per file.
GAUSSIANS = TableContract(
    "gaussians",
    (
        _FILE,
        column("mean", pa.list_(pa.float32()), "unit-length mean of the ECG's Gaussian, (dim,)", optional=True),
        column("log_var", pa.list_(pa.float32()), "its log-variance, (dim,)", optional=True),
        _FINDINGS,
        *_REFUSAL,
    ),
    _checks,
    notice=NOTICE,
)
