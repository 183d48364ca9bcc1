"""A published student in use: which one is meant, with a reading card or without, its answers, and a stress test."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from prefect.artifacts import create_table_artifact

from data_contracts import conventions, evaluation, evaluation_details, prediction, quarantine
from echoingecg.common import Progress, StoreError, no_progress
from echoingecg.ecg.decode.recording import NOTHING_STATED, Stated
from echoingecg.prediction import locate
from echoingecg.prediction.files import ReadingCounts, list_ecgs, write_predicted
from echoingecg.recipe import EcgSettings, ExecutionSettings, PromotionSettings
from echoingecg.recipe.evaluation import Endpoint
from tasks.base import workers
from tasks.base.progress import Outcome, Reporter, as_task
from tasks.base.workspace import writing_to
from tasks.pools import PoolSignals
from tasks.store import Artefact, ArtefactStore

if TYPE_CHECKING:
    from echoingecg.prediction.predictor import Predicted, Reader
    from echoingecg.prediction.zero_shot import ZeroShotReader

PRODUCTION = "production"
Result = TypeVar("Result")


@dataclass(frozen=True)
class StudentWithCard:
    """A student, and the evaluation whose reading card says how its answers are decided."""

    student: Artefact
    evaluation: Artefact

    def __str__(self) -> str:
        return f"{self.student}, judged by {self.evaluation}"

    def reader(self) -> "Reader":
        """The student ready to read ECGs, on the CPU; loaded once in a process."""
        return _reader(self.student.folder, self.evaluation.folder)


@dataclass(frozen=True)
class StudentAlone:
    """A student without a reading card, imported or not judged yet, and how its signals are made."""

    student: Artefact
    settings: EcgSettings
    evaluation: None = None
    trained_on: str = conventions.NOT_STATED

    def __str__(self) -> str:
        return f"{self.student}, without a reading card"

    @property
    def note(self) -> str:
        """What the lack of a card means, and how to get one, as a sentence."""
        return (
            f"{self}: zero-shot scores, not calibrated; no limits, no typicality, so every ECG is referred. "
            f"'echoingecg evaluate {self.student} --export EXPORT' makes a card"
        )

    def reader(self) -> "Reader":
        """The student ready to read ECGs, on the CPU; loaded once in a process."""
        return _reader_alone(self.student.folder, self.settings, self.trained_on)


Student = StudentWithCard | StudentAlone


def find_reader(store: ArtefactStore, name: str) -> Student:
    """The student that a name means, with its reading card if it has one.

    Args:
        store: holds it.
        name: as for `find_student`; without any evaluation in the workspace, empty means the only student.

    Raises:
        StoreError: no such artefact, or several evaluations or students to choose from.
        ContractError: this release makes other signals than the student learned from.
    """
    named = store.named(name or PRODUCTION) if name or PRODUCTION in store.aliases() else None
    judged = _with_card(store)
    if named is None and not judged and len(students := store.published("student")) == 1:
        named = students[0]
    if named is None or named.stage != "student" or any(_is_of(evaluation, named) for evaluation in judged):
        model = find_student(store, name)
        check_signals(store, model.student)
        return model
    student = store.get(str(named))
    check_signals(store, student)
    settings = locate.ecg_settings(student.manifest, store.workspace.root)
    return StudentAlone(student, settings, trained_on=store.trained_on(student))


def check_signals(store: ArtefactStore, student: Artefact) -> None:
    """Raises ContractError where this release makes other signals than the student learned from."""
    version = store.lineage(student).get("ecg")
    signals = store.seen("ecg", version) if version else None
    locate.check_signals(str(student), signals.manifest.code_version if signals else None)


def _is_of(evaluation: Artefact, student: Artefact) -> bool:
    return evaluation.manifest.inputs["student"] == student.version


def find_student(store: ArtefactStore, name: str) -> StudentWithCard:
    """The student that a name means, with its evaluation.

    Args:
        store: holds it.
        name: student or evaluation, by STAGE-VERSION or alias. Empty: the alias `production`, or without that alias
            the only evaluation in the workspace.

    Raises:
        StoreError: no such artefact, or no or several evaluations to choose from.
    """
    if name or PRODUCTION in store.aliases():
        named = store.named(name or PRODUCTION)
        evaluations = [named]
        if named.stage != "evaluation":
            evaluations = [item for item in _with_card(store) if _is_of(item, named)]
    else:
        named, evaluations = None, _with_card(store)
    if len(evaluations) != 1:
        what = f"{named} has" if named else f"there is no alias '{PRODUCTION}', and the workspace has"
        names = f": name one of {', '.join(map(str, evaluations))}" if evaluations else ": run the pipeline first"
        raise StoreError(f"{what} {len(evaluations) or 'no'} evaluation{'s' * (len(evaluations) != 1)}{names}")
    evaluation = store.get(str(evaluations[0]))
    version = evaluation.manifest.inputs["student"]
    if (student := store.find("student", version)) is None:
        raise StoreError(f"{evaluation} judged student-{version}, which is not in {store.workspace.root}")
    return StudentWithCard(student, evaluation)


def _with_card(store: ArtefactStore) -> list[Artefact]:
    """Evaluations with a reading card; evaluations of early releases have none."""
    return [item for item in store.published("evaluation") if prediction.FILENAME in item.manifest.files]


@dataclass(frozen=True)
class Comparison:
    """Several students on the test labels that they share.

    Attributes:
        rows: of echoingecg.evaluation.compare.compare_any.
        students: by the name in the rows: student, evaluation, trained_on.
        protocol: of the compared predictions.
    """

    rows: list[dict[str, Any]]
    students: dict[str, dict[str, str]]
    protocol: str

    def page(self, figure: str = "", as_markdown: bool = False) -> str:
        """The page: see echoingecg.evaluation.report.render.render_comparison."""
        from echoingecg.evaluation.report.render import render_comparison

        return render_comparison(self.rows, self.students, self.protocol, figure, as_markdown)

    def figure(self) -> bytes:
        """The drawing, PNG."""
        from echoingecg.evaluation.report.render import draw_comparison

        return draw_comparison(self.rows)


def compare(store: ArtefactStore, names: Sequence[str], rule: PromotionSettings) -> Comparison:
    """Compares two or more students, all with the first, on the test labels that they share.

    Args:
        store: holds them.
        names: students or evaluations, by STAGE-VERSION or alias.
        rule: protocol, draws and seed.

    Raises:
        UserError: no such student, the same one twice, or nothing to compare.
    """
    from echoingecg.evaluation.compare import compare_any  # scikit-learn

    models = {name: find_student(store, name) for name in dict.fromkeys(names)}
    evaluations = [model.evaluation.version for model in models.values()]
    if twice := [name for name, version in zip(models, evaluations, strict=True) if evaluations.count(version) > 1]:
        raise StoreError(f"{' and '.join(twice)} are the same evaluation: name different ones")
    tables = {name: evaluation.PREDICTIONS.read(model.evaluation.folder) for name, model in models.items()}
    about = {
        name: {
            "student": str(model.student),
            "evaluation": str(model.evaluation),
            "trained_on": store.trained_on(model.student),
        }
        for name, model in models.items()
    }
    return Comparison(compare_any(tables, rule), about, rule.protocol)


def predict_files(
    model: Student,
    files: Sequence[str],
    protocol: str = "",
    execution: ExecutionSettings | None = None,
    progress: Progress = no_progress,
    stated: Stated = NOTHING_STATED,
    questions: tuple[Endpoint, ...] = (),
) -> Iterator["Predicted"]:
    """Yields readings and numbers, block by block in the order of the files, in bounded memory.

    Args:
        model: the student.
        files: from echoingecg.prediction.files.
        protocol: empty for the choice of the evaluation's recipe; a student without a card knows zero_shot alone.
        execution: workers; by default threads of this process.
        progress: told the files done.
        stated: what files may lack.
        questions: for a student without a card; a card has its own.

    Raises:
        UserError: no such protocol.
    """
    if isinstance(model, StudentAlone):
        from echoingecg.prediction.zero_shot import check_protocol

        check_protocol(protocol)
        _scorer(model.student.folder, model.settings, model.trained_on, questions)
        score = partial(_score_block, model.student.folder, model.settings, model.trained_on, questions, stated)
        return _by_block(score, files, execution, progress)
    card = model.reader().card  # a fault of the artefacts is found before any worker starts
    protocol = protocol or card.card.answered_by
    card.readings_under(protocol)
    return _by_block(
        partial(_predict_block, model.student.folder, model.evaluation.folder, protocol, stated),
        files,
        execution,
        progress,
    )


def embed_files(model: Student, files: Sequence[str], progress: Progress = no_progress) -> Iterator[pa.Table]:
    """Yields data_contracts.prediction.GAUSSIANS as `predict_files` yields readings."""
    return _by_block(model.reader().embed, files, None, progress)


def _by_block(
    read: Callable[[Sequence[str]], Result],
    files: Sequence[str],
    execution: ExecutionSettings | None,
    progress: Progress,
) -> Iterator[Result]:
    import torch

    from echoingecg.prediction.predictor import FILES_PER_BLOCK

    blocks = [files[start : start + FILES_PER_BLOCK] for start in range(0, len(files), FILES_PER_BLOCK)]
    if len(blocks) > 1:
        torch.set_num_threads(1)  # blocks run side by side, each on one thread
    done = 0
    with workers.mapper(execution or ExecutionSettings(), len(blocks)) as run:
        for block, result in zip(blocks, run(read, blocks), strict=True):
            done += len(block)
            progress(done, len(files))
            yield result


def _predict_block(student: Path, evaluation: Path, protocol: str, stated: Stated, files: Sequence[str]) -> "Predicted":
    return _reader(student, evaluation).predict(files, protocol, stated)


def _score_block(
    student: Path,
    settings: EcgSettings,
    trained_on: str,
    questions: tuple[Endpoint, ...],
    stated: Stated,
    files: Sequence[str],
) -> "Predicted":
    return _scorer(student, settings, trained_on, questions).predict(files, stated=stated)


@lru_cache(maxsize=1)
def _reader(student: Path, evaluation: Path) -> "Reader":
    from echoingecg.prediction.predictor import Reader

    return Reader.load(student, evaluation)


@lru_cache(maxsize=1)
def _reader_alone(student: Path, settings: EcgSettings, trained_on: str) -> "Reader":
    from echoingecg.prediction.predictor import Reader

    return Reader.without_card(student, settings, trained_on)


@lru_cache(maxsize=1)
def _scorer(student: Path, settings: EcgSettings, trained_on: str, questions: tuple[Endpoint, ...]) -> "ZeroShotReader":
    from echoingecg.prediction.zero_shot import ZeroShotReader

    return ZeroShotReader.with_questions(_reader_alone(student, settings, trained_on), questions)


def _predict(
    store: ArtefactStore,
    student: str,
    files: list[str],
    output: Path,
    protocol: str,
    execution: ExecutionSettings,
    questions: tuple[Endpoint, ...],
) -> Outcome:
    """Scores ECG files into a Parquet file, and shows counts in Prefect. Neither names a file."""
    tally = ReadingCounts()
    chosen, ecgs = find_reader(store, student), list_ecgs(files)
    blocks = predict_files(chosen, ecgs, protocol, execution, Reporter("predict"), questions=questions)
    with writing_to(output.parent):
        for _ in write_predicted(tally.counted(blocks), output, bool(chosen.reader().card.numbers)):
            pass
    create_table_artifact(_rows(tally), key="readings", description=f"{title(chosen)}. {prediction.NOTICE}")
    tally.check_some_read(len(ecgs))
    refused = tally.refusals.total()
    return Outcome(f"{len(ecgs) - refused} ECGs read, {refused} files refused", output)


def title(model: Student) -> str:
    """Which student answers, whose data it was made of, and what a reader must know if it has no card."""
    if isinstance(model, StudentAlone):
        return f"{model.note}. Trained on ECGs of {conventions.origin_in_words(model.trained_on)}."
    return f"{model}. {model.reader().card.card.origins}"


def _rows(tally: ReadingCounts) -> list[dict[str, Any]]:
    answers = [
        {"what": name, "came of it": f"{reads}, {advice}", "count": count}
        for (name, reads, advice), count in sorted(tally.answers.items())
    ]
    refusals = [
        {"what": "refused", "came of it": f"{reason}: {quarantine.REASONS[reason]}", "count": count}
        for reason, count in tally.refusals.most_common()
    ]
    return answers + refusals


predict = as_task("predict", _predict)


def stress(
    store: ArtefactStore, model: StudentWithCard, protocol: str = "", progress: Progress = no_progress
) -> pa.Table:
    """Disturbs every labelled test ECG of the student's evaluation and answers it.

    Args:
        store: holds the student's signals.
        model: the student with its card.
        protocol: of the card; empty for the choice of the evaluation's recipe.
        progress: told the levels done.

    Returns:
        data_contracts.evaluation_details.STRESS, all endpoints.

    Raises:
        StoreError: the student's signals are gone, or there is no labelled test ECG.
        UserError: the card has no such protocol.
    """
    from echoingecg.evaluation.protocols.stress import stress_rows

    reader = model.reader()
    protocol = protocol or reader.card.card.answered_by
    made = store.in_lineage(model.student, "ecg")
    if made is None:
        raise StoreError(f"{model.student}: its ecg artefact is not in {store.workspace.root}: nothing to disturb")
    signals = PoolSignals(store.workspace, made)
    predictions = evaluation.PREDICTIONS.read(model.evaluation.folder)
    tested = pc.and_(pc.equal(predictions["split"], "test"), pc.equal(predictions["protocol"], protocol))
    rows = predictions.filter(tested).to_pylist()
    names = sorted({row["record_id"] for row in rows})
    if not names:
        raise StoreError(f"{model.evaluation} has no labelled test ECG under protocol '{protocol}'")
    place = {name: number for number, name in enumerate(names)}
    labels = {row["endpoint"]: np.full(len(names), np.nan) for row in rows}
    for row in rows:
        labels[row["endpoint"]][place[row["record_id"]]] = row["label"]
    row_of = {name: row for row, name in enumerate(signals.record_ids)}
    chosen = np.array([row_of[name] for name in names], np.int64)
    made_rows = stress_rows(reader.student, reader.card, protocol, signals, chosen, labels, progress)
    return evaluation_details.STRESS.build(list(made_rows))
