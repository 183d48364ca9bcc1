"""A published student in use: which one is meant, its answers for ECG files, a search in the cohort behind it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from prefect.artifacts import create_table_artifact

from data_contracts import catalog, conventions, pairs, prediction, quarantine, teacher
from echoingecg.common import Progress, Refusal, StoreError, UserError, no_progress, replace_atomically
from echoingecg.ecg.decode.recording import NOTHING_STATED, Stated
from echoingecg.evaluation.data.embed import GaussianTable, embed_ecgs
from echoingecg.prediction.files import ReadingCounts, list_ecgs, write_predicted
from echoingecg.prediction.search import ROWS_PER_CHUNK, find_nearest, split_into_chunks
from echoingecg.recipe import ExecutionSettings
from tasks.base import workers
from tasks.base.progress import Outcome, Reporter, as_task
from tasks.base.workspace import writing_to
from tasks.pools import PoolSignals
from tasks.store import Artefact, ArtefactStore
from tasks.teacher import targets_in_chunks

if TYPE_CHECKING:
    from echoingecg.prediction.predictor import Predicted, Reader

PRODUCTION = "production"
Result = TypeVar("Result")
_PARTS = tuple(field.name for field in fields(GaussianTable))  # the mean is first


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
            evaluations = [item for item in _with_card(store) if item.manifest.inputs["student"] == named.version]
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


def predict_files(
    model: StudentWithCard,
    files: Sequence[str],
    protocol: str = "",
    execution: ExecutionSettings | None = None,
    progress: Progress = no_progress,
    stated: Stated = NOTHING_STATED,
) -> Iterator["Predicted"]:
    """Yields readings and numbers, block by block in the order of the files, in bounded memory.

    Args:
        model: the student with its card.
        files: from echoingecg.prediction.files.
        protocol: empty for the choice of the evaluation's recipe.
        execution: workers; by default threads of this process.
        progress: told the files done.
        stated: what files may lack.
    """
    card = model.reader().card  # a fault of the artefacts is found before any worker starts
    protocol = protocol or card.card.answered_by
    card.readings_under(protocol)
    return _by_block(
        partial(_predict_block, model.student.folder, model.evaluation.folder, protocol, stated),
        files,
        execution,
        progress,
    )


def embed_files(model: StudentWithCard, files: Sequence[str], progress: Progress = no_progress) -> Iterator[pa.Table]:
    """Yields data_contracts.prediction.GAUSSIANS as `predict_files` yields readings."""
    model.reader()
    return _by_block(partial(_embed_block, model.student.folder, model.evaluation.folder), files, None, progress)


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


def _embed_block(student: Path, evaluation: Path, files: Sequence[str]) -> pa.Table:
    return _reader(student, evaluation).embed(files)


@lru_cache(maxsize=1)
def _reader(student: Path, evaluation: Path) -> "Reader":
    from echoingecg.prediction.predictor import Reader

    return Reader.load(student, evaluation)


def _predict(
    store: ArtefactStore,
    student: str,
    files: list[str],
    output: Path,
    protocol: str,
    execution: ExecutionSettings,
) -> Outcome:
    """Scores ECG files into a Parquet file, and shows counts in Prefect. Neither names a file."""
    tally = ReadingCounts()
    chosen, ecgs = find_student(store, student), list_ecgs(files)
    blocks = predict_files(chosen, ecgs, protocol, execution, Reporter("predict"))
    with writing_to(output.parent):
        for block in write_predicted(blocks, output, bool(chosen.reader().card.numbers)):
            tally.add(block)
    create_table_artifact(_rows(tally), key="readings", description=f"{chosen}. {prediction.NOTICE}")
    refused = tally.refusals.total()
    return Outcome(f"{len(ecgs) - refused} ECGs read, {refused} files refused", output)


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


@dataclass(frozen=True)
class Cohort:
    """The studies and ECGs that a student was trained and evaluated on, as Gaussians, found by its lineage.

    The ECGs are embedded once and kept in `scratch/student/<version>/`, where they may be deleted at any time.

    Attributes:
        store: holds the lineage.
        model: the student.
        progress: told the ECGs embedded.
    """

    store: ArtefactStore
    model: StudentWithCard
    progress: Progress = no_progress

    @cached_property
    def study_ids(self) -> list[str]:
        """Pseudonyms of the echo studies."""
        names: list[str] = teacher.STUDIES.read(self._artefact("teacher").folder)["study_id"].to_pylist()
        return names

    def studies(self) -> Iterator[GaussianTable]:
        """The teacher's targets in chunks, in the order of `study_ids`."""
        yield from (
            GaussianTable.from_log_var(*part) for part in targets_in_chunks(self._artefact("teacher"), ROWS_PER_CHUNK)
        )

    def study(self, study_id: str) -> GaussianTable:
        """The target of one study. Raises UserError when the cohort has no such study."""
        if study_id not in self.study_ids:
            raise UserError(f"no study {study_id} among the {len(self.study_ids)} of {self._artefact('teacher')}")
        chunk, row = divmod(self.study_ids.index(study_id), ROWS_PER_CHUNK)
        return next(islice(self.studies(), chunk, None))[row : row + 1]

    def sentence(self, text: str) -> GaussianTable:
        """A sentence about an echo, embedded by the student's text tower."""
        return GaussianTable.from_log_var(*self.model.reader().student.embed_text([text], "ECHO"))

    def reports(self, study_ids: list[str]) -> dict[str, str]:
        """Study -> text of its echo report on one line, where there is one."""
        table = catalog.REPORTS.read(self._artefact("catalog").folder)
        chosen = table.filter(pc.is_in(table["subject_id"], pa.array(study_ids, pa.string())))
        rows = zip(chosen["subject_id"].to_pylist(), chosen["text"].to_pylist(), strict=True)
        return {study: " ".join(text.split()) for study, text in rows}

    def studies_of(self, record_ids: list[str]) -> dict[str, str]:
        """ECG -> study nearest in time, as pseudonyms, for ECGs that are paired with a study."""
        table = pairs.ECG_ECHO.read(self._artefact("pairs").folder)
        chosen = table.filter(pc.is_in(table["record_id"], pa.array(record_ids))).to_pylist()
        return {row["record_id"]: row["study_id"] for row in sorted(chosen, key=lambda row: -abs(row["gap_hours"]))}

    @cached_property
    def ecgs(self) -> tuple[list[str], GaussianTable]:
        """(pseudonyms of the ECGs, their Gaussians); the means are a memory map."""
        folder = self.store.workspace.scratch("student", self.model.student.version)
        names = [folder / f"{self._artefact('ecg')}-{part}.npy" for part in _PARTS]
        signals = PoolSignals(self.store.workspace, self._artefact("ecg"))
        if not all(name.is_file() for name in names):
            reader = self.model.reader()
            dim = reader.student.settings.model.embed_dim
            made = embed_ecgs(reader.student, signals, np.arange(len(signals)), dim, self.progress)
            with writing_to(self.store.workspace.root):
                folder.mkdir(parents=True, exist_ok=True)
                for name, values in zip(names, (getattr(made, part) for part in _PARTS), strict=True):
                    with replace_atomically(name) as beside, beside.open("wb") as file:
                        np.save(file, values)
        mean, *scalars = (np.load(name, mmap_mode=None if row else "r") for row, name in enumerate(names))
        return signals.record_ids, GaussianTable(mean, *scalars)

    def _artefact(self, stage: conventions.Stage) -> Artefact:
        artefact = self.store.in_lineage(self.model.student, stage)
        if artefact is None:
            raise StoreError(
                f"{self.model.student}: its {stage} artefact is not in this workspace: nothing to search in"
            )
        return artefact


@dataclass(frozen=True)
class Hit:
    """A study or an ECG that a search found.

    Attributes:
        distance: closed-form sampled distance.
        name: pseudonym of the study or the ECG. An ECG that is paired with a study is named with it.
        report: text of the echo report of the study, or of the ECG's own study; empty where there is none.
    """

    distance: float
    name: str
    report: str


def studies_like(cohort: Cohort, file: str, k: int) -> list[Hit]:
    """The k echo studies nearest to an ECG.

    Args:
        cohort: to search in.
        file: an ECG of any accepted format.
        k: at least 1.

    Raises:
        UserError: the file is refused.
    """
    read = cohort.model.reader().read([file])
    if isinstance(outcome := read.outcomes[0], Refusal):
        raise UserError(f"{file}: refused, {outcome}")
    neighbours = find_nearest(GaussianTable.from_log_var(read.mean, read.log_var), cohort.studies(), k)
    names = [cohort.study_ids[row] for row in neighbours.row[0]]
    reports = cohort.reports(names)
    hits = zip(neighbours.distance[0], names, strict=True)
    return [Hit(distance, name, reports.get(name, "")) for distance, name in hits]


def ecgs_like(cohort: Cohort, query: GaussianTable, k: int) -> list[Hit]:
    """The k ECGs of the cohort nearest to a study or a sentence.

    Args:
        cohort: to search in.
        query: one Gaussian.
        k: at least 1.
    """
    record_ids, ecgs = cohort.ecgs
    neighbours = find_nearest(query, split_into_chunks(ecgs), k)
    names = [record_ids[row] for row in neighbours.row[0]]
    studies = cohort.studies_of(names)
    reports = cohort.reports(list(studies.values()))
    hits = []
    for distance, name in zip(neighbours.distance[0], names, strict=True):
        own = studies.get(name)
        hits.append(Hit(distance, f"{name} of study {own}" if own else name, reports.get(own or "", "")))
    return hits
