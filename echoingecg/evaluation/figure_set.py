"""Which figures a run has, in the order of the report."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from matplotlib.figure import Figure

from data_contracts.evaluation import RELIABILITY, RISK_COVERAGE
from data_contracts.evaluation_details import EMBEDDING_MAP
from data_contracts.evaluation_space import RETRIEVAL, UNCERTAINTY
from echoingecg.common.figure_style import png, styled
from echoingecg.evaluation.flow import ECGS, ECHOES, lanes
from echoingecg.evaluation.protocols.retrieval import ECG_TO_ECHO
from echoingecg.evaluation.report.all_figures import Strip
from echoingecg.evaluation.report.figures import error_against_variance, roc, score_distribution, uncertainty_halves
from echoingecg.evaluation.report.results import Answered, EvaluationResults
from echoingecg.evaluation.report.run_figures import data_flow, retrieval_recall, training_history
from echoingecg.evaluation.space_figures import embedding_map, uncertainty_histogram
from echoingecg.evaluation.trust_figures import reliability, risk_coverage

STRIPS: Final = "strips"
Drawing = tuple[str, str, str, Figure]  # topic, end of the file name, what is seen, drawing


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


def draw_figures(results: EvaluationResults, drawn: Sequence[Strip]) -> list[DrawnFigure]:
    """All figures that the results allow, rendered; the strips last."""
    with styled():
        found = [
            DrawnFigure(topic, f"{topic}{suffix}.png", says, png(figure))
            for topic, suffix, says, figure in [*_of_endpoints(results), *_of_the_run(results)]
        ]
    for at, strip in enumerate(drawn, start=1):
        found.append(
            DrawnFigure(STRIPS, f"{STRIPS}-{at}.png", f"{strip.says} test ECG, 12 leads: {strip.record_id}", strip.png)
        )
    return found


def _of_endpoints(results: EvaluationResults) -> Iterator[Drawing]:
    """Of the endpoints that there is something to tell apart for."""
    places = {one.name: at for at, one in enumerate(results.settings.endpoints, start=1)}
    groups = results.group_metrics()
    bins, points = results.tables[RELIABILITY.name], results.tables[RISK_COVERAGE.name]
    for of in results.answered:
        if not of.both:
            continue
        name = of.endpoint
        # The number keeps names apart that differ only in signs which a file name should not hold.
        suffix = f"-{places[name]}-{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')[:40]}".rstrip("-")
        yield "roc", suffix, f"ROC curves for {name}", roc(of, groups)
        yield "halves", suffix, f"Balanced accuracy by certainty for {name}", uncertainty_halves(of, groups)
        yield "scores", suffix, f"Distribution of scores for {name}", score_distribution(of)
        yield "errors", suffix, f"Error rate by predicted variance for {name}", error_against_variance(of)
        yield "risk", suffix, f"Error rate among the ECGs kept for {name}", risk_coverage(name, points)
        yield "reliability", suffix, f"Predicted against true share for {name}", reliability(name, bins)


def _of_the_run(results: EvaluationResults) -> Iterator[Drawing]:
    if results.cohort["test"]["ecgs"]:
        histogram = uncertainty_histogram(results.tables[UNCERTAINTY.name])
        yield "uncertainty", "", "Histogram of the uncertainty of every ECG", histogram
    if rows := results.rows(EMBEDDING_MAP):
        of: Answered | None = next(iter(results.answered), None)
        yield "map", "", "Test ECGs and echo studies on a plane", embedding_map(rows, of)
    if rows := results.rows(RETRIEVAL, direction=ECG_TO_ECHO):
        yield "retrieval", "", "Recall from ECG to echo study against chance", retrieval_recall(rows)
    if results.provenance["history"].num_rows:
        yield "training", "", "Training history of the student", training_history(results.provenance["history"])
    found = lanes(results)
    whole, paired = ([one for one in found if (one.name in (ECGS, ECHOES)) is own] for own in (True, False))
    for suffix, says, some in (("", "What is left from the export to the answers", whole),
                               ("-pairs", "Rows left after each filter of the pairs", paired)):  # fmt: skip
        if some:
            yield "flow", suffix, says, data_flow(some)
