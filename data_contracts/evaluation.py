"""Evaluation artefact: predictions, metrics and a reading card; report, figures and model card are drawn from them."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from data_contracts import evaluation_details
from data_contracts.conventions import SPLITS
from data_contracts.evaluation_details import HIGH, LOW
from data_contracts.prediction import ADVICE
from data_contracts.tables import TableContract, column

# 1 had only `predictions` and `metrics`; 2 lacked some tables; 3 had no reading card; 4 had neither `answers` nor the
# tables of `evaluation_details`, and another referral rule; 5 limits in scores instead of predictive deviations, and no
# typicality: the `rules`, card and report of both are refused; 6 lacked `teacher_check`, 7
# `lead_sets`. The rest is read.
CONTRACT_VERSION = 8

REPORT = "report.html"
MODEL_CARD = "model_card.md"
FIGURES = "figures"

_ENDPOINT = column("endpoint", pa.string(), "name of the endpoint in the recipe")
_PROTOCOL = column(
    "protocol", pa.string(), "how the prediction came about; of another model than the student: PROTOCOL@MODEL"
)
_RECORD = (
    column("record_id", pa.string(), "keyed pseudonym of the ECG recording"),
    column("patient_id", pa.string(), "keyed pseudonym of the patient"),
    column("split", pa.string(), "split of the patient"),
)
_UNCERTAINTY = column(
    "uncertainty", pa.float64(), "mean over dimensions of the log-variance that the student predicts for the ECG"
)

_ESTIMATE = (
    column("metric", pa.string(), "what is measured; docs/evaluation.md has each one's formula and source"),
    column("value", pa.float64(), "on the test split; null when a class is absent", optional=True),
    LOW,
    HIGH,
    column("patients", pa.int64(), "patients in the group"),
    column("records", pa.int64(), "ECGs in the group"),
    column("positives", pa.int64(), "ECGs with label 1 in the group"),
)


def _prediction_checks(check: Any) -> Mapping[str, Any]:
    return {
        "score": check.in_range(0, 1),
        "label": check.isin([0, 1]),
        "split": check.isin(SPLITS),
    }


def _answer_checks(check: Any) -> Mapping[str, Any]:
    known = _prediction_checks(check)
    return {"probability": known["score"], "split": known["split"], "advice": check.isin(ADVICE)}


PREDICTIONS = TableContract(
    "predictions",
    (
        _ENDPOINT,
        _PROTOCOL,
        *_RECORD,
        column("label", pa.int8(), "1 when the measurement meets the endpoint's comparison"),
        column("score", pa.float64(), "of label 1, not calibrated"),
        column("decision", pa.int8(), "1 for label 1; never against a nested question's"),
        _UNCERTAINTY,
    ),
    _prediction_checks,
    unique=("endpoint", "protocol", "record_id"),
)

ANSWERS = TableContract(
    "answers",
    (
        _ENDPOINT,
        _PROTOCOL,
        column("record_id", pa.string(), "keyed pseudonym of the ECG recording"),
        column("split", pa.string(), "split of the patient"),
        column("probability", pa.float64(), "of label 1; null where the score is not calibrated", optional=True),
        column("distance", pa.float64(), "of the score to the threshold, in predictive deviations"),
        column("deviation", pa.float64(), "predictive, of the echo's log-odds; 0 where nothing predicts it"),
        column("advice", pa.string(), "predict: answered with the decision; refer: to echo"),
    ),
    _answer_checks,
    unique=("endpoint", "protocol", "record_id"),
)

METRICS = TableContract(
    "metrics",
    (
        _ENDPOINT,
        _PROTOCOL,
        column(
            "group",
            pa.string(),
            "all; low_uncertainty or high_uncertainty (halves of the test ECGs); answered (not referred to echo)",
        ),
        *_ESTIMATE,
    ),
    unique=("endpoint", "protocol", "group", "metric"),
)

FEW_SHOT = TableContract(
    "few_shot",
    (
        _ENDPOINT,
        column("model", pa.string(), "student, or the recipe's name of another model"),
        column("cases", pa.int32(), "labelled training ECGs of each class, each of its own patient"),
        column("draws", pa.int32(), "random choices of those ECGs"),
        column("metric", pa.string(), "balanced_accuracy or auroc"),
        column("value", pa.float64(), "on the test split, mean over the draws"),
        column("low", pa.float64(), "2.5 % of the draws: the spread of which ECGs were labelled"),
        column("high", pa.float64(), "97.5 % of the draws"),
        column("records", pa.int64(), "test ECGs"),
        column("positives", pa.int64(), "test ECGs with label 1"),
    ),
    unique=("endpoint", "model", "cases", "metric"),
)

REGRESSIONS = TableContract(
    "regressions",
    (
        _ENDPOINT,
        _PROTOCOL,
        *_RECORD,
        column("measured", pa.float64(), "of the ECG's exam, in the endpoint's unit"),
        column("predicted", pa.float64(), "in the endpoint's unit"),
        _UNCERTAINTY,
    ),
    lambda check: {"split": check.isin(SPLITS)},
    unique=("endpoint", "protocol", "record_id"),
)

INTERVALS = TableContract(
    "intervals",
    (
        column("endpoint", pa.string(), "name of the number in the recipe"),
        column("record_id", pa.string(), "keyed pseudonym of the ECG recording"),
        column("split", pa.string(), "split of the patient"),
        column("low", pa.float64(), "begin of the 90 % interval about the value that `expected_number` predicts"),
        column("high", pa.float64(), "end of the same"),
        column("deviation", pa.float64(), "predictive standard deviation"),
        column("advice", pa.string(), "predict: the value may stand for the echo's; refer: to echo"),
    ),
    lambda check: {"split": check.isin(SPLITS), "advice": check.isin(ADVICE)},
    unique=("endpoint", "record_id"),
)

REGRESSION_METRICS = TableContract(
    "regression_metrics",
    (
        _ENDPOINT,
        _PROTOCOL,
        column("metric", pa.string(), "mae, pearson; of expected_number those of its intervals, too"),
        column("value", pa.float64(), "on the test split; null where it is not defined", optional=True),
        LOW,
        HIGH,
        column("patients", pa.int64(), "test patients"),
        column("records", pa.int64(), "test ECGs"),
    ),
    unique=("endpoint", "protocol", "metric"),
)

STRATA = TableContract(
    "strata",
    (
        _ENDPOINT,
        _PROTOCOL,
        column(
            "stratum",
            pa.string(),
            "what parts the test ECGs: sex, age, site, device, rhythm, quality, gap to the exam",
        ),
        column("level", pa.string(), "the part; 'small groups' gathers parts of few patients"),
        *_ESTIMATE,
    ),
    unique=("endpoint", "protocol", "stratum", "level", "metric"),
)

SITES = TableContract(
    "sites",
    (
        _ENDPOINT,
        _PROTOCOL,
        column("site", pa.string(), "pseudonym of the site left out: judged on its test ECGs, by rules of the others"),
        *_ESTIMATE,
    ),
    unique=("endpoint", "protocol", "site", "metric"),
)

LEAD_SETS = TableContract(
    "lead_sets",
    (
        _ENDPOINT,
        _PROTOCOL,
        column("leads", pa.string(), "set of leads that the ECGs were cut down to, judged by rules of its own"),
        *_ESTIMATE,
    ),
    unique=("endpoint", "protocol", "leads", "metric"),
)

RULES = TableContract(
    "rules",
    (
        _ENDPOINT,
        _PROTOCOL,
        column("records", pa.int64(), "validation ECGs that the rules were chosen on"),
        column("positives", pa.int64(), "of these with label 1"),
        column("threshold", pa.float64(), "score from which label 1 is decided"),
        column(
            "threshold_at_specificity",
            pa.float64(),
            "lowest threshold with the recipe's specificity; null without label 0",
            optional=True,
        ),
        column("referral", pa.string(), "how the limits were chosen: conformal or nearest"),
        column("one_from", pa.float64(), "label 1 is possible from this distance; -inf with too few of it"),
        column("zero_to", pa.float64(), "label 0 is possible up to this distance; inf with too few of it"),
        column("calibration", pa.string(), "what makes the score a probability: platt, isotonic or none"),
        column("platt_slope", pa.float64(), "of the distance; null when a class is absent", optional=True),
        column("platt_intercept", pa.float64(), "beside platt_slope; null as it", optional=True),
        column("isotonic_score", pa.list_(pa.float64()), "points of the isotonic line; empty when a class is absent"),
        column("isotonic_probability", pa.list_(pa.float64()), "calibrated probability at each isotonic_score"),
    ),
    unique=("endpoint", "protocol"),
)

RELIABILITY = TableContract(
    "reliability",
    (
        _ENDPOINT,
        _PROTOCOL,
        column("calibration", pa.string(), "none, platt or isotonic: what was done to the score"),
        column("low", pa.float64(), "the bin holds scores above this, and 0 in the first one"),
        column("high", pa.float64(), "the bin holds scores up to this"),
        column("records", pa.int64(), "test ECGs in the bin, at least one"),
        column("positives", pa.int64(), "of these with label 1"),
        column("mean_score", pa.float64(), "mean score or probability in the bin"),
    ),
    unique=("endpoint", "protocol", "calibration", "low"),
)

RISK_COVERAGE = TableContract(
    "risk_coverage",
    (
        _ENDPOINT,
        _PROTOCOL,
        column(
            "doubt",
            pa.string(),
            "what ranks the test ECGs: a summary of the variance, the predictive deviation, or a distance",
        ),
        column("records", pa.int64(), "ECGs kept, the least doubtful"),
        column("coverage", pa.float64(), "share of the test ECGs kept"),
        column("risk", pa.float64(), "error rate among those kept; equal doubts share their errors"),
    ),
    unique=("endpoint", "protocol", "doubt", "records"),
)

TABLES = (
    PREDICTIONS, ANSWERS, METRICS, FEW_SHOT, REGRESSIONS, INTERVALS, REGRESSION_METRICS, STRATA, SITES, LEAD_SETS,
    RULES, RELIABILITY, RISK_COVERAGE,
    *evaluation_details.SPACE_TABLES, *evaluation_details.PAGE_TABLES,
)  # fmt: skip
