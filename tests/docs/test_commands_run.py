"""The commands of README and docs, run on the smoke recipe's workspace with names of its own for the readers'."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from shell_blocks import ROOT, commands

from flows.order import find_recipe, make_job
from support import Run, run_stages

ELSEWHERE = {  # what other tests run for real, as it needs a service, a network or files that are not here
    "serve": "tests/ui",
    "teach": "tests/teacher",
    "import-released": "tests/student",
    "export-released": "tests/student",
}
WANTED = sorted(
    {
        one.words
        for one in commands()
        if one.words[0] == "echoingecg"
        and len(one.words) > 2
        and not one.needs
        and one.words[1] not in ELSEWHERE
        and not {"paper", "released", "RECIPE"} & set(one.words)
    }
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    from echoingecg.simulator.export import simulate

    root = tmp_path_factory.mktemp("typed")
    settings = find_recipe("smoke", []).simulator
    assert settings is not None
    simulate(settings, root / "export")
    done = run_stages(make_job(find_recipe("smoke", []), str(root / "export"), str(root / "workspace")))
    done.job.store.set_alias("production", done.artefacts["evaluation"])
    (root / "my-recipe.yaml").write_text((ROOT / "flows/recipes/smoke.yaml").read_text())
    return done


def as_here(words: tuple[str, ...], run: Run, folder: Path) -> list[str]:
    """The command with this workspace's names."""
    export, workspace = run.job.export, run.job.workspace.root
    ecg = next((export / "mimic-iv-ecg").rglob("*.hea"))
    clip = next((export / "mimic-iv-echo").rglob("*_0001.dcm"))
    names = {
        r"^demo$": "smoke",
        r"^my-recipe\.yaml$": str(workspace.parent / "my-recipe.yaml"),
        r"^(/data/workspace|workspace)$": str(workspace),
        r"^(/data/export|/data/mimic.*)$": str(export),
        r"^(DIR|FOLDER|/tmp/hospital)$": str(folder / "new"),
        r"^(.*\.dcm|CLIP)$": str(clip),
        r"^(FILE(\.\.\.)?|.*\.hea|.*/signals/\w+|.*\.scp|scp_ecg/.*|.*\.xml)$": str(ecg),
        r"^(page|sheet|out)\.png$": str(folder / "page.png"),
        r"^CHALLENGER$": str(run.artefacts["evaluation"]),
        r"^(catalog|ecg|teacher|pairs|student|evaluation)-\w+$": "",
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


@pytest.mark.slow
@pytest.mark.parametrize("words", WANTED, ids=" ".join)
def test_it_runs(words: tuple[str, ...], run: Run, tmp_path: Path) -> None:
    typed = as_here(words, run, tmp_path)
    place = {"ECHOINGECG_WORKSPACE": str(run.job.workspace.root), "PREFECT_HOME": str(tmp_path / "prefect")}
    place |= {"PYTHONPATH": str(ROOT), "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120"}
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *typed], capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, **place},
    )  # fmt: skip
    assert done.returncode == 0, f"{typed}: {done.stderr[-2000:]}"
