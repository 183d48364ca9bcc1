"""Example ECGs of the report: the most and the least certain test ECGs, with the student's and the echo's answers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from data_contracts.evaluation import PREDICTIONS, REGRESSIONS
from data_contracts.evaluation_details import UNCERTAINTY
from echoingecg.ecg.plot import draw
from echoingecg.evaluation.data import names
from echoingecg.evaluation.protocols import classification
from echoingecg.evaluation.report import wording
from echoingecg.evaluation.report.results import EvaluationResults

Row = TypeVar("Row")
_EXAMPLES_AT_EACH_END = 2
_DPI = 96  # a page 1,020 pixels wide, 100 to 200 kB
_NUMBERS = (
    names.RANKED,
    names.RANKED + names.TEACHER,
    names.RIDGE,
)  # of the numbers, as SHOWN_PROTOCOLS of the questions
_YES = {1: "yes", 0: "no"}


@dataclass(frozen=True)
class Answer:
    """Answers to one question about one ECG: `echo` is the truth, `student` has one line for each protocol."""

    question: str
    echo: str
    student: tuple[str, ...]


@dataclass(frozen=True)
class ExampleEcg:
    """One test ECG, drawn.

    Attributes:
        title: for example `Most certain`.
        record_id: keyed pseudonym.
        uncertainty: mean log-variance.
        png: the 12 leads.
        answers: to the questions and numbers for which the ECG has a label.
    """

    title: str
    record_id: str
    uncertainty: float
    png: bytes
    answers: tuple[Answer, ...]


def draw_example_ecgs(results: EvaluationResults) -> list[ExampleEcg]:
    """Draws the two test ECGs of lowest and the two of highest mean log-variance; fewer when there are not four."""
    rows = results.rows(UNCERTAINTY, split="test")
    rows.sort(key=lambda row: (row["mean_log_var"], row["record_id"]))
    chosen = most_and_least_certain(rows)
    pages = results.provenance["pages"]([row["record_id"] for _, row in chosen])
    return [
        ExampleEcg(
            title=title,
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
    """The first two and the last two rows with their titles, from the most to the least certain; no row twice."""
    low, high = min(_EXAMPLES_AT_EACH_END, (len(rows) + 1) // 2), min(_EXAMPLES_AT_EACH_END, len(rows) // 2)
    chosen = [("Most certain" if rank == 0 else "Second most certain", rows[rank]) for rank in range(low)]
    return chosen + [
        ("Least certain" if rank == 1 else "Second least certain", rows[-rank]) for rank in range(high, 0, -1)
    ]


def _note(heading: str, findings: str) -> str:
    return f"{heading}; quality: {findings}"


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
                f"{wording.protocol_name(row['protocol'])}: {_YES[row['decision']]}, "
                f"score {wording.probability_text(row['score'])}"
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
                f"{wording.protocol_name(row['protocol'])}: {row['predicted']:.1f} {number.unit}".rstrip()
                for row in number_rows
            )
            yield Answer(number.name, f"{number_rows[0]['measured']:.1f} {number.unit}".rstrip(), tuple(student))
