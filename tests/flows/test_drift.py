"""Drift on the smoke run: what was known is left out, the files hold what was said, faults are one line."""

import json
from pathlib import Path
from shutil import rmtree

import pytest

from data_contracts.ecg import RECORDS
from data_contracts.monitoring import DRIFT, DriftVerdict
from echoingecg.common import StoreError
from echoingecg.recipe import DriftSettings
from echoingecg.simulator.export import simulate
from flows.operations import drift_job
from flows.request import find_recipe
from helpers.cases.command_line import call
from helpers.cases.stage_runs import Run, run_stages
from tasks.operations.drift import compare_export
from tasks.operations.students import find_student
from tasks.store import Job

RULE = DriftSettings(draws=50, least_patients=3)


def job_on(run: Run, export: Path) -> Job:
    job, _ = drift_job(find_recipe("demo", ["ecg.band_high=30"]), str(export), "", str(run.job.workspace.root), True)
    return job


def test_a_new_export_and_the_old_one_again(copied: Run, tmp_path: Path) -> None:
    settings = copied.job.recipe.simulator
    assert settings is not None
    simulate(settings.model_copy(update={"patients": 5, "seed": 7, "real_recordings": False}), tmp_path / "new")
    judged = find_student(copied.job.store, "")
    made = run_stages(job_on(copied, tmp_path / "new"), "catalog", "ecg")
    found = compare_export(made.job.store, judged, made.artefacts["catalog"], made.artefacts["ecg"], RULE)
    said = json.loads(found.files[0].read_text(encoding="utf-8"))
    assert DriftVerdict.model_validate(said) == found.drift
    assert DRIFT.read(found.files[1].parent).equals(found.table)
    records = RECORDS.read(made.artefacts["ecg"].folder)
    assert said["counts"]["new_ecgs"] == records.num_rows
    assert (said["counts"]["new_patients"], said["counts"]["known_ecgs"]) == (5, 0)
    assert said["verdict"] in ("drift", "no drift")
    assert made.job.recipe.ecg == copied.job.recipe.ecg  # the student's own filter, whatever the recipe says

    again = run_stages(job_on(copied, copied.job.export), "catalog", "ecg")
    assert again.versions == {stage: copied.versions[stage] for stage in ("catalog", "ecg")}
    same = compare_export(again.job.store, judged, again.artefacts["catalog"], again.artefacts["ecg"], RULE).drift
    assert (same.verdict, same.counts["new_ecgs"]) == ("too few", 0)
    assert same.counts["known_ecgs"] == RECORDS.read(copied.artefacts["ecg"].folder).num_rows


def test_without_the_students_pairs_there_is_nothing_to_compare_with(copied: Run) -> None:
    store, of = copied.job.store, copied.artefacts
    rmtree(store.get(str(of["pairs"])).folder)  # the copy's
    with pytest.raises(StoreError, match="its pairs artefact is not in this workspace"):
        compare_export(store, find_student(store, ""), of["catalog"], of["ecg"], RULE)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([".", "--set", "drift.share=2"], "drift.share"),
        ([".", "--student", "nobody"], "'nobody' names no artefact"),
        (["nowhere"], "export nowhere: not a folder"),
    ],
)
def test_faults_are_one_line(finished: Run, arguments: list[str], says: str) -> None:
    done = call("drift", *arguments, ECHOINGECG_WORKSPACE=str(finished.job.workspace.root))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert says in done.stderr
