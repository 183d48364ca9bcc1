"""Stage student: learns from signals, targets and pairs; goes on from its checkpoint after a kill."""

import shutil
from pathlib import Path

from data_contracts import pairs
from data_contracts import student as contract
from data_contracts.conventions import Stage
from echoingecg.progress import Progress
from echoingecg.student import CODE_VERSION
from tasks.artefacts import Built
from tasks.job import Job
from tasks.signals import PoolSignals
from tasks.stage import Inputs, StageWork, as_task
from tasks.targets import read_targets

STAGE: Stage = "student"


def _build(job: Job, inputs: Inputs, folder: Path, progress: Progress) -> Built:
    from echoingecg.student.data import TrainingData  # torch: not for a cached run
    from echoingecg.student.store import save
    from echoingecg.student.train import train

    signals = PoolSignals(job.workspace, inputs["ecg"], job.recipe.execution.memory_gb)
    studies, mean, log_var = read_targets(inputs["teacher"])
    patients, ecg_echo, ecg_text = (
        table.read(inputs["pairs"].folder) for table in (pairs.PATIENTS, pairs.ECG_ECHO, pairs.ECG_TEXT)
    )
    pairs.check_no_leakage(patients, ecg_echo, ecg_text)
    data = TrainingData.from_tables(
        signals, signals.record_ids, studies["study_id"].to_pylist(), mean, log_var, ecg_echo, ecg_text
    )
    scratch = job.workspace.scratch(STAGE, WORK.plan(job, {s: one.version for s, one in inputs.items()}).version)
    scratch.mkdir(parents=True, exist_ok=True)
    trained = train(data, job.recipe.student, job.recipe.execution, scratch, progress)
    save(trained, folder)
    history = contract.HISTORY.read(folder).to_pylist()
    shutil.rmtree(scratch, ignore_errors=True)
    return Built({"epochs": history[-1]["epoch"], "steps": history[-1]["steps"]})


WORK = StageWork(STAGE, contract.CONTRACT_VERSION, CODE_VERSION, _build)
student = as_task(WORK)
