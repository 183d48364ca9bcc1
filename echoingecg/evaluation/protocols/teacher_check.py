"""Checks whether the frozen teacher reads this hospital's echo studies at all: its own answers against the echo report.

Nothing of the student is involved. A teacher that reads text is asked by prompts, as ECHO-CLIP (Christensen et al.,
Nature Medicine 2024). A probe on its vectors says whether they hold the finding, whatever the prompts are worth.

Shape legend: s = studies, v = vectors of a study, D = width of a vector.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from data_contracts.evaluation_details import NUMBER, QUESTION
from echoingecg.common.prompt_ranking import best_median, values_by_rank
from echoingecg.evaluation.metrics import bootstrap, classification
from echoingecg.evaluation.protocols.labels import ecg_values, label_ecgs
from echoingecg.evaluation.protocols.regression import number_sentences
from echoingecg.recipe import Endpoint, EvaluationSettings, RegressionEndpoint

PROMPTS, PROBE = "prompts", "probe"
BIAS = "bias"
_MOST_STUDIES = 1000  # that are read, evenly spread: hundreds of vectors each
_LEAST_STUDIES, _LEAST_OF_A_CLASS = 20, 5  # patients, for a verdict
_FOLDS = 5

EncodeText = Callable[[Sequence[str]], np.ndarray]


@dataclass(frozen=True)
class StudyVectors:
    """The teacher's vectors of s echo studies.

    Attributes:
        study_id: (s,) str.
        read: from a study's place to its vectors, (v, D), each of unit length.
    """

    study_id: np.ndarray
    read: Callable[[int], np.ndarray]


def check_teacher(
    vectors: StudyVectors,
    labels: pa.Table,
    settings: EvaluationSettings,
    encode_text: EncodeText | None,
    sex: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Compares what the teacher reads in echo studies with what was measured in them.

    Args:
        vectors: of the studies.
        labels: pairs.LABELS, of every side of the split: the teacher learned from none of them.
        settings: questions, numbers, limits, bootstrap.
        encode_text: the teacher's text tower: sentences to (sentence, D) of unit length; None where it has none.
        sex: F or M of each patient where it is known.

    Returns:
        Rows of data_contracts.evaluation_details.TEACHER_CHECK; none without a measured study.
    """
    measured = _by_study(labels)
    place = {study: row for row, study in enumerate(vectors.study_id.tolist())}
    listed = sorted({study for study in measured["record_id"].to_pylist() if study in place})
    if not listed:
        return []
    spread = np.unique(np.linspace(0, len(listed) - 1, _MOST_STUDIES).astype(int))
    studies = np.array(listed)[spread]
    owner = dict(zip(measured["record_id"].to_pylist(), measured["patient_id"].to_pylist(), strict=True))
    patients = np.array([owner[study] for study in studies.tolist()])
    numbers = settings.regressions if encode_text is not None else ()
    sentences = [number_sentences(endpoint) for endpoint in numbers]
    encoded = [encode_text(texts) for texts, _ in sentences] if encode_text is not None else []
    means, ranked = [], []
    for study in studies.tolist():
        read = vectors.read(place[study]).astype(np.float32)
        means.append(read.mean(axis=0))
        ranked.append(
            [
                float(best_median(values_by_rank(read, prompts, values).mean(axis=0)))
                for prompts, (_, values) in zip(encoded, sentences, strict=True)
            ]
        )
    mean = np.stack(means)
    rows: list[dict[str, Any]] = []
    stated = np.array([sex.get(patient, "") for patient in patients.tolist()])
    for question in settings.endpoints:
        known = label_ecgs(question, measured, studies, stated)
        answers = None if encode_text is None else _prompted(question, mean, encode_text)
        rows += _question_rows(question, known.label, known.known, answers, mean, patients, settings)
    for index, number in enumerate(settings.regressions):
        values = ecg_values(number, measured, studies)
        predicted = np.array([of_study[index] for of_study in ranked]) if encode_text is not None else None
        rows += _number_rows(number, values.value, values.known, predicted, mean, patients, settings)
    return rows


def warnings_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Says in sentences which findings the teacher does not read here; empty where it reads all that can be judged.

    Args:
        rows: of TEACHER_CHECK.
    """
    lines = []
    below = {(row["kind"], row["endpoint"], row["method"]): row for row in rows if row["is_below"]}
    judged = {(row["kind"], row["endpoint"], row["method"]) for row in rows if row["is_below"] is not None}
    for (kind, endpoint, method), row in below.items():
        if method == PROBE and (kind, endpoint, PROMPTS) in judged:
            continue  # said with the prompts
        line = f"the teacher does not read {endpoint} here: {row['metric']} {row['value']:.2f} by its {method} "
        line += f"over {row['studies']:,} studies, below {row['limit']:g}"
        if method == PROMPTS:
            held = (kind, endpoint, PROBE) in judged and (kind, endpoint, PROBE) not in below
            line += "; its vectors hold it: other prompts may do" if held else ""
        lines.append(line)
    return lines


def _by_study(labels: pa.Table) -> pa.Table:
    """Labels of the echo studies that they came from, one a study and measurement; `record_id` is the study."""
    named = labels.filter(labels["study_id"].is_valid())
    studies, kinds = (np.array(named[name].to_pylist(), dtype=np.str_) for name in ("study_id", "measurement"))
    _, first = np.unique(np.stack([studies, kinds], axis=1), axis=0, return_index=True)
    named = named.take(np.sort(first)).drop_columns(["record_id"])
    return named.rename_columns({"study_id": "record_id"})


def _prompted(question: Endpoint, mean: np.ndarray, encode_text: EncodeText) -> np.ndarray:
    """Mean cosine of a study's vectors with the prompts for label 1, less that with those for label 0: (s,)."""
    sides = (encode_text(list(prompts)) for prompts in (question.positive_prompts, question.negative_prompts))
    positive, negative = (mean @ prompts.mean(axis=0) for prompts in sides)
    return np.asarray(positive - negative, dtype=np.float64)


def _by_method(
    prompted: np.ndarray | None,
    known: np.ndarray,
    mean: np.ndarray,
    target: np.ndarray,
    owners: np.ndarray,
    settings: EvaluationSettings,
) -> dict[str, np.ndarray]:
    """What each method reads in the measured studies: by prompts, and by a probe where there are two patients.

    The probe is ridge regression on the mean vectors; each study is predicted without its patient.
    """
    read = {} if prompted is None else {PROMPTS: prompted[known]}
    if (patients := len(np.unique(owners))) > 1:
        folds = GroupKFold(min(_FOLDS, patients))
        model = make_pipeline(StandardScaler(), RidgeCV(settings.ridge))
        predicted = cross_val_predict(model, mean[known].astype(np.float64), target, groups=owners, cv=folds)
        read[PROBE] = np.asarray(predicted)
    return read


def _question_rows(
    question: Endpoint,
    label: np.ndarray,
    known: np.ndarray,
    prompted: np.ndarray | None,
    mean: np.ndarray,
    patients: np.ndarray,
    settings: EvaluationSettings,
) -> Iterator[dict[str, Any]]:
    label, owners = label[known], patients[known]
    if len(np.unique(label)) < 2:
        return
    group = bootstrap.Patients.from_names(owners)
    scores = _by_method(prompted, known, mean, label.astype(np.float64), owners, settings)
    enough = min(group.count_among(label == value) for value in (0, 1)) >= _LEAST_OF_A_CLASS
    for method, score in scores.items():
        metrics = classification.binary_metrics(label, score, label, group)
        wanted = {classification.AUROC: metrics[classification.AUROC]}
        first = {"kind": QUESTION, "endpoint": question.name, "method": method, "positives": int(label.sum())}
        yield from _rows(first, wanted, group, enough, settings.teacher_least_auroc, settings)


def _number_rows(
    number: RegressionEndpoint,
    value: np.ndarray,
    known: np.ndarray,
    prompted: np.ndarray | None,
    mean: np.ndarray,
    patients: np.ndarray,
    settings: EvaluationSettings,
) -> Iterator[dict[str, Any]]:
    measured, owners = value[known], patients[known]
    if not len(measured):
        return
    group = bootstrap.Patients.from_names(owners)
    for method, values in _by_method(prompted, known, mean, measured, owners, settings).items():
        metrics = classification.regression_metrics(measured, values, group)
        wanted = {
            classification.PEARSON: metrics[classification.PEARSON],
            classification.MAE: metrics[classification.MAE],
            BIAS: classification.mean_metric(values - measured, group),
        }
        first = {"kind": NUMBER, "endpoint": number.name, "method": method, "positives": None}
        yield from _rows(first, wanted, group, True, settings.teacher_least_correlation, settings)


def _rows(
    first: dict[str, Any],
    metrics: Mapping[str, bootstrap.Metric],
    patients: bootstrap.Patients,
    enough: bool,
    limit: float,
    settings: EvaluationSettings,
) -> Iterator[dict[str, Any]]:
    """Rows of one finding and method; the limit is that of the first metric."""
    estimates = bootstrap.estimate_metrics(metrics, patients, settings.bootstrap_draws, settings.seed)
    sizes = {"studies": len(patients.owner), "patients": patients.count}
    is_judged = enough and patients.count >= _LEAST_STUDIES
    for index, (metric, estimate) in enumerate(estimates.items()):
        has_verdict = is_judged and index == 0 and estimate.value is not None
        yield (
            first
            | sizes
            | asdict(estimate)
            | {
                "metric": metric,
                "limit": limit if index == 0 else None,
                "is_below": estimate.value is not None and estimate.value < limit if has_verdict else None,
            }
        )
