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
from echoingecg.evaluation.data.inputs import RANKED, RIDGE, TEACHER
from echoingecg.evaluation.protocols import classification, retrieval
from echoingecg.evaluation.report import figures, run_figures
from echoingecg.evaluation.report.results import Answered, EvaluationResults, probability_text, protocol_name

Row = TypeVar("Row")
_OF_EACH = 2
_DPI = 96  # a page 1,020 pixels wide, 100 to 200 kB
_NUMBERS = (RANKED, RANKED + TEACHER, RIDGE)  # as DRAWN for questions
_YES = {1: "yes", 0: "no"}


@dataclass(frozen=True)
class Answer:
    """One question of one ECG: `echo` is the truth, `student` a line a protocol."""

    question: str
    echo: str
    student: tuple[str, ...]


@dataclass(frozen=True)
class Strip:
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


def strips(results: EvaluationResults) -> list[Strip]:
    """Two test ECGs of the lowest and two of the highest mean log-variance, fewer where there are not four."""
    rows = results.rows(UNCERTAINTY, split="test")
    rows.sort(key=lambda row: (row["mean_log_var"], row["record_id"]))
    chosen = ends(rows)
    pages = results.provenance["pages"]([row["record_id"] for _, row in chosen])
    return [
        Strip(
            says=says,
            record_id=row["record_id"],
            uncertainty=row["mean_log_var"],
            png=draw([replace(page, heading=f"{says}: {row['record_id']}", note=_note(page.heading, page.note))], _DPI),
            answers=(*_answers(results, row["record_id"]), *_numbers(results, row["record_id"])),
        )
        for (says, row), page in zip(chosen, pages, strict=True)
    ]


def ends(rows: Sequence[Row]) -> list[tuple[str, Row]]:
    """The first and the last two, from the most certain to the least, in words; none twice."""
    low, high = min(_OF_EACH, (len(rows) + 1) // 2), min(_OF_EACH, len(rows) // 2)
    found = [("Most certain" if at == 0 else "Second most certain", rows[at]) for at in range(low)]
    return found + [("Least certain" if at == 1 else "Second least certain", rows[-at]) for at in range(high, 0, -1)]


def _note(says: str, findings: str) -> str:
    return f"{says}; quality: {findings}"


def _answers(results: EvaluationResults, record_id: str) -> Iterator[Answer]:
    rows = [row for row in results.rows(PREDICTIONS, record_id=record_id) if row["protocol"] in classification.DRAWN]
    for endpoint in results.settings.endpoints:
        of = [row for row in rows if row["endpoint"] == endpoint.name]
        if of:
            student = (
                f"{protocol_name(row['protocol'])}: {_YES[row['decision']]}, score {probability_text(row['score'])}"
                + ("" if row["decision"] == row["label"] else " – wrong")
                for row in of
            )
            yield Answer(endpoint.name, _YES[of[0]["label"]], tuple(student))


def _numbers(results: EvaluationResults, record_id: str) -> Iterator[Answer]:
    rows = results.rows(REGRESSIONS, record_id=record_id)
    for number in results.settings.regressions:
        of = [row for row in rows if row["endpoint"] == number.name and row["protocol"] in _NUMBERS]
        if of:
            student = (f"{protocol_name(row['protocol'])}: {row['predicted']:.1f} {number.unit}".rstrip() for row in of)
            yield Answer(number.name, f"{of[0]['measured']:.1f} {number.unit}".rstrip(), tuple(student))


STRIPS = "strips"
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
        yield "roc", suffix, f"ROC curves for {name}", figures.roc(of, groups)
        yield "halves", suffix, f"Balanced accuracy by certainty for {name}", figures.uncertainty_halves(of, groups)
        yield "scores", suffix, f"Distribution of scores for {name}", figures.score_distribution(of)
        yield "errors", suffix, f"Error rate by predicted variance for {name}", figures.error_against_variance(of)
        yield "risk", suffix, f"Error rate among the ECGs kept for {name}", figures.risk_coverage(name, points)
        yield "reliability", suffix, f"Predicted against true share for {name}", figures.reliability(name, bins)


def _of_the_run(results: EvaluationResults) -> Iterator[Drawing]:
    if results.cohort["test"]["ecgs"]:
        histogram = run_figures.uncertainty_histogram(results.tables[UNCERTAINTY.name])
        yield "uncertainty", "", "Histogram of the uncertainty of every ECG", histogram
    if rows := results.rows(EMBEDDING_MAP):
        of: Answered | None = next(iter(results.answered), None)
        yield "map", "", "Test ECGs and echo studies on a plane", run_figures.embedding_map(rows, of)
    if rows := results.rows(RETRIEVAL, direction=retrieval.ECG_TO_ECHO):
        yield "retrieval", "", "Recall from ECG to echo study against chance", run_figures.retrieval_recall(rows)
    if results.provenance["history"].num_rows:
        yield (
            "training",
            "",
            "Training history of the student",
            run_figures.training_history(results.provenance["history"]),
        )
    found = run_figures.lanes(results)
    whole, paired = (
        [one for one in found if (one.name in (run_figures.ECGS, run_figures.ECHOES)) is own] for own in (True, False)
    )
    for suffix, says, some in (("", "What is left from the export to the answers", whole),
                               ("-pairs", "Rows left after each filter of the pairs", paired)):  # fmt: skip
        if some:
            yield "flow", suffix, says, run_figures.data_flow(some)
