"""Evaluation artefact: predictions, metrics, figures, one self-contained report, and a `reading_card`."""

from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa

from data_contracts.conventions import SPLITS
from data_contracts.tables import TableContract, column

CONTRACT_VERSION: Final = 2  # 1 had no reading card

REPORT: Final = "report.html"
FIGURES: Final = "figures"


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
            column("endpoint", pa.string(), "name of the endpoint in the recipe"),
            column("protocol", pa.string(), "zero_shot or linear_probe"),
            column("record_id", pa.string(), "keyed pseudonym of the ECG recording"),
            column("patient_id", pa.string(), "keyed pseudonym of the patient"),
            column("split", pa.string(), "split of the patient"),
            column("label", pa.int8(), "1 when the measurement meets the endpoint's comparison"),
            column("score", pa.float64(), "predicted probability of label 1"),
            column("decision", pa.int8(), "1 when the score reaches the threshold chosen on validation"),
            column("uncertainty", pa.float64(), "mean over dimensions of the ECG's predicted log-variance"),
        ]
    ),
    _prediction_checks,
    unique=("endpoint", "protocol", "record_id"),
)

METRICS: Final = TableContract(
    "metrics",
    pa.schema(
        [
            column("endpoint", pa.string(), "name of the endpoint in the recipe"),
            column("protocol", pa.string(), "zero_shot or linear_probe"),
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

TABLES: Final = (PREDICTIONS, METRICS)
