"""Fixtures that every test may use. Outside recordings are read in place, never copied here."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.request import find_recipe, make_job
from helpers.cases.stage_runs import Run, run_stages
from helpers.paths import ROOT

CHROMIUM = Path("/usr/bin/chromium")

SHARED = Path(os.environ.get("ECHOINGECG_SHARED", ROOT.parent / "shared"))


def _needed(name: str) -> Path:
    folder = SHARED / name
    if not folder.exists():
        pytest.skip(f"needs {name} in a folder 'shared' beside the checkout, or ECHOINGECG_SHARED")
    return folder


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of golden cases."""
    return _needed("golden")


@pytest.fixture(scope="session")
def recordings() -> Path:
    """Folder of real recordings."""
    return _needed("data")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Debian's Chromium, without a window."""
    if not CHROMIUM.exists():
        pytest.skip(f"needs {CHROMIUM}: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the extra `ui`")
    with sync_api.sync_playwright() as playwright:
        # Chromium's own sandbox needs user namespaces, which a container may not grant.
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


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
