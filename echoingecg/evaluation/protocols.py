"""One endpoint through every protocol: scores, threshold, decisions, and the rows of the tables."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from echoingecg.evaluation.endpoints import StudyLabels, label_studies
from echoingecg.evaluation.few_shot import FewShot, few_shot
from echoingecg.evaluation.inputs import EvaluationInputs, EvaluationPairs
from echoingecg.evaluation.linear_probe import linear_probe_scores
from echoingecg.evaluation.metrics import estimate
from echoingecg.evaluation.models import Models
from echoingecg.evaluation.names import ECG_MEASUREMENTS, LINEAR_PROBE, ZERO_SHOT, ZERO_SHOT_TEACHER, at_model
from echoingecg.evaluation.skipped import Skipped
from echoingecg.evaluation.thresholds import Threshold, choose_threshold
from echoingecg.evaluation.uncertainty import groups
from echoingecg.evaluation.zero_shot import zero_shot_scores
from echoingecg.recipe import Endpoint, EvaluationSettings
from echoingecg.recipe.evaluation import TuningMethod

DRAWN: Final = (ZERO_SHOT, ZERO_SHOT_TEACHER, LINEAR_PROBE)


@dataclass(frozen=True)
class ProtocolResult:
    """Scores (n,) float64 and decisions (n,) int8 of one protocol, for all splits."""

    protocol: str
    score: np.ndarray
    decision: np.ndarray
    threshold: Threshold


@dataclass(frozen=True)
class EndpointResult:
    """One endpoint: n labelled ECGs, each labelled by its nearest labelled study.

    Attributes:
        endpoint: the question.
        studies: labels of the paired studies, and what was left out.
        record_id, patient_id, split: (n,) str.
        label: (n,) int8, 0 or 1.
        uncertainty: (n,) float64, mean over dimensions of the ECG's log-variance.
        protocols: those that ran.
        skipped: reason by protocol that did not.
        few_shot: by model.
    """

    endpoint: Endpoint
    studies: StudyLabels
    record_id: np.ndarray
    patient_id: np.ndarray
    split: np.ndarray
    label: np.ndarray
    uncertainty: np.ndarray
    protocols: tuple[ProtocolResult, ...]
    skipped: dict[str, str]
    few_shot: dict[str, list[FewShot]]

    @property
    def test(self) -> np.ndarray:
        """(n,) bool."""
        return self.split == "test"

    @property
    def drawn(self) -> tuple[ProtocolResult, ...]:
        """The protocols that figures show."""
        return tuple(of for of in self.protocols if of.protocol in DRAWN)


def evaluate_endpoint(
    endpoint: Endpoint, inputs: EvaluationInputs, pairs: EvaluationPairs, models: Models, settings: EvaluationSettings
) -> EndpointResult:
    """Labels, scores and decides. Test labels are stored and measured on, never learned from.

    Args:
        endpoint: the question.
        inputs: of the stage.
        pairs: of the same inputs.
        models: of the same pairs.
        settings: of all protocols.
    """
    studies = label_studies(endpoint, inputs.labels, pairs.study_id)
    record, study = pairs.cases(studies.known)
    label, split, patient = studies.label[study], pairs.split[record], pairs.patient_id[record]
    attempts = dict(_attempts(endpoint, inputs, pairs, models, settings, record, label))
    validation = split == "validation"
    results = []
    for protocol, score in attempts.items():
        if isinstance(score, Skipped):
            continue
        threshold = choose_threshold(label[validation], score[validation])
        decision = (score >= threshold.value).astype(np.int8)
        results.append(ProtocolResult(protocol, score, decision, threshold))
    return EndpointResult(
        endpoint=endpoint,
        studies=studies,
        record_id=pairs.record_id[record],
        patient_id=patient,
        split=split,
        label=label,
        uncertainty=models.ecgs.uncertainty[record],
        protocols=tuple(results),
        skipped={protocol: score.reason for protocol, score in attempts.items() if isinstance(score, Skipped)},
        few_shot={
            model: few_shot(features[record], label, patient, split, settings.few_shot, settings.seed)
            for model, features in models.features.items()
        },
    )


def _attempts(
    endpoint: Endpoint, inputs: EvaluationInputs, pairs: EvaluationPairs, models: Models, settings: EvaluationSettings,
    record: np.ndarray, label: np.ndarray,
) -> Iterator[tuple[str, np.ndarray | Skipped]]:  # fmt: skip
    """Scores of the labelled ECGs by protocol, in the order of the tables."""
    split = pairs.split[record]
    for protocol, space in models.prompted(ZERO_SHOT):
        if isinstance(space, Skipped):
            yield protocol, space
            continue
        positive, negative = space.words(endpoint.positive_prompts), space.words(endpoint.negative_prompts)
        yield protocol, zero_shot_scores(space.ecgs[record], positive, negative, space.scale)
    for model, features in models.features.items():
        probed = linear_probe_scores(features[record], label, split == "train", settings.probe_c)
        yield at_model(LINEAR_PROBE, model), probed
    for method in settings.tuning.methods:
        yield method, _tuned(method, inputs, pairs.signal_row[record], label, split, settings)
    yield ECG_MEASUREMENTS, linear_probe_scores(models.measurements[record], label, split == "train", settings.probe_c)


def _tuned(
    method: TuningMethod, inputs: EvaluationInputs, row: np.ndarray, label: np.ndarray, split: np.ndarray,
    settings: EvaluationSettings,
) -> np.ndarray | Skipped:  # fmt: skip
    for side in ("train", "validation"):
        if len(np.unique(label[split == side])) < 2:
            return Skipped(f"the {side} split lacks a class, so nothing can be learned or stopped")

    def read(chosen: np.ndarray) -> np.ndarray:
        return inputs.signals.read(row[chosen])

    return inputs.student.classify(method, read, label, split, settings.tuning, settings.seed)


def prediction_columns(result: EndpointResult, of: ProtocolResult) -> dict[str, Any]:
    """Columns of evaluation.PREDICTIONS."""
    return {
        "endpoint": [result.endpoint.name] * len(result.label),
        "protocol": [of.protocol] * len(result.label),
        "record_id": result.record_id,
        "patient_id": result.patient_id,
        "split": result.split,
        "label": result.label,
        "score": of.score,
        "decision": of.decision,
        "uncertainty": result.uncertainty,
    }


def few_shot_rows(result: EndpointResult) -> Iterator[dict[str, Any]]:
    """Rows of evaluation.FEW_SHOT but for the number of draws."""
    label = result.label[result.test]
    for model, found in result.few_shot.items():
        for one in found:
            yield {
                "endpoint": result.endpoint.name,
                "model": model,
                **asdict(one),
                "records": len(label),
                "positives": int(label.sum()),
            }


def metric_rows(result: EndpointResult, settings: EvaluationSettings) -> Iterator[dict[str, Any]]:
    """Rows of evaluation.METRICS: the test split alone, as a whole and by halves of uncertainty."""
    at = np.flatnonzero(result.test)
    for of in result.protocols:
        for group, members in groups(result.uncertainty[at]).items():
            chosen = at[members]
            label, patient = result.label[chosen], result.patient_id[chosen]
            estimates = estimate(
                label, of.score[chosen], of.decision[chosen], patient, settings.bootstrap_draws, settings.seed
            )
            for metric, found in estimates.items():
                yield {
                    "endpoint": result.endpoint.name,
                    "protocol": of.protocol,
                    "group": group,
                    "metric": metric,
                    "value": found.value,
                    "low": found.low,
                    "high": found.high,
                    "patients": len(np.unique(patient)),
                    "records": len(chosen),
                    "positives": int(label.sum()),
                }
