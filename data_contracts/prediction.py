"""Prediction: the reading card that an evaluation writes, and the tables that reading ECGs with it gives.

The reading card is one safetensors file. It holds all that an evaluation chose, so that new ECGs are read exactly the
same way: the arrays below and, under the metadata key `card`, a `ReadingCard` as JSON. Its only patient data are
quantiles over the validation ECGs, single validation scores as limits and as points of a calibrator, and the mean and
covariance of the training ECGs' features.

The tables are not artefacts: they are for the user who named the files, and hold these files' names.
"""

from collections.abc import Mapping
from typing import Any, Literal, Self, get_args

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from data_contracts.conventions import NOT_STATED, origin_in_words
from data_contracts.quarantine import REASONS
from data_contracts.tables import TableContract, column

FILENAME = "reading_card.safetensors"
FILENAME_OF_SET = "reading_card-{}.safetensors"  # beside it: the card of a set of fewer leads, by name of the set
METADATA = "card"

WEIGHT = "weight"  # (reading, dim) float64: logit = weight . mean embedding + bias
BIAS = "bias"  # (reading,) float64
MEAN_WEIGHT = "mean_weight"  # (reading + number, feature) float64; zeros without a predictive distribution
LOG_VARIANCE_WEIGHT = "log_variance_weight"  # (reading + number, feature) float64; zeros as above
DEVIATIONS = "deviations"  # (reading, quantile) float64, ascending, then infinity: deviation of the validation ECGs
CENTRE = "centre"  # (feature,) float64: mean of the training ECGs' features
WHITENING = "whitening"  # (feature, feature) float64: see echoingecg.evaluation.decision.typicality
DISTURBED = "disturbed"  # (1 + feature,) float64: bias and weights of the log-odds that an ECG is disturbed
DISTANCES = "distances"  # (quantile,) float64, ascending: distance of the validation ECGs to the training ECGs

Calibrator = Literal["none", "platt", "isotonic"]
ReferralKind = Literal["conformal", "nearest"]


class _CardPart(BaseModel):
    # JSON has no infinity: it is written as text.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Calibration(_CardPart):
    """How a score becomes a probability."""

    method: Calibrator
    slope: float = Field(1.0, description="platt: of the distance to the threshold")
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
    """The rule that decides which ECGs are referred to echo; evaluation and prediction both apply it.

    Distances are those of the score's log-odds to the threshold's, in predictive standard deviations.
    """

    kind: ReferralKind = Field(description="how the limits were chosen")
    threshold: float = Field(ge=0, le=1, description="a score that reaches it is decided as label 1")
    one_from: float = Field(description="label 1 is possible from this distance on; -inf for always")
    zero_to: float = Field(description="label 0 is possible up to this distance; inf for always")
    says: str = Field(description="where it comes from, as a sentence")


class Predictive(_CardPart):
    """The normal distribution of what the echo itself would give, log-odds of a question or a number, given the ECG.

    MEAN_WEIGHT and LOG_VARIANCE_WEIGHT are part of it; echoingecg.evaluation.decision.predictive has the formulas.
    """

    slope: float = Field(description="of the mean on the log-odds of the student's score; 0 for a number")
    intercept: float = Field(description="of the mean")
    log_variance: float = Field(description="logarithm of the variance at distance 1")
    log_variance_slope: float = Field(ge=0, description="of the logarithm of the variance on that of the distance")
    log_variance_bias: float = Field(description="of the features' part of the logarithm of the variance")
    typical_distance: float = Field(description="beyond this distance the features' part fades")


class TypicalLimits(_CardPart):
    """Limits of the typical; an ECG beyond one of them is referred."""

    distance: float = Field(description="of the distance to the training ECGs")
    likeness: float = Field(description="of the log-odds that the ECG is disturbed")


class NumberLimit(_CardPart):
    """Where a question parts the values of a number that is on the same card."""

    number: str = Field(description="name of the number")
    is_yes_below: bool = Field(description="whether label 1 means smaller values")
    lowest: float = Field(description="threshold of the question, in the number's unit")
    highest: float = Field(description="the same; the higher one where it differs by sex")


class NumberReading(_CardPart):
    """A number of the echo; number i belongs to row `readings` + i of MEAN_WEIGHT and LOG_VARIANCE_WEIGHT."""

    number: str = Field(description="name of the number in the recipe")
    unit: str
    valid_range: tuple[float, float] = Field(description="values and intervals are cut to it")
    predictive: Predictive
    widest: float = Field(gt=0, description="deviation of a guess without an ECG; from it on an interval is too wide")
    says: str = Field(description="where it comes from, as a sentence")


class Reading(_CardPart):
    """One endpoint under one protocol; reading i belongs to row i of the arrays."""

    endpoint: str = Field(description="name of the endpoint in the recipe")
    question: str = Field(description="what label 1 means, for example lvef < 40 %")
    protocol: str = Field(description="how the score was computed, for example zero_shot")
    threshold_says: str = Field(description="where the threshold comes from, as a sentence")
    calibration: Calibration
    referral: Referral
    predictive: Predictive | None = Field(description="null where the score alone decides")
    limit: NumberLimit | None = Field(None, description="null where no number of the card is of the same measurement")
    prevalence: float | None = Field(
        None, ge=0, le=1, description="share of label 1 among the validation ECGs; null on cards of earlier releases"
    )


class ReadingCard(_CardPart):
    """Everything in a reading card except the arrays."""

    student: str = Field(description="version of the student that was evaluated")
    ecg: dict[str, Any] = Field(description="the recipe's section `ecg` that its signals were made with")
    ecg_code_version: int = Field(
        5, description="code version of stage ecg that made them; cards that do not state it are of 3 to 5, which agree"
    )
    readings: tuple[Reading, ...]
    answered_by: str = Field(description="protocol that prediction applies unless told otherwise")
    typical: TypicalLimits | None = Field(description="null where they could not be chosen: then every ECG is referred")
    nested: tuple[tuple[str, ...], ...] = Field(
        (), description="endpoints of which each implies the next, such as LVEF < 30 %, < 40 %, < 50 %"
    )
    numbers: tuple[NumberReading, ...] = ()
    trained_on: str = Field(NOT_STATED, description="whose ECGs the student learned from, of conventions.ORIGINS")
    teacher_trained_on: str = Field(NOT_STATED, description="whose echoes its teacher learned from")
    judged_on: str = Field(NOT_STATED, description="whose ECGs the card was made on")

    @property
    def origins(self) -> str:
        """Whose data student, teacher and card were made on, as a sentence."""
        student, teacher, card = map(origin_in_words, (self.trained_on, self.teacher_trained_on, self.judged_on))
        return f"Trained on ECGs of {student}, by a teacher of echoes of {teacher}; thresholds are of {card}."

    @model_validator(mode="after")
    def _names(self) -> Self:
        names = [(reading.endpoint, reading.protocol) for reading in self.readings]
        if len(names) != len(set(names)):
            raise ValueError("an endpoint is read twice under one protocol")
        numbers = [number.number for number in self.numbers]
        if len(numbers) != len(set(numbers)):
            raise ValueError("a number is read twice")
        if {reading.limit.number for reading in self.readings if reading.limit} - set(numbers):
            raise ValueError("a question is compared with a number that is not on the card")
        return self


NOTICE = "Research software, not a medical device. Not for clinical use."

Advice = Literal["predict", "refer"]
ADVICE: tuple[Advice, ...] = get_args(Advice)

# Why a question or a number of an ECG is referred; for a finding, its name stands in `findings`.
QuestionDoubt = Literal["finding", "not typical", "undecided", "contradictory", "number contradicts"]
NumberDoubt = Literal["finding", "not typical", "too wide", "number contradicts"]
DOUBTS: tuple[QuestionDoubt, ...] = get_args(QuestionDoubt)
NOT_CALIBRATED = "not calibrated"  # why a student without a reading card refers every ECG
NUMBER_DOUBTS: tuple[NumberDoubt, ...] = get_args(NumberDoubt)


def _checks(check: Any) -> Mapping[str, Any]:
    share = check.in_range(0, 1)
    return {
        "probability": share,
        "score": share,
        "low": share,
        "high": share,
        "uncertainty_percentile": check.in_range(0, 100),
        "typicality_percentile": check.in_range(0, 100),
        "decision": check.isin([0, 1]),
        "advice": check.isin(ADVICE),
        "reason": check.isin(sorted(REASONS)),
    }


_FILE = column("file", pa.string(), "as it was named, or found in the folder that was")
_REFUSAL = (
    column("reason", pa.string(), "why the file was refused: data_contracts.quarantine.REASONS", optional=True),
    column("detail", pa.string(), "what was found in it", optional=True),
)
_TRAINED_ON = column(
    "trained_on", pa.string(), "whose ECGs the student learned from: conventions.ORIGINS", optional=True
)
_FINDINGS = column(
    "findings", pa.list_(pa.string()), "quality findings of the recording and of its leads", optional=True
)

_TYPICALITY = column(
    "typicality",
    pa.float64(),
    "distance to the training ECGs in the trunk's features; about 1 among them",
    optional=True,
)
_TYPICALITY_PERCENTILE = column(
    "typicality_percentile", pa.float64(), "share of validation ECGs that lie no further", "%", optional=True
)

# One row per endpoint for an ECG that was read; one row with a reason for a file that was refused.
READINGS = TableContract(
    "readings",
    (
        _FILE,
        column("endpoint", pa.string(), "name of the endpoint in the recipe", optional=True),
        column("protocol", pa.string(), "how the score was computed", optional=True),
        column("probability", pa.float64(), "of label 1; null where the score is not calibrated", optional=True),
        column("low", pa.float64(), "5 % of the probability over what the echo may say; null as it", optional=True),
        column("high", pa.float64(), "95 %, beside low", optional=True),
        column("score", pa.float64(), "what is calibrated: as in evaluation.PREDICTIONS", optional=True),
        column(
            "decision",
            pa.int8(),
            "1 for label 1; never against a nested question's; null without a reading card",
            optional=True,
        ),
        column(
            "uncertainty",
            pa.float64(),
            "predictive standard deviation of the log-odds that the echo would get, given the ECG; null for a protocol "
            "whose score alone decides",
            optional=True,
        ),
        column(
            "uncertainty_percentile",
            pa.float64(),
            "share of validation ECGs that are no more uncertain; null when there were none",
            "%",
            optional=True,
        ),
        _TYPICALITY,
        _TYPICALITY_PERCENTILE,
        column("advice", pa.string(), "predict: answered with the decision; refer: to echo", optional=True),
        column(
            "doubts",
            pa.list_(pa.string()),
            f"why the ECG is referred: {', '.join(DOUBTS)}, {NOT_CALIBRATED}",
            optional=True,
        ),
        _FINDINGS,
        _TRAINED_ON,
        *_REFUSAL,
    ),
    _checks,
    notice=NOTICE,
)

# One row per number of the card for an ECG that was read; one row with a reason for a file that was refused.
NUMBERS = TableContract(
    "numbers",
    (
        _FILE,
        column("number", pa.string(), "name of the number in the recipe", optional=True),
        column("unit", pa.string(), "of value, low, high and deviation", optional=True),
        column("value", pa.float64(), "that the echo is expected to measure", optional=True),
        column("low", pa.float64(), "begin of the interval that holds 90 % of the echoes' values", optional=True),
        column("high", pa.float64(), "end of the same", optional=True),
        column("deviation", pa.float64(), "predictive standard deviation of the echo's value", optional=True),
        _TYPICALITY,
        _TYPICALITY_PERCENTILE,
        column("advice", pa.string(), "predict: the value may stand for the echo's; refer: to echo", optional=True),
        column("doubts", pa.list_(pa.string()), "why it is referred: " + ", ".join(NUMBER_DOUBTS), optional=True),
        _FINDINGS,
        _TRAINED_ON,
        *_REFUSAL,
    ),
    lambda check: {
        name: test for name, test in _checks(check).items() if name in ("typicality_percentile", "advice", "reason")
    },
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
