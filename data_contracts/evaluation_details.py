"""Further tables of the evaluation artefact: the cohort and its labels, uncertainty, distribution shift and retrieval.

EXTERNAL is not part of an artefact: a user provides it, with the embeddings of another model (evaluation.external).
"""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from data_contracts.conventions import SPLITS
from data_contracts.tables import TableContract, column

MODALITIES = ("ecg", "echo")
QUESTION = "question"
NUMBER = "number"

# A question and a number may have the same name.
_ENDPOINT = (
    column("kind", pa.string(), "question (of evaluation.endpoints) or number (of evaluation.regressions)"),
    column("endpoint", pa.string(), "its name in the recipe"),
)


def _checks(check: Any) -> Mapping[str, Any]:
    return {
        "split": check.isin(SPLITS),
        "modality": check.isin(MODALITIES),
        "kind": check.isin((QUESTION, NUMBER)),
    }


COHORT = TableContract(
    "cohort",
    (
        column("split", pa.string(), "train, validation or test"),
        column("ecgs", pa.int64(), "ECGs that are paired with an echo study or have a label"),
        column("patients", pa.int64(), "their patients"),
    ),
    _checks,
    unique=("split",),
)

ASKED = TableContract(
    "asked",
    (
        *_ENDPOINT,
        column("ecgs", pa.int64(), "ECGs that are paired with an echo study or have a label"),
        column("absent", pa.int64(), "of these without the measurement"),
        column("unit_mismatch", pa.int64(), "of these with a unit that is not converted to the endpoint's"),
        column("impossible", pa.int64(), "of these with a value outside the endpoint's valid_range"),
        column("other_words", pa.int64(), "of these with words that the endpoint does not list"),
        column("sex_unknown", pa.int64(), "of these whose threshold depends on a sex that is not known"),
        column("between", pa.int64(), "of these with a range that has the threshold inside"),
        column("labelled", pa.int64(), "of these with a value that counts"),
    ),
    _checks,
    unique=("kind", "endpoint"),
)

LABELLED = TableContract(
    "labelled",
    (
        *_ENDPOINT,
        column("split", pa.string(), "train, validation or test"),
        column("records", pa.int64(), "ECGs with a label, or with the number"),
        column("positives", pa.int64(), "of these with label 1; null for a number", optional=True),
    ),
    _checks,
    unique=("kind", "endpoint", "split"),
)

ATTEMPTS = TableContract(
    "attempts",
    (
        *_ENDPOINT,
        column("protocol", pa.string(), "protocol that was tried, PROTOCOL@MODEL for another model"),
        column("threshold_says", pa.string(), "where the threshold comes from; null without one", optional=True),
        column("left_out", pa.string(), "why it did not run; null if it did", optional=True),
    ),
    _checks,
    unique=("kind", "endpoint", "protocol"),
)

EMBEDDING_MAP = TableContract(
    "embedding_map",
    (
        column("modality", pa.string(), "ecg (by the student) or echo (by the teacher)"),
        column("name", pa.string(), "record_id or study_id"),
        column("x", pa.float64(), "place along the first principal component of both together, test split"),
        column("y", pa.float64(), "along the second"),
    ),
    _checks,
    unique=("modality", "name"),
)

PAGE_TABLES = (COHORT, ASKED, LABELLED, ATTEMPTS, EMBEDDING_MAP)


LOW = column("low", pa.float64(), "2.5 % of the patient bootstrap; null where there is none", optional=True)
HIGH = column("high", pa.float64(), "97.5 % of the patient bootstrap; null as `low`", optional=True)

UNCERTAINTY = TableContract(
    "uncertainty",
    (
        column("record_id", pa.string(), "keyed pseudonym of the ECG recording"),
        column("split", pa.string(), "split of the patient"),
        column("mean_log_var", pa.float64(), "mean over dimensions of the predicted log-variance"),
        column("total_variance", pa.float64(), "sum over dimensions of the predicted variance"),
        column("max_log_var", pa.float64(), "largest predicted log-variance"),
        column("typicality", pa.float64(), "distance to the training ECGs; null where they are too few", optional=True),
        column("is_typical", pa.bool_(), "whether the distance is within the limit chosen on validation"),
    ),
    unique=("record_id",),
)

STUDY_TYPICALITY = TableContract(
    "study_typicality",
    (
        column("study_id", pa.string(), "keyed pseudonym of the echo study"),
        column("split", pa.string(), "split of the patient"),
        column(
            "distance", pa.float64(), "of the teacher's mean to the training studies; null where too few", optional=True
        ),
        column("is_typical", pa.bool_(), "whether the distance is within the limit chosen on validation"),
    ),
    lambda check: {"split": check.isin(SPLITS)},
    unique=("study_id",),
)

SHIFT = TableContract(
    "shift",
    (
        column("measure", pa.string(), "embedding, prevalence or share"),
        column("name", pa.string(), "mmd2; an endpoint; or a stratum and its level, as `sex: F`"),
        column("reference", pa.string(), "split that is compared with"),
        column("compared", pa.string(), "split that is compared"),
        column("reference_value", pa.float64(), "share in the reference; null for embedding", optional=True),
        column("compared_value", pa.float64(), "share in the compared; null for embedding", optional=True),
        column("value", pa.float64(), "compared less reference; for embedding the squared MMD"),
        LOW,
        HIGH,
        *(
            column(f"{side}_{what}", pa.int64(), f"{what} of the {side} that were compared")
            for side in ("reference", "compared")
            for what in ("records", "patients")
        ),
        column("p", pa.float64(), "share of permutations of patients as far apart; embedding only", optional=True),
    ),
    unique=("measure", "name", "reference", "compared"),
)

RETRIEVAL = TableContract(
    "retrieval",
    (
        column("direction", pa.string(), "ecg_to_echo or echo_to_ecg, on the test split"),
        column("queries", pa.int64(), "rows that look for their match"),
        column("gallery", pa.int64(), "rows among which they look"),
        column("k", pa.int64(), "how many nearest count"),
        column("recall", pa.float64(), "share of queries with a true match among the k nearest"),
        column("chance", pa.float64(), "the same of a random order"),
        column("median_rank", pa.float64(), "median over queries of the rank of the nearest true match, 1 is best"),
    ),
    unique=("direction", "k"),
)

STRESS = TableContract(
    "stress",
    (
        column("endpoint", pa.string(), "name of the endpoint in the recipe"),
        column("protocol", pa.string(), "how the scores were computed"),
        column("disturbance", pa.string(), "what was done to the test ECGs; none for the ECGs as they are"),
        column("step", pa.int8(), "0 for none, then 1 (slight) to 5 (severe)"),
        column("level", pa.float64(), "of the disturbance, in `unit`"),
        column("unit", pa.string(), "of the level"),
        column("ecgs", pa.int64(), "labelled test ECGs"),
        column("answered", pa.float64(), "share of them that is not referred and not refused"),
        column("wrong", pa.float64(), "share of them that is answered wrongly"),
        column("wrong_of_answered", pa.float64(), "share of the answered; null without any", optional=True),
        column("refused", pa.float64(), "share of them that stage ecg refuses"),
        column("typical", pa.float64(), "share of them that is typical"),
        column(
            "auroc", pa.float64(), "of the score, refused ECGs left out; null where a class is absent", optional=True
        ),
        column(
            "probability_excess",
            pa.float64(),
            "mean probability less the share with label 1, refused ECGs left out; null where not calibrated",
            optional=True,
        ),
        column("typicality", pa.float64(), "median distance to the training ECGs; null without any", optional=True),
        column("uncertainty", pa.float64(), "geometric mean of the predictive deviation; null without", optional=True),
    ),
    lambda check: {name: check.in_range(0, 1) for name in ("answered", "wrong", "refused", "typical")},
    unique=("endpoint", "protocol", "disturbance", "step"),
)

TRANSFER = TableContract(
    "transfer",
    (
        column("endpoint", pa.string(), "name of the endpoint in the recipe"),
        column("protocol", pa.string(), "how the score was computed"),
        column("metric", pa.string(), "how threshold or calibrator hold; docs/evaluation.md has formulas and sources"),
        column(
            "at",
            pa.float64(),
            "ppv, npv: share of label 1; net_benefit: probability from which one sends to echo; other metrics whose "
            "name ends in corrected: the stated share that probabilities were corrected to; null for the rest",
            optional=True,
        ),
        column("value", pa.float64(), "on the test split; null where it is not defined", optional=True),
        LOW,
        HIGH,
        column("patients", pa.int64(), "test patients"),
        column("records", pa.int64(), "test ECGs"),
        column("positives", pa.int64(), "test ECGs with label 1"),
    ),
    unique=("endpoint", "protocol", "metric", "at"),
)

TEACHER_CHECK = TableContract(
    "teacher_check",
    (
        *_ENDPOINT,
        column("method", pa.string(), "prompts (the teacher's text tower), or probe (ridge regression, patient folds)"),
        column("metric", pa.string(), "auroc of a question; pearson, mae and bias (read less measured) of a number"),
        column("value", pa.float64(), "over echo studies with the measurement; null where undefined", optional=True),
        LOW,
        HIGH,
        column("limit", pa.float64(), "least value by the recipe; null for other metrics", optional=True),
        column("is_below", pa.bool_(), "whether the value is below the limit; null where too few tell", optional=True),
        column("studies", pa.int64(), "echo studies that were compared, 1,000 at most"),
        column("patients", pa.int64(), "their patients"),
        column("positives", pa.int64(), "studies with label 1; null for a number", optional=True),
    ),
    _checks,
    unique=("kind", "endpoint", "method", "metric"),
)

SPACE_TABLES = (UNCERTAINTY, STUDY_TYPICALITY, SHIFT, RETRIEVAL, STRESS, TRANSFER, TEACHER_CHECK)


def _external_checks(check: Any) -> Mapping[str, Any]:
    return {"content_hash": check.str_matches(r"^[0-9a-f]{64}$")}


EXTERNAL = TableContract(
    "external",
    (
        column("content_hash", pa.string(), "as in ecg.RECORDS: key of the ECG file, or ecg.window_key of it"),
        column("embedding", pa.list_(pa.float32()), "of another model, the same length in every row"),
    ),
    _external_checks,
    unique=("content_hash",),
)
