"""Which figures a run has, in the order of the report."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from data_contracts.evaluation import RELIABILITY, RISK_COVERAGE
from echoingecg.canvas import png, styled
from echoingecg.evaluation.figures import error_against_variance, roc, score_distribution, uncertainty_halves
from echoingecg.evaluation.results import EvaluationResults
from echoingecg.evaluation.run_figures import dataset_flow, retrieval_recall, training_history
from echoingecg.evaluation.trust_figures import reliability, risk_coverage


@dataclass(frozen=True)
class DrawnFigure:
    """A finished figure.

    Attributes:
        topic: section of the report it belongs to.
        filename: name of the PNG file.
        says: what is seen, for those who cannot see it.
        png: the file's bytes.
    """

    topic: str
    filename: str
    says: str
    png: bytes


def draw_figures(results: EvaluationResults) -> list[DrawnFigure]:
    """All figures that the results allow, rendered."""
    with styled():
        return [
            DrawnFigure(topic, f"{topic}{suffix}.png", says, png(figure))
            for topic, suffix, says, figure in _drawings(results)
        ]


def _drawings(results: EvaluationResults) -> Iterator[tuple[str, str, str, Figure]]:
    groups = results.group_metrics()
    for at, result in enumerate(results.endpoints, start=1):
        if not result.test.any():
            continue
        # The number keeps names apart that differ only in signs which a file name should not hold.
        suffix = f"-{at}-{re.sub('[^a-z0-9]+', '-', result.endpoint.name.lower()).strip('-')[:40]}".rstrip("-")
        name = result.endpoint.name
        if len(np.unique(result.label[result.test])) == 2:
            yield "roc", suffix, f"ROC curves for {name}", roc(result, groups)
            yield "halves", suffix, f"Balanced accuracy by certainty for {name}", uncertainty_halves(result, groups)
        yield "scores", suffix, f"Distribution of scores for {name}", score_distribution(result)
        yield "errors", suffix, f"Error rate by predicted variance for {name}", error_against_variance(result)
        bins, points = results.tables[RELIABILITY.name], results.tables[RISK_COVERAGE.name]
        yield "risk", suffix, f"Error rate among the ECGs kept for {name}", risk_coverage(name, points)
        yield "reliability", suffix, f"Predicted against true share for {name}", reliability(name, bins)
    if results.retrieval is not None:
        yield "retrieval", "", "Recall from ECG to echo study against chance", retrieval_recall(results.retrieval)
    if results.history.num_rows:
        yield "training", "", "Training history of the student", training_history(results.history)
    if results.filters.num_rows:
        yield "flow", "", "Rows left after each filter", dataset_flow(results.filters)
