"""One endpoint through every protocol: scores, threshold, decisions, and the rows of both tables."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from echoingecg.evaluation.embedding import embed_prompts
from echoingecg.evaluation.endpoints import NO_LABEL, StudyLabels, label_studies
from echoingecg.evaluation.gaussians import Gaussians
from echoingecg.evaluation.inputs import EvaluationInputs, EvaluationPairs
from echoingecg.evaluation.line import Line
from echoingecg.evaluation.linear_probe import Skipped, linear_probe_line
from echoingecg.evaluation.metrics import estimate
from echoingecg.evaluation.thresholds import Threshold, choose_threshold
from echoingecg.evaluation.uncertainty import groups
from echoingecg.evaluation.zero_shot import zero_shot_line
from echoingecg.recipe import Endpoint, EvaluationSettings

ZERO_SHOT: Final = "zero_shot"
LINEAR_PROBE: Final = "linear_probe"
PROTOCOLS: Final = (ZERO_SHOT, LINEAR_PROBE)


@dataclass(frozen=True)
class ProtocolResult:
    """Scores (n,) float64 and decisions (n,) int8 of one protocol, for all splits; `line` gives the scores."""

    protocol: str
    line: Line
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

    @property
    def test(self) -> np.ndarray:
        """(n,) bool."""
        return self.split == "test"


def evaluate_endpoint(
    endpoint: Endpoint, inputs: EvaluationInputs, pairs: EvaluationPairs, ecgs: Gaussians, settings: EvaluationSettings
) -> EndpointResult:
    """Labels, scores and decides. Test labels are stored, never used.

    Args:
        endpoint: the question.
        inputs: of the stage.
        pairs: of the same inputs.
        ecgs: embeddings of `pairs.record_id`.
        settings: strength of the probe.
    """
    studies = label_studies(endpoint, inputs.labels, pairs.study_id)
    chosen = pairs.nearest(studies.label[pairs.study] != NO_LABEL)
    record = pairs.record[chosen]
    label, split = studies.label[pairs.study[chosen]], pairs.split[record]
    own = ecgs[record]
    attempts = {
        ZERO_SHOT: zero_shot_line(
            embed_prompts(inputs.student, endpoint.positive_prompts, inputs.dim),
            embed_prompts(inputs.student, endpoint.negative_prompts, inputs.dim),
            inputs.student.scale,
        ),
        LINEAR_PROBE: linear_probe_line(own.mean, label, split == "train", settings.probe_c),
    }
    validation = split == "validation"
    results = []
    for protocol, line in attempts.items():
        if isinstance(line, Skipped):
            continue
        score = line.scores(own.mean)
        threshold = choose_threshold(label[validation], score[validation])
        decision = (score >= threshold.value).astype(np.int8)
        results.append(ProtocolResult(protocol, line, score, decision, threshold))
    return EndpointResult(
        endpoint=endpoint,
        studies=studies,
        record_id=pairs.record_id[record],
        patient_id=pairs.patient_id[record],
        split=split,
        label=label,
        uncertainty=own.uncertainty,
        protocols=tuple(results),
        skipped={protocol: line.reason for protocol, line in attempts.items() if isinstance(line, Skipped)},
    )


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
