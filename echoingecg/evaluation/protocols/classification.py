"""Yes/no questions: one endpoint through every protocol, with scores, threshold, decisions and rows of the tables."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Self

import numpy as np

from echoingecg.evaluation.data import names
from echoingecg.evaluation.data.inputs import EvaluationInputs, EvaluationPairs
from echoingecg.evaluation.data.models import LinearScore, Models
from echoingecg.evaluation.decision import calibration, reading_card, threshold_and_referral
from echoingecg.evaluation.metrics.selective import subgroup_levels
from echoingecg.evaluation.protocols import labels, zero_shot_and_probe
from echoingecg.recipe import Endpoint, EvaluationSettings
from echoingecg.recipe.evaluation import TuningMethod

SHOWN_PROTOCOLS = (names.ZERO_SHOT, names.ZERO_SHOT_TEACHER, names.LINEAR_PROBE)


class Attempt(NamedTuple):
    """Scores of a protocol for the n labelled ECGs, or the reason why there are none.

    Attributes:
        protocol: name in the tables.
        score: (n,) float64, or Skipped.
        linear_score: gives the scores from the mean embedding of the student under test; None where none does.
        steepness: by how much the score's log-odds change at most when the features move by 1.
    """

    protocol: str
    score: np.ndarray | names.Skipped
    linear_score: LinearScore | None = None
    steepness: float = 1.0

    @classmethod
    def from_linear_score(
        cls, protocol: str, score: LinearScore | names.Skipped, features: np.ndarray, own: bool
    ) -> Self:
        """Scores of features (n, f); `own`: they are the mean embedding of the student under test."""
        if isinstance(score, names.Skipped):
            return cls(protocol, score)
        return cls(protocol, score.scores(features), score if own else None, score.steepness)


@dataclass(frozen=True)
class ProtocolResult:
    """Scores of one protocol, for all splits.

    Attributes:
        protocol, linear_score, steepness: those of its Attempt.
        score: (n,) float64.
        threshold, choices: chosen on the validation split.
    """

    protocol: str
    linear_score: LinearScore | None
    steepness: float
    score: np.ndarray
    threshold: threshold_and_referral.Threshold
    choices: reading_card.ValidationChoices

    @property
    def decision(self) -> np.ndarray:
        """Decision for each ECG, (n,) int8."""
        return threshold_and_referral.decide(self.choices.referral, self.score)

    def is_answered(self, uncertainty: np.ndarray) -> np.ndarray:
        """Whether each ECG, of the uncertainty (n,), is answered and not referred to echo: (n,) bool."""
        return threshold_and_referral.is_answered(self.choices.referral, self.score, uncertainty, self.steepness)


@dataclass(frozen=True)
class EndpointResult:
    """One endpoint: n labelled ECGs, each labelled by its nearest labelled study.

    Attributes:
        endpoint: the question.
        studies: labels of the paired studies, and what was left out.
        record_id, patient_id, split: (n,) str.
        label: (n,) int8, 0 or 1.
        uncertainty: (n,) float64, mean over dimensions of the ECG's log-variance.
        protocols: results of the protocols that ran.
        skipped: reason for each protocol that did not run.
        few_shot: results by model.
    """

    endpoint: Endpoint
    studies: labels.StudyLabels
    record_id: np.ndarray
    patient_id: np.ndarray
    split: np.ndarray
    label: np.ndarray
    uncertainty: np.ndarray
    protocols: tuple[ProtocolResult, ...]
    skipped: dict[str, str]
    few_shot: dict[str, list[zero_shot_and_probe.FewShot]]

    @property
    def test(self) -> np.ndarray:
        """Whether each ECG is in the test split, (n,) bool."""
        return self.split == "test"


def evaluate_endpoint(
    endpoint: Endpoint, inputs: EvaluationInputs, pairs: EvaluationPairs, models: Models, settings: EvaluationSettings
) -> EndpointResult:
    """Labels the ECGs, scores them by every protocol, and decides. Test labels are measured on, never learned from.

    Args:
        endpoint: the question.
        inputs: of the stage.
        pairs: of the same inputs.
        models: what every model makes of the same pairs.
        settings: of all protocols.
    """
    studies = labels.label_studies(endpoint, inputs.labels, pairs.study_id, _sex(inputs, pairs))
    record, study = pairs.labelled_ecgs(studies.known)
    label, split, patient = studies.label[study], pairs.split[record], pairs.patient_id[record]
    attempts = list(_attempts(endpoint, inputs, pairs, models, settings, record, label))
    uncertainty = models.ecgs.uncertainty[record]
    validation = split == "validation"
    known = label[validation], patient[validation], uncertainty[validation]
    results = []
    for protocol, score, linear_score, steepness in attempts:
        if isinstance(score, names.Skipped):
            continue
        threshold = threshold_and_referral.choose_threshold(known[0], score[validation])
        choices = reading_card.choose_on_validation(known[0], score[validation], *known[1:], threshold.value, settings)
        results.append(ProtocolResult(protocol, linear_score, steepness, score, threshold, choices))
    return EndpointResult(
        endpoint=endpoint,
        studies=studies,
        record_id=pairs.record_id[record],
        patient_id=patient,
        split=split,
        label=label,
        uncertainty=uncertainty,
        protocols=tuple(results),
        skipped={protocol: score.reason for protocol, score, *_ in attempts if isinstance(score, names.Skipped)},
        few_shot={
            model: zero_shot_and_probe.few_shot(
                features[record], label, patient, split, settings.few_shot, settings.seed
            )
            for model, features in models.features.items()
        },
    )


def _sex(inputs: EvaluationInputs, pairs: EvaluationPairs) -> np.ndarray:
    """Sex of each study's patient, (s,) str: F, M, or empty where it is not known."""
    stated = subgroup_levels(pairs.record_id, inputs.subgroups, inputs.records, ()).get("sex")
    sex = {} if stated is None else labels.sex_of_patients(pairs.patient_id, stated)
    of_study = np.array([""] * len(pairs.study_id), dtype="<U1")
    of_study[pairs.study] = [sex.get(name, "") for name in pairs.patient_id[pairs.record].tolist()]
    return of_study


def _attempts(
    endpoint: Endpoint, inputs: EvaluationInputs, pairs: EvaluationPairs, models: Models, settings: EvaluationSettings,
    record: np.ndarray, label: np.ndarray,
) -> Iterator[Attempt]:  # fmt: skip
    """Attempts of all protocols, in the order of the tables."""
    split = pairs.split[record]
    for protocol, space in models.prompted(names.ZERO_SHOT):
        if isinstance(space, names.Skipped):
            yield Attempt(protocol, space)
            continue
        positive, negative = space.encode_text(endpoint.positive_prompts), space.encode_text(endpoint.negative_prompts)
        zero_shot = zero_shot_and_probe.zero_shot_linear_score(positive, negative, space.scale)
        yield Attempt.from_linear_score(protocol, zero_shot, space.ecgs.mean[record], space.ecgs is models.ecgs)
    for model, features in models.features.items():
        probe = zero_shot_and_probe.fit_linear_probe(features[record], label, split == "train", settings.probe_c)
        yield Attempt.from_linear_score(
            names.at_model(names.LINEAR_PROBE, model), probe, features[record], model == names.STUDENT
        )
    for method in settings.tuning.methods:
        yield Attempt(method, _tuned(method, inputs, pairs.signal_row[record], label, split, settings))
    measured = models.measurements[record]
    probe = zero_shot_and_probe.fit_linear_probe(measured, label, split == "train", settings.probe_c)
    yield Attempt.from_linear_score(names.ECG_MEASUREMENTS, probe, measured, own=False)


def _tuned(
    method: TuningMethod, inputs: EvaluationInputs, row: np.ndarray, label: np.ndarray, split: np.ndarray,
    settings: EvaluationSettings,
) -> np.ndarray | names.Skipped:  # fmt: skip
    for side in ("train", "validation"):
        if len(np.unique(label[split == side])) < 2:
            return names.Skipped(f"the {side} split lacks a class, so nothing can be learned or stopped")

    def read(chosen: np.ndarray) -> np.ndarray:
        return inputs.signals.read(row[chosen])

    return inputs.student.classify(method, read, label, split, settings.tuning, settings.seed)


def prediction_columns(result: EndpointResult, protocol: ProtocolResult) -> dict[str, Any]:
    """Columns of evaluation.PREDICTIONS."""
    return {
        "endpoint": [result.endpoint.name] * len(result.label),
        "protocol": [protocol.protocol] * len(result.label),
        "record_id": result.record_id,
        "patient_id": result.patient_id,
        "split": result.split,
        "label": result.label,
        "score": protocol.score,
        "decision": protocol.decision,
        "uncertainty": result.uncertainty,
    }


def answer_columns(result: EndpointResult, protocol: ProtocolResult) -> dict[str, Any]:
    """Columns of evaluation.ANSWERS: what prediction gives for the same ECGs."""
    return {
        "endpoint": [result.endpoint.name] * len(result.label),
        "protocol": [protocol.protocol] * len(result.label),
        "record_id": result.record_id,
        "split": result.split,
        "probability": calibration.calibrate(protocol.choices.calibration, protocol.score),
        "advice": threshold_and_referral.advice(protocol.is_answered(result.uncertainty)),
    }


def few_shot_rows(result: EndpointResult) -> Iterator[dict[str, Any]]:
    """Rows of evaluation.FEW_SHOT, without the number of draws."""
    label = result.label[result.test]
    for model, results in result.few_shot.items():
        for entry in results:
            yield {
                "endpoint": result.endpoint.name,
                "model": model,
                **asdict(entry),
                "records": len(label),
                "positives": int(label.sum()),
            }
