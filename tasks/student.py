"""Stage student: learns from signals, targets and pairs; goes on from its checkpoint after a kill."""

from pathlib import Path
from typing import TYPE_CHECKING

from data_contracts import pairs
from data_contracts import student as contract
from data_contracts.conventions import Stage
from echoingecg.common import Progress, StoreError, no_progress
from echoingecg.student import CODE_VERSION
from tasks.pools.signals import PoolSignals
from tasks.pools.targets import read_targets
from tasks.stage import StageWork, as_task
from tasks.store.artefact import Artefact, Built, Inputs
from tasks.store.job import Job

if TYPE_CHECKING:
    from echoingecg.student.data.pairs import TrainingData
    from echoingecg.student.train import Trained

STAGE: Stage = "student"
# What decides on which side of the split a patient stands.
_SPLIT_BY: tuple[tuple[Stage, str], ...] = (("catalog", "public_key"), ("pairs", "split"), ("pairs", "split_key"))


def training_data(job: Job, inputs: Inputs) -> "TrainingData":
    """What the student learns from, once no patient is found on two sides of the split.

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


def train_student(job: Job, inputs: Inputs, progress: Progress = no_progress) -> "Trained":
    """Trains, or goes on from the checkpoint in the version's scratch folder; publishes nothing.

    For torchrun, whose processes all call it; a run of the stage then publishes what the checkpoint holds.

    Args:
        job: see training_data.
        inputs: see training_data.
        progress: told the optimiser steps done.
    """
    from echoingecg.student.store import load
    from echoingecg.student.train import train

    scratch = _scratch(job, inputs)
    scratch.mkdir(parents=True, exist_ok=True)
    start = earlier_student(job)
    earlier = load(start.folder) if start else None
    return train(training_data(job, inputs), job.recipe.student, job.recipe.execution, scratch, progress, earlier)


def _scratch(job: Job, inputs: Inputs) -> Path:
    versions = {stage: one.version for stage, one in inputs.items()}
    return job.workspace.scratch(STAGE, WORK.plan(job, versions).version)


def _build(job: Job, inputs: Inputs, folder: Path, progress: Progress) -> Built:
    from echoingecg.student.store import save

    trained = train_student(job, inputs, progress)
    save(trained, folder)
    history = contract.HISTORY.read(folder).to_pylist()
    return Built({"epochs": history[-1]["epoch"], "steps": history[-1]["steps"]})


def earlier_student(job: Job) -> Artefact | None:
    """The artefact that student.warm_start names; None when it is empty. Raises StoreError like `named_student`."""
    name = job.recipe.student.warm_start
    return named_student(job, name, "student.warm_start") if name else None


def named_student(job: Job, name: str, field: str) -> Artefact:
    """A published student that knows none of this recipe's test patients, as far as its lineage tells.

    Args:
        job: its workspace holds the student.
        name: artefact name or alias.
        field: of the recipe, for the error.

    Raises:
        StoreError: no such student, or one whose training patients may be this recipe's test patients.
    """
    try:
        found = job.store.get(name)
    except StoreError as fault:
        raise StoreError(f"{field}: {fault}") from fault
    if found.stage != STAGE:
        raise StoreError(f"{field}: {found} is no student")
    lineage = job.store.lineage(found)
    for stage, key in _SPLIT_BY:
        made = job.store.find(stage, lineage[stage]) if stage in lineage else None
        if made is not None and made.manifest.recipe[key] != job.recipe.part(stage)[key]:
            raise StoreError(
                f"{field}: {found} was trained on patients split by another {stage}.{key}, so it may know "
                f"test patients: use the same {stage}.{key}, or leave it out"
            )
    return found


def _source(job: Job) -> dict[str, str]:
    earlier = earlier_student(job)
    return {"warm_start": earlier.manifest.content} if earlier else {}


WORK = StageWork(STAGE, contract.CONTRACT_VERSION, CODE_VERSION, _build, _source)
student = as_task(WORK)
