"""Evaluation artefact: predictions, metrics, figures and one self-contained report."""

from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa

from data_contracts.conventions import SPLITS
from data_contracts.tables import TableContract, column

CONTRACT_VERSION: Final = 2  # 1 had `predictions` and `metrics` alone, which are read as they are

REPORT: Final = "report.html"
FIGURES: Final = "figures"

_ENDPOINT: Final = column("endpoint", pa.string(), "name of the endpoint in the recipe")
_PROTOCOL: Final = column(
    "protocol", pa.string(), "how the prediction came about; of another model than the student: PROTOCOL@MODEL"
)
_RECORD: Final = (
    column("record_id", pa.string(), "keyed pseudonym of the ECG recording"),
    column("patient_id", pa.string(), "keyed pseudonym of the patient"),
    column("split", pa.string(), "split of the patient"),
)
_UNCERTAINTY: Final = column(
    "uncertainty", pa.float64(), "mean over dimensions of the log-variance that the student predicts for the ECG"
)


def _prediction_checks() -> Mapping[str, Any]:
    import pandera.pandas as pandera

    return {
        "score": pandera.Check.in_range(0, 1),
        "label": pandera.Check.isin([0, 1]),
        "split": pandera.Check.isin(SPLITS),
    }


PREDICTIONS: Final = TableContract(
    "predictions",
    pa.schema(
        [
            _ENDPOINT,
            _PROTOCOL,
            *_RECORD,
            column("label", pa.int8(), "1 when the measurement meets the endpoint's comparison"),
            column("score", pa.float64(), "predicted probability of label 1"),
            column("decision", pa.int8(), "1 when the score reaches the threshold chosen on validation"),
            _UNCERTAINTY,
        ]
    ),
    _prediction_checks,
    unique=("endpoint", "protocol", "record_id"),
)

METRICS: Final = TableContract(
    "metrics",
    pa.schema(
        [
            _ENDPOINT,
            _PROTOCOL,
            column("group", pa.string(), "all, low_uncertainty or high_uncertainty (halves of the test ECGs)"),
            column("metric", pa.string(), "balanced_accuracy or auroc"),
            column("value", pa.float64(), "on the test split; null when a class is absent", optional=True),
            column(
                "low",
                pa.float64(),
                "2.5 % of the patient bootstrap; null when a class is absent or of one patient",
                optional=True,
            ),
            column("high", pa.float64(), "97.5 % of the patient bootstrap; null as `low`", optional=True),
            column("patients", pa.int64(), "patients in the group"),
            column("records", pa.int64(), "ECGs in the group"),
            column("positives", pa.int64(), "ECGs with label 1 in the group"),
        ]
    ),
    unique=("endpoint", "protocol", "group", "metric"),
)

FEW_SHOT: Final = TableContract(
    "few_shot",
    pa.schema(
        [
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
        ]
    ),
    unique=("endpoint", "model", "cases", "metric"),
)

REGRESSIONS: Final = TableContract(
    "regressions",
    pa.schema(
        [
            _ENDPOINT,
            _PROTOCOL,
            *_RECORD,
            column("measured", pa.float64(), "value of the ECG's study, in the endpoint's unit"),
            column("predicted", pa.float64(), "in the endpoint's unit"),
            _UNCERTAINTY,
        ]
    ),
    lambda: {"split": _prediction_checks()["split"]},
    unique=("endpoint", "protocol", "record_id"),
)

REGRESSION_METRICS: Final = TableContract(
    "regression_metrics",
    pa.schema(
        [
            _ENDPOINT,
            _PROTOCOL,
            column("metric", pa.string(), "mae (in the endpoint's unit) or pearson"),
            column("value", pa.float64(), "on the test split; null where it is not defined", optional=True),
            column("low", pa.float64(), "2.5 % of the patient bootstrap; null with one patient", optional=True),
            column("high", pa.float64(), "97.5 % of the patient bootstrap; null with one patient", optional=True),
            column("patients", pa.int64(), "test patients"),
            column("records", pa.int64(), "test ECGs"),
        ]
    ),
    unique=("endpoint", "protocol", "metric"),
)

TABLES: Final = (PREDICTIONS, METRICS, FEW_SHOT, REGRESSIONS, REGRESSION_METRICS)


def _external_checks() -> Mapping[str, Any]:
    import pandera.pandas as pandera

    return {"content_hash": pandera.Check.str_matches(r"^[0-9a-f]{64}$")}


# What a user hands in (evaluation.external), not a file of the artefact.
EXTERNAL: Final = TableContract(
    "external",
    pa.schema(
        [
            column("content_hash", pa.string(), "as in ecg.RECORDS: SHA-256 of the ECG file, or ecg.window_key of it"),
            column("embedding", pa.list_(pa.float32()), "of another model, the same length in every row"),
        ]
    ),
    _external_checks,
    unique=("content_hash",),
)
