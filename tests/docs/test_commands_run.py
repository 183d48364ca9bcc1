"""The `echoingecg` lines of README and docs, run on the smoke recipe's workspace with its names for the readers'."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from data_contracts.teacher import STUDIES
from docs_reference.run_page import with_outputs
from echoingecg.recipe import with_overrides, write_recipe
from flows.request import find_recipe
from helpers.cases.public_jobs import make_job
from helpers.cases.stage_runs import Run, run_stages
from helpers.docs.shell_blocks import ROOT, Command, commands

FAST = "test_commands.py proves that it names what exists"
BY_COMMAND = {
    "serve": "test_services_run.py",
    "worker": "test_services_run.py",
    "teach": "half an hour: tests/teacher",
    "evaluate": "needs another cohort: tests/tasks/operations/test_evaluate.py",
    "notify": "needs a block: tests/flows/test_notices.py",
    "rollback": "moves the alias that the others name: tests/tasks/store/test_moves.py",
    "sweep": "several trainings: tests/flows/cli/test_students.py",
    "import-released": "tests/student",
    "export-released": "tests/student",
}
OURS = [one for one in commands() if one.words[0] == "echoingecg"]


def reason(one: Command) -> str:
    """Why a command is not run here; empty for one that is."""
    if one.needs:
        return one.needs
    if len(one.words) < 3 or {"paper", "released", "RECIPE"} & set(one.words):
        return FAST if not one.typed or len(one.words) < 3 else ""
    return BY_COMMAND.get(one.words[1], "")


WANTED = sorted({one.words for one in OURS if not reason(one)})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    from echoingecg.simulator.export import simulate

    root = tmp_path_factory.mktemp("typed")
    settings = find_recipe("smoke", []).simulator
    assert settings is not None
    simulate(settings, root / "export")
    places = str(root / "export"), str(root / "workspace")
    run_stages(make_job(find_recipe("smoke", []), *places))  # what `demo` on its simulated export makes
    own = find_recipe("smoke", ["catalog.public_key=''"])
    done = run_stages(make_job(own, *places))
    done.job.store.set_alias("production", done.artefacts["evaluation"])
    done = run_stages(make_job(with_overrides(own, ["student.seed=1"]), *places))  # a challenger
    (root / "my-recipe.yaml").write_text(write_recipe(own))
    return done


def as_here(words: tuple[str, ...], run: Run, folder: Path) -> list[str]:
    """The command with this workspace's names."""
    export, workspace = run.job.export, run.job.workspace.root
    ecg = next((export / "mimic-iv-ecg").rglob("*.hea"))
    clip = next((export / "mimic-iv-echo").rglob("*_0001.dcm"))
    names = {
        r"^FILE$": str(clip if words[1] == "echo" else ecg),
        r"^demo$": "smoke",
        r"^my-recipe\.yaml$": str(workspace.parent / "my-recipe.yaml"),
        r"^(/data/workspace|workspace)$": str(workspace),
        r"^(EXPORT|/data/export|/data/inbox/\w+)$": str(export),
        r"^(DIR|FOLDER|/tmp/hospital)$": str(folder / "new"),
        r"^(.*\.dcm|CLIP)$": str(clip),
        r"^(FILE(\.\.\.)?|.*\.hea|.*/signals/\w+|.*\.scp|scp_ecg/.*|.*\.xml)$": str(ecg),
        r"^(page|sheet|out)\.png$": str(folder / "page.png"),
        r"^encoder\.onnx$": str(folder / "encoder.onnx"),
        r"^s-[0-9a-f]+$": STUDIES.read(run.artefacts["teacher"].folder)["study_id"][0].as_py(),
        r"^(CHALLENGER|STUDENT)$": str(run.artefacts["evaluation"]),
        r"^(catalog|ecg|teacher|pairs|student|evaluation)-[\w.]+$": "",
        r"^teacher\.model=local-dir:.*$": "teacher.model=demo",
    }
    found = []
    for word in words[1:]:
        for pattern, here in names.items():
            if re.match(pattern, word):
                stage = word.partition("-")[0]
                word = here or str(run.artefacts[stage])  # type: ignore[index]
                break
        found.append(word)
    return found


def test_what_is_not_run_says_why() -> None:
    """A block that needs what is not here begins with `# needs ...`, for readers and for this test."""
    assert not [words for words in WANTED if {"paper", "released", "RECIPE"} & set(words)]
    assert {one.words[1] for one in OURS if len(one.words) > 2} >= BY_COMMAND.keys(), "a reason for what no page names"


@pytest.mark.slow
@pytest.mark.parametrize("words", WANTED, ids=" ".join)
def test_it_runs(words: tuple[str, ...], run: Run, tmp_path: Path) -> None:
    typed = as_here(words, run, tmp_path)
    place = {"ECHOINGECG_WORKSPACE": str(run.job.workspace.root), "PREFECT_HOME": str(tmp_path / "prefect")}
    place |= {"PYTHONPATH": str(ROOT), "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120"}
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli.main", *typed], capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, **place},
    )  # fmt: skip
    assert done.returncode == 0, f"{typed}: {done.stderr[-2000:]}"


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # a page's reader sees warnings and goes on
def test_the_python_page_runs(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "workspace"
    place.mkdir()
    (place / "artefacts").symlink_to(run.job.workspace.artefacts)
    (place / "pools").symlink_to(run.job.workspace.root / "pools")
    (place / "exports").symlink_to(run.job.export)
    monkeypatch.chdir(tmp_path)
    page = with_outputs((ROOT / "docs/python.md").read_text())
    assert page.count("```text") == (ROOT / "docs/python.md").read_text().count("```text")
    assert "(12, 1000) mV 100.0" in page
