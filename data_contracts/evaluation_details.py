"""Tables of the evaluation artefact that hold no measure: who was asked what, and what its report draws besides."""

from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa

from data_contracts.conventions import SPLITS
from data_contracts.tables import TableContract, column

MODALITIES: Final = ("ecg", "echo")
QUESTION: Final = "question"
NUMBER: Final = "number"

# A question and a number may share a name.
_OF: Final = (
    column("kind", pa.string(), "question (of evaluation.endpoints) or number (of evaluation.regressions)"),
    column("endpoint", pa.string(), "its name in the recipe"),
)


def _checks() -> Mapping[str, Any]:
    import pandera.pandas as pandera

    return {
        "split": pandera.Check.isin(SPLITS),
        "modality": pandera.Check.isin(MODALITIES),
        "kind": pandera.Check.isin((QUESTION, NUMBER)),
    }


COHORT: Final = TableContract(
    "cohort",
    pa.schema(
        [
            column("split", pa.string(), "train, validation or test"),
            column("ecgs", pa.int64(), "ECGs that are paired with an echo study"),
            column("patients", pa.int64(), "their patients"),
        ]
    ),
    _checks,
    unique=("split",),
)

ASKED: Final = TableContract(
    "asked",
    pa.schema(
        [
            *_OF,
            column("studies", pa.int64(), "echo studies that are paired with an ECG"),
            column("absent", pa.int64(), "of these without the measurement"),
            column("unit_mismatch", pa.int64(), "of these with another unit than the endpoint's"),
            column("impossible", pa.int64(), "of these with a value outside the endpoint's valid_range"),
            column("sex_unknown", pa.int64(), "of these whose threshold depends on a sex that is not known"),
            column("labelled", pa.int64(), "of these with a value that counts"),
        ]
    ),
    _checks,
    unique=("kind", "endpoint"),
)

LABELLED: Final = TableContract(
    "labelled",
    pa.schema(
        [
            *_OF,
            column("split", pa.string(), "train, validation or test"),
            column("records", pa.int64(), "ECGs with a label, or with the number"),
            column("positives", pa.int64(), "of these with label 1; null for a number", optional=True),
        ]
    ),
    _checks,
    unique=("kind", "endpoint", "split"),
)

ATTEMPTS: Final = TableContract(
    "attempts",
    pa.schema(
        [
            *_OF,
            column("protocol", pa.string(), "protocol that was tried, PROTOCOL@MODEL for another model"),
            column("threshold_says", pa.string(), "where the threshold comes from; null without one", optional=True),
            column("left_out", pa.string(), "why it did not run; null if it did", optional=True),
        ]
    ),
    _checks,
    unique=("kind", "endpoint", "protocol"),
)

EMBEDDING_MAP: Final = TableContract(
    "embedding_map",
    pa.schema(
        [
            column("modality", pa.string(), "ecg (by the student) or echo (by the teacher)"),
            column("name", pa.string(), "record_id or study_id"),
            column("x", pa.float64(), "place along the first principal component of both together, test split"),
            column("y", pa.float64(), "along the second"),
        ]
    ),
    _checks,
    unique=("modality", "name"),
)

TABLES: Final = (COHORT, ASKED, LABELLED, ATTEMPTS, EMBEDDING_MAP)
