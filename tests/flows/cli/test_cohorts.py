"""From a download to a report in one command each: PTB-XL by two students, EchoNext, MIMIC-IV with its own student."""

import ast
import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from data_contracts import evaluation
from data_contracts.catalog import QUARANTINE
from data_contracts.pairs import LABELS
from echoingecg.catalog.pseudonyms import Pseudonyms
from echoingecg.recipe import write_recipe
from echoingecg.simulator.export import simulate
from flows.request import find_recipe
from helpers.cases.command_line import call
from helpers.cases.echonext import CONSTANTS, FLAGS, echonext_export
from helpers.cases.released_files import write_case
from helpers.cases.stage_runs import Run
from helpers.paths import CASES
from tasks.base.workspace import Workspace
from tasks.store import ArtefactStore

pytestmark = pytest.mark.slow
FOLDS = ("--set", "pairs.split_by={measurement: strat_fold, validation: [9], test: [3, 4, 10]}")
QUICK = ("--set", "evaluation.bootstrap_draws=50")


@pytest.fixture(scope="module")
def ptb_xl(all_recordings: Path) -> Path:
    """Real files of PTB-XL 1.0.3 as published, of which some are there."""
    return all_recordings / "ptbxl"


def stated(ptb_xl: Path, code: str) -> dict[str, bool]:
    """Whether each recording that is there states an SCP-ECG code, by its pseudonym; read without this project."""
    names = Pseudonyms(find_recipe("ecg_findings", []).catalog.public_key.encode())
    with (ptb_xl / "ptbxl_database.csv").open(newline="") as file:
        listed = [row for row in csv.DictReader(file) if (ptb_xl / f"{row['filename_hr']}.hea").is_file()]
    return {
        names.record(row["patient_id"].removesuffix(".0"), row["ecg_id"]): code in ast.literal_eval(row["scp_codes"])
        for row in listed
    }


def check_against_ptb_xl(folder: Path, ptb_xl: Path) -> None:
    """Labels equal the publisher's statements; each result with both classes has an interval, and the page shows it."""
    rows = evaluation.PREDICTIONS.read(folder).to_pylist()
    for endpoint, code in (("Normal ECG", "NORM"), ("AF: atrial fibrillation", "AFIB")):
        truth = stated(ptb_xl, code)
        labels = {row["record_id"]: bool(row["label"]) for row in rows if row["endpoint"] == endpoint}
        assert labels, endpoint
        assert labels.items() <= truth.items()
    found = [row for row in evaluation.METRICS.read(folder).to_pylist() if row["metric"] == "auroc"]
    results = [row for row in found if row["endpoint"] == "Normal ECG" and row["value"] is not None]
    assert results, found
    assert all(row["low"] <= row["value"] <= row["high"] for row in results if row["group"] == "all"), results
    assert "Normal ECG" in (folder / evaluation.REPORT).read_text(encoding="utf-8")


def test_ptb_xl_by_a_student_of_this_project(copied: Run, ptb_xl: Path, tmp_path: Path) -> None:
    workspace = str(copied.job.workspace.root)
    done = call(
        "evaluate", "--export", str(ptb_xl), "--recipe", "ecg_findings", "--new-card", "--public-data", *FOLDS,
        *QUICK, "--set", "catalog.max_refused_share=1", "--workspace", workspace, home=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    check_against_ptb_xl(newest_evaluation(workspace), ptb_xl)


def test_ptb_xl_by_released_weights(golden: Path, ptb_xl: Path, tmp_path: Path) -> None:
    (tmp_path / "released").mkdir()
    case, workspace = write_case(golden, tmp_path / "released"), str(tmp_path / "workspace")
    made = call(
        "import-released", str(case.weights), str(case.scaler), "--text", case.text, "--workspace", workspace,
        home=tmp_path,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    done = call(
        "evaluate", made.stdout.strip(), "--export", str(ptb_xl), "--recipe", "ecg_findings", "--public-data", *FOLDS,
        *QUICK, "--set", "catalog.max_refused_share=1", "--workspace", workspace, home=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    folder = newest_evaluation(workspace)
    check_against_ptb_xl(folder, ptb_xl)
    page = (folder / evaluation.REPORT).read_text(encoding="utf-8")
    assert "It is not known which patients this student was trained on" in page


def newest_evaluation(workspace: str) -> Path:
    return max(
        ArtefactStore(Workspace(Path(workspace))).published("evaluation"), key=lambda one: one.folder.stat().st_mtime
    ).folder


def test_echonext_by_its_flags_and_its_split(copied: Run, tmp_path: Path) -> None:
    listed = echonext_export(tmp_path / "echonext", order="tn" + "t" * 12 + "v" * 12 + "e" * 12)
    workspace = str(copied.job.workspace.root)
    mine = yaml.safe_load(write_recipe(find_recipe("echonext", [])))
    mine["catalog"]["standardised"] = {
        name: list(value) if isinstance(value, tuple) else value for name, value in CONSTANTS.items()
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(mine))
    done = call(
        "evaluate", "--export", str(tmp_path / "echonext"), "--recipe", str(tmp_path / "mine.yaml"), "--new-card",
        "--public-data", *QUICK, "--workspace", workspace, home=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    folder = newest_evaluation(workspace)
    rows = evaluation.PREDICTIONS.read(folder).to_pylist()
    names = Pseudonyms(b"public")
    records = {names.record(f"8:EchoNext\x1f{row['patient_key']}", row["ecg_key"]): row for row in listed}
    asked = {one.name: str(one.measurement) for one in find_recipe("echonext", []).evaluation.endpoints}
    for flag in FLAGS:
        judged = [row for row in rows if asked[row["endpoint"]] == flag]
        assert {row["split"] for row in judged} == {"train", "validation", "test"}, flag
        for row in judged:
            published = records[row["record_id"]]
            assert (row["label"], row["split"]) == (
                int(published[flag]),
                {"val": "validation"}.get(published["split"], published["split"]),
            )


def test_a_student_is_trained_and_judged_on_mimic_iv_as_released(tmp_path: Path) -> None:
    """The release written by a script that is not part of this project; questions, labels and catalog of `paper`."""
    script = CASES / "layouts/make_mimic_iv.py"
    if not script.is_file():
        pytest.skip("needs 'cases' in a folder 'shared' beside the checkout, or ECHOINGECG_SHARED")
    small, paper = find_recipe("smoke", []), find_recipe("paper", [])
    assert small.simulator is not None
    simulate(small.simulator.model_copy(update={"patients": 40, "seed": 5}), tmp_path / "simulated")
    export = tmp_path / "release"
    subprocess.run([sys.executable, script, tmp_path / "simulated", export], check=True, capture_output=True)
    pairs = paper.pairs.model_copy(update={"split": small.pairs.split})
    judged = small.evaluation.model_copy(
        update={"endpoints": paper.evaluation.endpoints, "regressions": paper.evaluation.regressions}
    )
    recipe = small.model_copy(
        update={"simulator": None, "catalog": paper.catalog, "pairs": pairs, "evaluation": judged}
    )
    (tmp_path / "recipe.yaml").write_text(write_recipe(recipe))
    workspace = tmp_path / "workspace"
    done = call(
        "run", str(tmp_path / "recipe.yaml"), "--export", str(export), "--public-data", "--set",
        "execution.allow_unlabelled=true", "--workspace", str(workspace), home=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    store = ArtefactStore(Workspace(workspace))
    (catalog,), (labels,), (evaluated,) = (store.published(stage) for stage in ("catalog", "pairs", "evaluation"))
    assert [row for row in QUARANTINE.read(catalog.folder).to_pylist() if row["reason"] == "bad_row"] == []
    measured = set(LABELS.read(labels.folder)["measurement"].to_pylist())
    assert {"lvef", "septal_thickness", "lvedd"} <= measured
    metrics = evaluation.METRICS.read(evaluated.folder).to_pylist()
    values = [row["value"] for row in metrics if row["metric"] == "auroc" and row["endpoint"] == "LVEF < 40 %"]
    assert values
    assert np.isfinite([np.nan if value is None else value for value in values]).any()
