"""ECG files through a published student: which one, in blocks over the workers, nothing kept.

Scoring of many ECGs as a Prefect task: readings to a Parquet file, counts to Prefect.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, Failed, State

from data_contracts.prediction import FILENAME as CARD
from data_contracts.prediction import NOTICE, READINGS
from data_contracts.quarantine import REASONS
from echoingecg.common import Progress, StoreError, UserError, no_progress
from echoingecg.prediction.files import ReadingCounts, list_ecgs, write_parquet
from echoingecg.recipe import ExecutionSettings
from tasks.base import workers, workspace
from tasks.base.progress import Reporter
from tasks.store import artefact, artefacts

if TYPE_CHECKING:
    from echoingecg.prediction.predictor import Reader

PRODUCTION = "production"
Work = Literal["predict", "embed"]


@dataclass(frozen=True)
class JudgedStudent:
    """A student, and the evaluation whose card says how to read it."""

    student: artefact.Artefact
    evaluation: artefact.Artefact

    def __str__(self) -> str:
        return f"{self.student}, judged by {self.evaluation}"

    def reader(self) -> "Reader":
        """Opened, on the CPU; once a process."""
        return _reader(self.student.folder, self.evaluation.folder)


def find_student(store: artefacts.ArtefactStore, name: str) -> JudgedStudent:
    """The student that a person means.

    Args:
        store: holds it.
        name: student or evaluation, by STAGE-VERSION or alias; empty for the alias `production`, or where there is
            none for the only evaluation in the workspace.

    Raises:
        StoreError: no such artefact, or none or several that it could be.
    """
    if name or PRODUCTION in store.aliases():
        named = store.named(name or PRODUCTION)
        evaluations = [named]
        if named.stage != "evaluation":
            evaluations = [one for one in _with_card(store) if one.manifest.inputs["student"] == named.version]
    else:
        named, evaluations = None, _with_card(store)
    if len(evaluations) != 1:
        what = f"{named} has" if named else f"there is no alias '{PRODUCTION}', and the workspace has"
        names = (
            f": name one of {', '.join(str(one) for one in evaluations)}" if evaluations else ": run the pipeline first"
        )
        raise StoreError(f"{what} {len(evaluations) or 'no'} evaluation{'s' * (len(evaluations) != 1)}{names}")
    evaluation = store.get(str(evaluations[0]))
    version = evaluation.manifest.inputs["student"]
    if (student := store.find("student", version)) is None:
        raise StoreError(f"{evaluation} judged student-{version}, which is not in {store.workspace.root}")
    return JudgedStudent(student, evaluation)


def _with_card(store: artefacts.ArtefactStore) -> list[artefact.Artefact]:
    """Evaluations that say how to read; those of earlier releases do not."""
    return [one for one in store.published("evaluation") if CARD in one.manifest.files]


def read_files(
    judged: JudgedStudent,
    files: Sequence[str],
    work: Work,
    protocol: str = "",
    execution: ExecutionSettings | None = None,
    progress: Progress = no_progress,
) -> Iterator[pa.Table]:
    """Tables of data_contracts.prediction, block by block in the order of the files; a bounded number at once.

    Args:
        judged: student and card.
        files: from echoingecg.prediction.files.
        work: endpoints, or Gaussians.
        protocol: for `predict`; empty for zero-shot.
        execution: workers; by default threads of this process.
        progress: told the files done.
    """
    import torch

    from echoingecg.evaluation.data.names import ZERO_SHOT
    from echoingecg.prediction.predictor import FILES_PER_BLOCK

    reader = judged.reader()  # a fault of the artefacts is found before any worker starts
    if work == "predict":
        reader.card.readings_under(protocol or ZERO_SHOT)
    blocks = [files[start : start + FILES_PER_BLOCK] for start in range(0, len(files), FILES_PER_BLOCK)]
    if len(blocks) > 1:
        torch.set_num_threads(1)  # the blocks are what runs side by side
    read = partial(_read, judged.student.folder, judged.evaluation.folder, work, protocol or ZERO_SHOT)
    done = 0
    with workers.mapper(execution or ExecutionSettings(), len(blocks)) as run:
        for block, table in zip(blocks, run(read, blocks), strict=True):
            done += len(block)
            progress(done, len(files))
            yield table


def _read(student: Path, evaluation: Path, work: Work, protocol: str, files: Sequence[str]) -> pa.Table:
    reader = _reader(student, evaluation)
    return reader.predict(files, protocol) if work == "predict" else reader.embed(files)


@lru_cache(maxsize=1)
def _reader(student: Path, evaluation: Path) -> "Reader":
    from echoingecg.prediction.predictor import Reader

    return Reader.load(student, evaluation)


@task(task_run_name="predict", cache_policy=NO_CACHE, persist_result=False)
def predict(
    store: artefacts.ArtefactStore,
    student: str,
    files: list[str],
    output: Path,
    protocol: str,
    execution: ExecutionSettings,
) -> State:
    """See flows.predict. The state's message counts; neither it nor the artifact names a file."""
    tally = ReadingCounts()
    try:
        judged, found = find_student(store, student), list_ecgs(files)
        tables = read_files(judged, found, "predict", protocol, execution, Reporter("predict"))
        with workspace.writing_to(output.parent):
            for table in write_parquet(READINGS, tables, output):
                tally.add(table)
    except UserError as fault:
        return Failed(message=str(fault), data=fault)
    create_table_artifact(_rows(tally), key="readings", description=f"{judged}. {NOTICE}")
    refused = tally.refusals.total()
    return Completed(message=f"{len(found) - refused} ECGs read, {refused} files refused", data=output)


def _rows(tally: ReadingCounts) -> list[dict[str, Any]]:
    answers = [
        {"what": endpoint, "came of it": f"{'positive' if decision else 'negative'}, {advice}", "count": count}
        for (endpoint, decision, advice), count in sorted(tally.answers.items())
    ]
    refusals = [
        {"what": "refused", "came of it": f"{reason}: {REASONS[reason]}", "count": count}
        for reason, count in tally.refusals.most_common()
    ]
    return answers + refusals
