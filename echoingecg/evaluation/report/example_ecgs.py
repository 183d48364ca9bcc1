"""The most and the least certain test ECGs, drawn, with what the student answered and what echo said.

Which figures a run has, in the order of the report.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from matplotlib.figure import Figure

from data_contracts.evaluation import PREDICTIONS, REGRESSIONS, RELIABILITY, RISK_COVERAGE
from data_contracts.evaluation_details import EMBEDDING_MAP, RETRIEVAL, UNCERTAINTY
from echoingecg.common.figure_style import png, styled
from echoingecg.ecg.plot import draw
from echoingecg.evaluation.data import names
from echoingecg.evaluation.protocols import classification, retrieval
from echoingecg.evaluation.report import figures, run_figures
from echoingecg.evaluation.report.results import EndpointScores, EvaluationResults, probability_text, protocol_name

Row = TypeVar("Row")
_OF_EACH = 2
_DPI = 96  # a page 1,020 pixels wide, 100 to 200 kB
_NUMBERS = (names.RANKED, names.RANKED + names.TEACHER, names.RIDGE)  # as DRAWN for questions
_YES = {1: "yes", 0: "no"}


@dataclass(frozen=True)
class Answer:
    """One question of one ECG: `echo` is the truth, `student` a line a protocol."""

    question: str
    echo: str
    student: tuple[str, ...]


@dataclass(frozen=True)
class ExampleEcg:
    """One test ECG.

    Attributes:
        says: which one it is, in words.
        record_id: keyed pseudonym.
        uncertainty: mean log-variance.
        png: the 12 leads.
        answers: of the questions and numbers that the ECG has a label for.
    """

    says: str
    record_id: str
    uncertainty: float
    png: bytes
    answers: tuple[Answer, ...]


def draw_example_ecgs(results: EvaluationResults) -> list[ExampleEcg]:
    """Two test ECGs of the lowest and two of the highest mean log-variance, fewer where there are not four."""
    rows = results.rows(UNCERTAINTY, split="test")
    rows.sort(key=lambda row: (row["mean_log_var"], row["record_id"]))
    chosen = most_and_least_certain(rows)
    pages = results.provenance["pages"]([row["record_id"] for _, row in chosen])
    return [
        ExampleEcg(
            says=title,
            record_id=row["record_id"],
            uncertainty=row["mean_log_var"],
            png=draw(
                [replace(page, heading=f"{title}: {row['record_id']}", note=_note(page.heading, page.note))], _DPI
            ),
            answers=(*_answers(results, row["record_id"]), *_numbers(results, row["record_id"])),
        )
        for (title, row), page in zip(chosen, pages, strict=True)
    ]


def most_and_least_certain(rows: Sequence[Row]) -> list[tuple[str, Row]]:
    """The first and the last two, from the most certain to the least, in words; none twice."""
    low, high = min(_OF_EACH, (len(rows) + 1) // 2), min(_OF_EACH, len(rows) // 2)
    chosen = [("Most certain" if rank == 0 else "Second most certain", rows[rank]) for rank in range(low)]
    return chosen + [
        ("Least certain" if rank == 1 else "Second least certain", rows[-rank]) for rank in range(high, 0, -1)
    ]


def _note(says: str, findings: str) -> str:
    return f"{says}; quality: {findings}"


def _answers(results: EvaluationResults, record_id: str) -> Iterator[Answer]:
    rows = [
        row
        for row in results.rows(PREDICTIONS, record_id=record_id)
        if row["protocol"] in classification.SHOWN_PROTOCOLS
    ]
    for endpoint in results.settings.endpoints:
        endpoint_rows = [row for row in rows if row["endpoint"] == endpoint.name]
        if endpoint_rows:
            student = (
                f"{protocol_name(row['protocol'])}: {_YES[row['decision']]}, score {probability_text(row['score'])}"
                + ("" if row["decision"] == row["label"] else " – wrong")
                for row in endpoint_rows
            )
            yield Answer(endpoint.name, _YES[endpoint_rows[0]["label"]], tuple(student))


def _numbers(results: EvaluationResults, record_id: str) -> Iterator[Answer]:
    rows = results.rows(REGRESSIONS, record_id=record_id)
    for number in results.settings.regressions:
        number_rows = [row for row in rows if row["endpoint"] == number.name and row["protocol"] in _NUMBERS]
        if number_rows:
            student = (
                f"{protocol_name(row['protocol'])}: {row['predicted']:.1f} {number.unit}".rstrip()
                for row in number_rows
            )
            yield Answer(number.name, f"{number_rows[0]['measured']:.1f} {number.unit}".rstrip(), tuple(student))


EXAMPLE_ECGS = "strips"
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


def draw_figures(results: EvaluationResults, examples: Sequence[ExampleEcg]) -> list[DrawnFigure]:
    """All figures that the results allow, rendered; the strips last."""
    with styled():
        figures = [
            DrawnFigure(topic, f"{topic}{suffix}.png", alt_text, png(figure))
            for topic, suffix, alt_text, figure in [*_of_endpoints(results), *_of_the_run(results)]
        ]
    for number, example in enumerate(examples, start=1):
        figures.append(
            DrawnFigure(
                EXAMPLE_ECGS,
                f"{EXAMPLE_ECGS}-{number}.png",
                f"{example.says} test ECG, 12 leads: {example.record_id}",
                example.png,
            )
        )
    return figures


def _of_endpoints(results: EvaluationResults) -> Iterator[Drawing]:
    """Of the endpoints that there is something to tell apart for."""
    places = {endpoint.name: number for number, endpoint in enumerate(results.settings.endpoints, start=1)}
    groups = results.group_metrics()
    bins, points = results.tables[RELIABILITY.name], results.tables[RISK_COVERAGE.name]
    for scores in results.endpoint_scores:
        if not scores.has_both_classes:
            continue
        name = scores.endpoint
        # The number keeps names apart that differ only in signs which a file name should not hold.
        suffix = f"-{places[name]}-{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')[:40]}".rstrip("-")
        yield "roc", suffix, f"ROC curves for {name}", figures.roc(scores, groups)
        yield "halves", suffix, f"Balanced accuracy by certainty for {name}", figures.uncertainty_halves(scores, groups)
        yield "scores", suffix, f"Distribution of scores for {name}", figures.score_distribution(scores)
        yield "errors", suffix, f"Error rate by predicted variance for {name}", figures.error_against_variance(scores)
        yield "risk", suffix, f"Error rate among the ECGs kept for {name}", figures.risk_coverage(name, points)
        yield "reliability", suffix, f"Predicted against true share for {name}", figures.reliability(name, bins)


def _of_the_run(results: EvaluationResults) -> Iterator[Drawing]:
    if results.cohort["test"]["ecgs"]:
        histogram = run_figures.uncertainty_histogram(results.tables[UNCERTAINTY.name])
        yield "uncertainty", "", "Histogram of the uncertainty of every ECG", histogram
    if rows := results.rows(EMBEDDING_MAP):
        first_endpoint: EndpointScores | None = next(iter(results.endpoint_scores), None)
        yield "map", "", "Test ECGs and echo studies on a plane", run_figures.embedding_map(rows, first_endpoint)
    if rows := results.rows(RETRIEVAL, direction=retrieval.ECG_TO_ECHO):
        yield "retrieval", "", "Recall from ECG to echo study against chance", run_figures.retrieval_recall(rows)
    if results.provenance["history"].num_rows:
        yield (
            "training",
            "",
            "Training history of the student",
            run_figures.training_history(results.provenance["history"]),
        )
    series = run_figures.attrition_series(results)
    whole, paired = (
        [steps for steps in series if (steps.name in (run_figures.ECGS, run_figures.ECHOES)) is own]
        for own in (True, False)
    )
    for suffix, alt_text, chosen in (("", "What is left from the export to the answers", whole),
                               ("-pairs", "Rows left after each filter of the pairs", paired)):  # fmt: skip
        if chosen:
            yield "flow", suffix, alt_text, run_figures.attrition_chart(chosen)
