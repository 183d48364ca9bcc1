"""The most and the least certain test ECGs, drawn, with what the student answered and what echo said."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from data_contracts.evaluation import PREDICTIONS, REGRESSIONS
from data_contracts.evaluation_space import UNCERTAINTY
from echoingecg.ecg.plot import draw
from echoingecg.evaluation.names import RANKED, RIDGE, TEACHER
from echoingecg.evaluation.protocols.classification import DRAWN
from echoingecg.evaluation.report.results import EvaluationResults
from echoingecg.evaluation.words import probability_text, protocol_name

Row = TypeVar("Row")
_OF_EACH: Final = 2
_DPI: Final = 96  # a page 1,020 pixels wide, 100 to 200 kB
_NUMBERS: Final = (RANKED, RANKED + TEACHER, RIDGE)  # as DRAWN for questions
_YES: Final = {1: "yes", 0: "no"}


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
            png=draw([replace(page, says=f"{says}: {row['record_id']}", note=_note(page.says, page.note))], _DPI),
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
    rows = [row for row in results.rows(PREDICTIONS, record_id=record_id) if row["protocol"] in DRAWN]
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
