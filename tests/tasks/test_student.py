"""The student stage on a small simulated export: warm start by name, and training in two processes."""

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file

from data_contracts.pairs import PATIENTS
from data_contracts.student import HISTORY, WEIGHTS
from echoingecg.common import ContractError, StoreError
from echoingecg.student.checkpoint import FILENAME
from flows.request import find_recipe
from helpers.cases.public_jobs import make_job
from helpers.cases.stage_runs import Run, run_stages
from tasks.pairs import check_sides_of_student
from tasks.store import Job
from tasks.student import WORK, earlier_student

STAGES = ("catalog", "ecg", "teacher", "pairs", "student")


def job_with(workspace: Path, *overrides: str) -> Job:
    return make_job(find_recipe("smoke", list(overrides)), str(workspace.parent / "export"), str(workspace))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    from echoingecg.simulator.export import simulate

    folder = tmp_path_factory.mktemp("stage")
    settings = find_recipe("smoke", []).simulator
    assert settings is not None
    simulate(settings, folder / "export")
    return run_stages(job_with(folder / "workspace"), *STAGES)


def test_a_warm_start_by_alias_is_a_version_of_its_own(finished: Run) -> None:
    workspace, cold = finished.job.workspace.root, finished.artefacts["student"]
    finished.job.store.set_alias("before", cold)
    warm = run_stages(job_with(workspace, "student.warm_start=before"), *STAGES)
    assert [stage for stage in STAGES if not warm.cached[stage]] == ["student"]
    made = warm.artefacts["student"]
    assert made.version != cold.version
    assert made.manifest.source == {"warm_start": cold.manifest.content}
    assert run_stages(job_with(workspace, "student.warm_start=before"), *STAGES).cached["student"]

    finished.job.store.set_alias("before", made)  # the same words now name another student
    versions = {stage: one.version for stage, one in warm.artefacts.items()}
    assert WORK.plan(job_with(workspace, "student.warm_start=before"), versions).version != made.version

    rows = [HISTORY.read(one.folder).to_pylist() for one in (cold, made)]
    last = next(row for row in reversed(rows[0]) if row["best"])
    assert rows[1][0]["validation_loss_ecg_echo"] == pytest.approx(last["validation_loss_ecg_echo"], rel=1e-5)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["student.warm_start=nobody"], "student.warm_start: 'nobody' names no artefact"),
        (["student.warm_start=PAIRS"], "student.warm_start: pairs-[0-9a-f]+ is no student"),
        (
            ["student.warm_start=STUDENT", "pairs.split_key=other"],
            r"may know test patients: use the same pairs\.split_key",
        ),
        (
            ["student.warm_start=STUDENT", "pairs.split_by={measurement: fold, validation: [9], test: [10]}"],
            r"may know test patients: use the same pairs\.split_by",
        ),
        (["student.warm_start=STUDENT", "catalog.public_key=other"], r"use the same catalog\.public_key"),
    ],
)
def test_what_cannot_be_started_from_is_one_line(overrides: list[str], says: str, finished: Run) -> None:
    names = {"PAIRS": str(finished.artefacts["pairs"]), "STUDENT": str(finished.artefacts["student"])}
    for word, name in names.items():
        overrides = [one.replace(word, name) for one in overrides]
    with pytest.raises(StoreError, match=says):
        earlier_student(job_with(finished.job.workspace.root, *overrides))


def test_a_student_whose_patients_have_changed_sides_is_refused(finished: Run, tmp_path: Path) -> None:
    """A later export may state another published split."""
    paired, student = finished.artefacts["pairs"], finished.artefacts["student"]
    table = PATIENTS.read(paired.folder)
    others = ["test" if side == "train" else side for side in table["split"].to_pylist()]
    moved = table.set_column(1, table.schema.field("split"), pa.array(others, pa.string()))
    PATIENTS.write(moved, tmp_path)
    with pytest.raises(ContractError, match=rf"patients changed split: use {student}'s pairs\.split"):
        check_sides_of_student(finished.job.store, student, dataclasses.replace(paired, folder=tmp_path))
    check_sides_of_student(finished.job.store, student, paired)


@pytest.mark.slow
def test_two_processes_through_the_stage(finished: Run, tmp_path: Path) -> None:
    """execution.devices is no cause: the version is the same, whoever trains it."""
    shutil.copytree(finished.job.workspace.root, tmp_path / "workspace")
    job = make_job(
        find_recipe("smoke", ["execution.devices=2"]),
        str(finished.job.export),
        str(tmp_path / "workspace"),
        start_from="student",
    )
    run = run_stages(job, *STAGES)
    assert not run.cached["student"]
    assert run.versions == finished.versions
    rows = [HISTORY.read(one.artefacts["student"].folder).to_pylist() for one in (finished, run)]
    assert [row["steps"] for row in rows[0]] == [row["steps"] for row in rows[1]]


@pytest.mark.slow
def test_torchrun_trains_and_the_stage_publishes(finished: Run, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    shutil.copytree(finished.job.workspace.root, workspace)
    shutil.rmtree(workspace / "artefacts" / "student")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    places = ["--export", str(finished.job.export), "--workspace", str(workspace), "--set", "execution.devices=2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*launcher, "-m", "flows.cli.main", "train", "smoke", *places], check=True, env=environment)
    checkpoint = next((workspace / "scratch" / "student").rglob(FILENAME))
    assert checkpoint.parent.name == finished.versions["student"]
    best = {name: tensor for name, tensor in load_file(checkpoint).items() if name.startswith("best.")}
    run = run_stages(make_job(finished.job.recipe, str(finished.job.export), str(workspace)), *STAGES)
    assert [stage for stage in STAGES if not run.cached[stage]] == ["student"]
    published = load_file(run.artefacts["student"].folder / WEIGHTS)
    for name, tensor in best.items():
        assert torch.equal(published[name.removeprefix("best.").removeprefix("student.")], tensor), name
