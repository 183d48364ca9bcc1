"""Stage student: learns from signals, targets and pairs, and resumes after a kill; also released weights."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_contracts import conventions, pairs
from data_contracts import student as contract
from echoingecg.common import Progress, StoreError, hash_files, no_progress
from echoingecg.student import CODE_VERSION
from echoingecg.student.encoders.kind import encoder_identity
from tasks import stage
from tasks.base.progress import REPORT_SECONDS, Page, in_run
from tasks.base.workspace import writing_to
from tasks.pairs import check_sides_of_student
from tasks.pools import PoolSignals
from tasks.store import Artefact, ArtefactStore, Built, Inputs, Job, Plan
from tasks.teacher import read_targets
from tasks.tracking import TrackedRun

if TYPE_CHECKING:
    from echoingecg.student.data.pairs import TrainingData
    from echoingecg.student.train import TrainedStudent

# Recipe fields that decide on which side of the split a patient is.
_SPLIT_FIELDS: tuple[tuple[conventions.Stage, str], ...] = (
    ("catalog", "public_key"),
    ("pairs", "split"),
    ("pairs", "split_key"),
    ("pairs", "split_by"),
)


def training_data(job: Job, inputs: Inputs) -> "TrainingData":
    """What the student learns from, after a check that no patient is on two sides of the split.

    Args:
        job: its workspace holds the pools.
        inputs: artefacts ecg, teacher and pairs.
    """
    from echoingecg.student.data.pairs import TrainingData  # torch: not for a cached run

    signals = PoolSignals(job.workspace, inputs["ecg"])
    studies, mean, log_var = read_targets(inputs["teacher"])
    patients, ecg_echo, ecg_text = (
        table.read(inputs["pairs"].folder) for table in (pairs.PATIENTS, pairs.ECG_ECHO, pairs.ECG_TEXT)
    )
    pairs.check_no_leakage(patients, ecg_echo, ecg_text)
    return TrainingData.from_tables(
        signals, signals.record_ids, studies["study_id"].to_pylist(), mean, log_var, ecg_echo, ecg_text
    )


def train_student(job: Job, inputs: Inputs, progress: Progress = no_progress) -> "TrainedStudent":
    """Trains, or resumes from the checkpoint in the version's scratch folder; publishes nothing.

    For torchrun: all its processes call this. A run of the stage then publishes what the checkpoint holds.

    Args:
        job: as for `training_data`.
        inputs: as for `training_data`.
        progress: told the optimiser steps done.
    """
    from echoingecg.student.store import load
    from echoingecg.student.train import train

    scratch = _scratch(job, inputs)
    scratch.mkdir(parents=True, exist_ok=True)
    start = earlier_student(job)
    if start is not None:
        check_sides_of_student(job.store, start, inputs["pairs"])
    earlier = load(start.folder, allow_encoder=job.recipe.student.encoder) if start else None
    return train(training_data(job, inputs), job.recipe.student, job.recipe.execution, scratch, progress, earlier)


def _scratch(job: Job, inputs: Inputs) -> Path:
    """Folder of the training's checkpoint."""
    return job.workspace.scratch("student", _version(job, inputs))


def _version(job: Job, inputs: Inputs) -> str:
    return WORK.plan(job, {name: artefact.version for name, artefact in inputs.items()}).version


def _build(job: Job, inputs: Inputs, folder: Path, progress: Progress) -> Built:
    from echoingecg.student.store import save

    with TrackedRun(job, inputs, _version(job, inputs)) as tracked:
        curves = _Curves(job, inputs, progress, tracked)
        trained = train_student(job, inputs, curves)
        save(trained, folder)
        history = contract.HISTORY.read(folder).to_pylist()
        curves.show(history)
    return Built({"epochs": history[-1]["epoch"], "steps": history[-1]["steps"]})


_SHOWN_SHARE = 0.02  # of the time of training that drawing its curves may take
_MOST_SECONDS = 30.0  # between two drawings, where epochs are shorter: the first one loads matplotlib
_PAGE_DPI = 110  # the page lies in Prefect's database
_LAST_EPOCHS = 8  # rows of the table below the curves


class _Curves:
    """Shows losses and recall while the student trains: a page of the UI, renewed as epochs end, and the tracker.

    The numbers are those of the checkpoint, which every epoch leaves: so it is the same with several processes, and a
    run that goes on from a checkpoint shows the epochs before it.

    Args:
        job: what is trained.
        inputs: of the stage.
        progress: told the steps first.
        tracked: run of the experiment tracker, open.
    """

    def __init__(self, job: Job, inputs: Inputs, progress: Progress, tracked: TrackedRun) -> None:
        self.progress = progress
        self.scratch = _scratch(job, inputs)
        self.epochs = job.recipe.student.epochs
        self.page = Page("student-curves")
        self.tracked = tracked
        self.next_look = 0.0  # time.monotonic()
        self.shown = 0  # epochs on the page

    def __call__(self, done: int, total: int, note: str = "") -> None:
        self.progress(done, total, note)
        if not (in_run() or self.tracked.is_on) or (now := time.monotonic()) < self.next_look:
            return
        from echoingecg.student.checkpoint import history_so_far

        self.show(history_so_far(self.scratch))
        end = time.monotonic()
        self.next_look = end + max(REPORT_SECONDS, min((end - now) / _SHOWN_SHARE, _MOST_SECONDS))

    def show(self, history: list[dict[str, Any]]) -> None:
        """Adds the epochs that are new to the tracker, and to the page of a run."""
        self.tracked.add_epochs(history)
        if in_run() and len(history) > max(self.shown, 1):  # the first row is before training
            self.shown = len(history)
            best = max((row["epoch"] for row in history if row["best"]), default=0)
            self.page.show(_curves_page(history), f"epoch {history[-1]['epoch']} of {self.epochs}, best {best}")


def _curves_page(history: list[dict[str, Any]]) -> str:
    """Losses and recall of the epochs so far, as a drawing and a table, in Markdown."""
    from echoingecg.common import figure_style
    from echoingecg.evaluation.report.run_figures import training_history

    with figure_style.styled():
        figure = training_history(contract.HISTORY.build(history))
        figure.set_dpi(_PAGE_DPI)
        drawing = figure_style.png(figure)
    names = [name for name in history[-1] if name not in {"steps", "best"} and history[-1][name] is not None]
    best = [row["epoch"] for row in history if row["best"]][-1]
    rows = [row for row in history if row["epoch"] == best or row in history[-_LAST_EPOCHS:]]
    lines = [f"| {' | '.join(name.replace('_', ' ') for name in names)} |", f"|{' ---: |' * len(names)}"]
    for row in rows:
        cells = ["" if row[name] is None else f"{row[name]:.4g}" for name in names]
        cells[0] += " (best)" if row["epoch"] == best else ""
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([stage.png_in_markdown("losses and recall by epoch", drawing), "", *lines])


def earlier_student(job: Job) -> Artefact | None:
    """The artefact that student.warm_start names; None when it is empty. Raises StoreError as `named_student` does."""
    name = job.recipe.student.warm_start
    return named_student(job, name, "student.warm_start") if name else None


def named_student(job: Job, name: str, field: str) -> Artefact:
    """A published student that has not seen this recipe's test patients, as far as its lineage tells.

    Args:
        job: its workspace holds the student.
        name: artefact name or alias.
        field: of the recipe, for the error.

    Raises:
        StoreError: no such student, or one whose training patients may be this recipe's test patients.
    """
    try:
        student = job.store.get(name)
    except StoreError as fault:
        raise StoreError(f"{field}: {fault}") from fault
    if student.stage != "student":
        raise StoreError(f"{field}: {student} is no student")
    lineage = job.store.lineage(student)
    for upstream, key in _SPLIT_FIELDS:
        artefact = job.store.find(upstream, lineage[upstream]) if upstream in lineage else None
        if artefact is not None and artefact.manifest.recipe.get(key) != job.recipe.part(upstream).get(key):
            raise StoreError(
                f"{field}: {student} was trained on patients split by another {upstream}.{key}, so it may know "
                f"test patients: use the same {upstream}.{key}, or leave it out"
            )
    return student


def _source(job: Job) -> dict[str, str]:
    settings, earlier = job.recipe.student, earlier_student(job)
    contents = {"warm_start": earlier.manifest.content} if earlier else {}
    return contents | encoder_identity(settings.encoder, settings.encoder_weights)


@dataclass(frozen=True)
class ReleasedFiles:
    """Files of a released student.

    Attributes:
        weights: torch state dict or safetensors in the released layout.
        scaler: StandardScaler of joblib or pickle, or `ecg_scaler.json`.
        text: folder or cached Hugging Face name of the text tower's tokenizer.
        config: config.json of the text tower; None takes the file beside the weights, or BERT-base.
    """

    weights: Path
    scaler: Path
    text: str
    config: Path | None = None


def import_released(store: ArtefactStore, files: ReleasedFiles) -> Artefact:
    """The student artefact of released files. The same files give the same version, in whatever folder they are.

    It has no inputs, since its training data are not in this workspace. Its sources are the files' digests.

    Raises:
        UserError: for the reasons of echoingecg.student.released.layout.read_released.
    """
    from echoingecg.student.released import layout  # torch

    started = time.monotonic()
    released = layout.read_released(files.weights, files.scaler, files.text, files.config)
    plan = Plan(
        stage="student",
        contract_version=contract.CONTRACT_VERSION,
        code_version=layout.CODE_VERSION,
        recipe=released.settings.model_dump(mode="json"),
        source={
            "released_weights": hash_files([files.weights]),
            "released_scaler": hash_files([files.scaler]),
            **released.digests(),
        },
        inputs={},
    )
    with store.locked(plan):
        if (existing := store.find(plan.stage, plan.version)) is not None:
            return existing
        with store.building(plan) as folder:
            layout.save_released(released, folder)
            return store.publish(plan, folder, Built(released.counts()), started)


def export_released(store: ArtefactStore, name: str, folder: Path) -> list[Path]:
    """Writes a published student in the released layout; returns the files written.

    Args:
        store: holds it.
        name: STAGE-VERSION or an alias.
        folder: new or empty.

    Raises:
        StoreError: no such artefact, not a student, or a folder that is not empty.
    """
    from echoingecg.student.released.layout import export_released as export  # torch
    from echoingecg.student.store import load

    artefact = store.get(name)
    if artefact.stage != "student":
        raise StoreError(f"{artefact} is no student: 'artefacts list' shows which are")
    student = load(artefact.folder)
    with writing_to(folder):
        return export(student, folder)


WORK = stage.StageWork("student", contract.CONTRACT_VERSION, CODE_VERSION, _build, _source)
student = stage.as_task(WORK)
