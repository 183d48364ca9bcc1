"""The smoke recipe, run once as plain functions, for the tests that look at its artefacts."""

import shutil
from pathlib import Path

import pytest

from flows.request import find_recipe, make_job
from support import Run, run_stages


@pytest.fixture(scope="session")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated export of the smoke recipe. Read only."""
    from echoingecg.simulator.export import simulate

    folder = tmp_path_factory.mktemp("hospital") / "export"
    settings = find_recipe("smoke", []).simulator
    assert settings is not None
    simulate(settings, folder)
    return folder


@pytest.fixture(scope="session")
def finished(export: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An undisturbed run. Copy its workspace before changing it."""
    workspace = tmp_path_factory.mktemp("undisturbed") / "workspace"
    return run_stages(make_job(find_recipe("smoke", []), str(export), str(workspace)))


@pytest.fixture
def copied(finished: Run, tmp_path: Path) -> Run:
    """The undisturbed run in a workspace of its own."""
    workspace = tmp_path / "workspace"
    shutil.copytree(finished.job.workspace.root, workspace)
    return Run(make_job(finished.job.recipe, str(finished.job.export), str(workspace)), finished.artefacts, {})
