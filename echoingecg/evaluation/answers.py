"""What one protocol answered on the test split, beside the rules that were chosen before."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from echoingecg.evaluation.gaussians import Gaussians
from echoingecg.evaluation.metrics.selective import threshold_nearness
from echoingecg.evaluation.protocols.classification import EndpointResult
from echoingecg.evaluation.rules import Rules

MEAN_LOG_VAR: Final = "mean_log_var"
SCORE_DISTANCE: Final = "score_distance"


@dataclass(frozen=True)
class Answers:
    """Test ECGs of one endpoint and protocol.

    Attributes:
        endpoint, protocol: names.
        label, score, decision: (n,) of the test ECGs.
        patient: (n,) str.
        doubts: (n,) float64 by name, higher for less certain: summaries of the variance, and minus the distance of
            the score to the threshold.
        levels: (n,) str by stratum.
        rules: chosen on validation.
    """

    endpoint: str
    protocol: str
    label: np.ndarray
    score: np.ndarray
    decision: np.ndarray
    patient: np.ndarray
    doubts: dict[str, np.ndarray]
    levels: dict[str, np.ndarray]
    rules: Rules

    @property
    def name(self) -> dict[str, str]:
        """The columns that every table of results begins with."""
        return {"endpoint": self.endpoint, "protocol": self.protocol}


def summaries(ecgs: Gaussians) -> dict[str, np.ndarray]:
    """Scalars of the predicted variance, (n,) float64 by name."""
    return {
        MEAN_LOG_VAR: ecgs.uncertainty,
        "total_variance": ecgs.total_variance,
        "max_log_var": ecgs.max_log_var,
    }


def answers_of(result: EndpointResult, ecgs: Gaussians, levels: Mapping[str, np.ndarray]) -> Iterator[Answers]:
    """Every protocol that ran.

    Args:
        result: n labelled ECGs of all splits.
        ecgs: their n embeddings.
        levels: (n,) str by stratum.
    """
    test = result.test
    for of in result.protocols:
        score = of.score[test]
        yield Answers(
            endpoint=result.endpoint.name,
            protocol=of.protocol,
            label=result.label[test],
            score=score,
            decision=of.decision[test],
            patient=result.patient_id[test],
            doubts=summaries(ecgs[test]) | {SCORE_DISTANCE: threshold_nearness(score, of.threshold.value)},
            levels={stratum: level[test] for stratum, level in levels.items()},
            rules=of.rules,
        )
