"""A run whose endpoint has no label stops before anything is trained, and versions do not depend on that check."""

import json
import logging
from pathlib import Path

import pytest

from data_contracts import pairs
from data_contracts.conventions import UserError
from flows.request import find_recipe
from helpers.cases.command_line import call
from helpers.cases.hospital import generic_export, mimic_export
from helpers.cases.public_jobs import make_job
from helpers.cases.republished import republish
from helpers.cases.stage_runs import Run, run_stages
from tasks.label_check import check_labels, check_measurements
from tasks.store import Job

QUESTION = {
    "name": "EF low", "unit": "%", "valid_range": [5, 90], "comparison": "<", "threshold": 40,
    "positive_prompts": ["EF is low."], "negative_prompts": ["EF is normal."],
}  # fmt: skip


def job_with(run: Run, name: str, *settings: str, only: tuple[str, ...] = ()) -> Job:
    """The finished run's job with one endpoint, of that measurement."""
    endpoints = f"evaluation.endpoints={json.dumps([QUESTION | {'measurement': name}])}"
    recipe = find_recipe("smoke", [endpoints, "evaluation.regressions=[]", *settings])
    return make_job(recipe, str(run.job.export), str(run.job.workspace.root), only=list(only))


def test_the_shipped_questions_have_labels(finished: Run) -> None:
    for name in ("smoke", "demo", "paper"):
        recipe = find_recipe(name, ["catalog.public_key=simulated", "simulator=null"])
        job = make_job(recipe, str(finished.job.export), str(finished.job.workspace.root))
        check_measurements(job, {}, finished.artefacts["catalog"])
    check_labels(finished.job, finished.artefacts, finished.artefacts["pairs"])


def test_a_wrong_name_stops_at_the_catalog_and_at_the_pairs(finished: Run) -> None:
    job = job_with(finished, "ejection_fraction")
    known = r"the export has heart_rate \[bpm\] \d+, .*lvef \[%\] \d+.*; mend the recipe's section"
    with pytest.raises(
        UserError, match=rf"^catalog-\w+: endpoint 'EF low' \(ejection_fraction in %\) has no .*{known}"
    ):
        check_measurements(job, {}, finished.artefacts["catalog"])
    with pytest.raises(
        UserError, match=rf"^pairs-\w+: .*ejection_fraction in %\) on the training side has no.*{known}"
    ):
        check_labels(job, finished.artefacts, finished.artefacts["pairs"])


def test_a_published_split_that_nobody_states_stops_at_the_catalog(finished: Run) -> None:
    split = "pairs.split_by={measurement: strat_fold, validation: [9], test: [10]}"
    with pytest.raises(
        UserError, match="no ECG and no study states strat_fold '10'; none states it at all, or catalog"
    ):
        check_measurements(job_with(finished, "lvef", split), {}, finished.artefacts["catalog"])
    check_measurements(job_with(finished, "lvef", split, only=("ecg",)), {}, finished.artefacts["catalog"])


def test_only_pairs_warns(finished: Run, caplog: pytest.LogCaptureFixture) -> None:
    job = job_with(finished, "ejection_fraction", only=("pairs",))
    with caplog.at_level(logging.WARNING):
        check_measurements(job, {}, finished.artefacts["catalog"])
        check_labels(job, finished.artefacts, finished.artefacts["pairs"])
    assert [record.message.partition(":")[0] for record in caplog.records] == [str(finished.artefacts["pairs"])]


def test_it_may_be_allowed_and_no_endpoint_needs_no_measurement(finished: Run) -> None:
    for job in (
        job_with(finished, "ejection_fraction", "execution.allow_unlabelled=true"),
        job_with(finished, "x", "evaluation.endpoints=[]"),
    ):
        check_measurements(job, {}, finished.artefacts["catalog"])
        check_labels(job, finished.artefacts, finished.artefacts["pairs"])


def test_each_side_needs_one_label(copied: Run) -> None:
    """Labels of the test side alone are taken away."""
    paired = copied.job.store.find("pairs", copied.versions["pairs"])
    assert paired is not None
    labels = pairs.LABELS.read(paired.folder)
    keep = [split != "test" for split in labels["split"].to_pylist()]
    pairs.LABELS.write(labels.filter(keep), paired.folder)
    republish(paired.folder)
    with pytest.raises(UserError, match=r"endpoint 'LVEF < 40 %' \(lvef in %\) on the test side has no label, nor"):
        check_labels(copied.job, copied.artefacts, paired)


def test_a_run_stops_in_one_line_before_ecg_and_teacher(finished: Run, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(call("recipe", "smoke").stdout.replace("measurement: lvef", "measurement: lv_ef"))
    result = call(
        "run",
        str(recipe),
        "--export",
        str(finished.job.export),
        "-w",
        str(tmp_path / "work"),
        "--public-data",
        home=tmp_path / "home",
    )
    assert result.returncode == 2
    (line,) = (line for line in result.stderr.splitlines() if line.startswith("error: "))
    assert "endpoint 'LVEF < 40 %' (lv_ef in %) has no label, nor have 1 more; the export has" in line
    assert sorted(path.name for path in (tmp_path / "work/artefacts").glob("[!.]*")) == ["catalog"]


LISTS = {  # layout -> its lists of ECGs and of echo clips, and how a small export of it is made
    "mimic-iv": ("record_list.csv", "echo-record-list.csv", mimic_export),
    "generic": ("ecgs.csv", "echoes.csv", generic_export),
}


@pytest.mark.parametrize("layout", LISTS)
@pytest.mark.parametrize("kind", ["ECG", "echo clip"])
@pytest.mark.parametrize("how", ["removed", "emptied"])
def test_an_export_without_a_list_is_refused_at_the_catalog(layout: str, kind: str, how: str, tmp_path: Path) -> None:
    ecgs, echoes, write = LISTS[layout]
    name = ecgs if kind == "ECG" else echoes
    write(tmp_path / "export")
    (table,) = (tmp_path / "export").rglob(name)
    if how == "removed":
        table.unlink()
    else:
        table.write_text(table.read_text().splitlines()[0] + "\n")
    job = make_job(find_recipe("smoke", []), str(tmp_path / "export"), str(tmp_path / "workspace"))
    where = f"; not there: {layout}'s {name}" if how == "removed" else ""
    remedy = "; student.echo_weight: 0 trains on reports alone" if kind == "echo clip" else ""
    with pytest.raises(UserError, match=rf"^catalog-\w+: the export lists no {kind}, .* learns{where}{remedy}$"):
        check_measurements(job, {}, run_stages(job, "catalog").artefacts["catalog"])


def test_an_export_without_a_list_can_still_be_read_and_judged_on(tmp_path: Path) -> None:
    """What trains no student needs no echo: `evaluate`, `drift`, or the teacher's embeddings without any ECG."""
    mimic_export(tmp_path / "export")
    for name in ("echo-record-list.csv", "record_list.csv"):
        (table,) = (tmp_path / "export").rglob(name)
        kept = table.read_text()
        table.unlink()
        job = make_job(
            find_recipe("smoke", []), str(tmp_path / "export"), str(tmp_path / "work"), only=["catalog", "ecg"]
        )
        check_measurements(job, {}, run_stages(job, "catalog").artefacts["catalog"])
        table.write_text(kept)
