"""One endpoint through every protocol: scores, threshold, decisions, and the rows of the tables."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Self

import numpy as np

from echoingecg.evaluation.data.inputs import (
    ECG_MEASUREMENTS,
    LINEAR_PROBE,
    STUDENT,
    ZERO_SHOT,
    ZERO_SHOT_TEACHER,
    EvaluationInputs,
    EvaluationPairs,
    Skipped,
    at_model,
)
from echoingecg.evaluation.data.models import Line, Models
from echoingecg.evaluation.decision import calibration, reading_card, threshold_and_referral
from echoingecg.evaluation.metrics.selective import strata_of
from echoingecg.evaluation.protocols.labels import StudyLabels, label_studies, sex_of_patients
from echoingecg.evaluation.protocols.zero_shot_and_probe import FewShot, few_shot, linear_probe_line, zero_shot_line
from echoingecg.recipe import Endpoint, EvaluationSettings
from echoingecg.recipe.evaluation import TuningMethod

DRAWN = (ZERO_SHOT, ZERO_SHOT_TEACHER, LINEAR_PROBE)


class Attempt(NamedTuple):
    """What a protocol makes of the n labelled ECGs.

    Attributes:
        protocol: name in the tables.
        score: (n,) float64, or why there is none.
        line: gives the scores from the mean embedding of the student under test, where one does.
        steepness: by how much the score's log-odds change at most when the features move by 1.
    """

    protocol: str
    score: np.ndarray | Skipped
    line: Line | None = None
    steepness: float = 1.0

    @classmethod
    def of(cls, protocol: str, line: Line | Skipped, features: np.ndarray, own: bool) -> Self:
        """Scores by a line in features (n, f); `own`: they are the mean embedding of the student under test."""
        if isinstance(line, Skipped):
            return cls(protocol, line)
        return cls(protocol, line.scores(features), line if own else None, line.steepness)


@dataclass(frozen=True)
class ProtocolResult:
    """Scores (n,) float64 of one protocol, for all splits.

    `line` and `steepness` are those of its Attempt; the rest is chosen on validation.
    """

    protocol: str
    line: Line | None
    steepness: float
    score: np.ndarray
    threshold: threshold_and_referral.Threshold
    rules: reading_card.Rules

    @property
    def decision(self) -> np.ndarray:
        """(n,) int8."""
        return threshold_and_referral.decided(self.rules.referral, self.score)

    def is_answered(self, uncertainty: np.ndarray) -> np.ndarray:
        """Whether each ECG, of the uncertainty (n,), is answered and not referred to echo: (n,) bool."""
        return threshold_and_referral.is_answered(self.rules.referral, self.score, uncertainty, self.steepness)


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
    studies = label_studies(endpoint, inputs.labels, pairs.study_id, _sex(inputs, pairs))
    record, study = pairs.cases(studies.known)
    label, split, patient = studies.label[study], pairs.split[record], pairs.patient_id[record]
    attempts = list(_attempts(endpoint, inputs, pairs, models, settings, record, label))
    uncertainty = models.ecgs.uncertainty[record]
    validation = split == "validation"
    known = label[validation], patient[validation], uncertainty[validation]
    results = []
    for protocol, score, line, steepness in attempts:
        if isinstance(score, Skipped):
            continue
        threshold = threshold_and_referral.choose_threshold(known[0], score[validation])
        rules = reading_card.choose_rules(known[0], score[validation], *known[1:], threshold.value, settings)
        results.append(ProtocolResult(protocol, line, steepness, score, threshold, rules))
    return EndpointResult(
        endpoint=endpoint,
        studies=studies,
        record_id=pairs.record_id[record],
        patient_id=patient,
        split=split,
        label=label,
        uncertainty=uncertainty,
        protocols=tuple(results),
        skipped={protocol: score.reason for protocol, score, *_ in attempts if isinstance(score, Skipped)},
        few_shot={
            model: few_shot(features[record], label, patient, split, settings.few_shot, settings.seed)
            for model, features in models.features.items()
        },
    )


def _sex(inputs: EvaluationInputs, pairs: EvaluationPairs) -> np.ndarray:
    """F or M of each study's patient, (s,) str; empty where it is not known."""
    stated = strata_of(pairs.record_id, inputs.subgroups, inputs.records, ()).get("sex")
    sex = {} if stated is None else sex_of_patients(pairs.patient_id, stated)
    of_study = np.array([""] * len(pairs.study_id), dtype="<U1")
    of_study[pairs.study] = [sex.get(name, "") for name in pairs.patient_id[pairs.record].tolist()]
    return of_study


def _attempts(
    endpoint: Endpoint, inputs: EvaluationInputs, pairs: EvaluationPairs, models: Models, settings: EvaluationSettings,
    record: np.ndarray, label: np.ndarray,
) -> Iterator[Attempt]:  # fmt: skip
    """In the order of the tables."""
    split = pairs.split[record]
    for protocol, space in models.prompted(ZERO_SHOT):
        if isinstance(space, Skipped):
            yield Attempt(protocol, space)
            continue
        positive, negative = space.words(endpoint.positive_prompts), space.words(endpoint.negative_prompts)
        line = zero_shot_line(positive, negative, space.scale)
        yield Attempt.of(protocol, line, space.ecgs.mean[record], space.ecgs is models.ecgs)
    for model, features in models.features.items():
        probe = linear_probe_line(features[record], label, split == "train", settings.probe_c)
        yield Attempt.of(at_model(LINEAR_PROBE, model), probe, features[record], model == STUDENT)
    for method in settings.tuning.methods:
        yield Attempt(method, _tuned(method, inputs, pairs.signal_row[record], label, split, settings))
    measured = models.measurements[record]
    probe = linear_probe_line(measured, label, split == "train", settings.probe_c)
    yield Attempt.of(ECG_MEASUREMENTS, probe, measured, own=False)


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


def answer_columns(result: EndpointResult, of: ProtocolResult) -> dict[str, Any]:
    """Columns of evaluation.ANSWERS: what reading the same ECGs says."""
    return {
        "endpoint": [result.endpoint.name] * len(result.label),
        "protocol": [of.protocol] * len(result.label),
        "record_id": result.record_id,
        "split": result.split,
        "probability": calibration.calibrate(of.rules.calibration, of.score),
        "advice": threshold_and_referral.advice(of.is_answered(result.uncertainty)),
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
