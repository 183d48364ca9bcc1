"""The UI of a real server, with a workspace where the smoke recipe has run, in Debian's Chromium."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from flows.request import find_recipe
from helpers.cases.public_jobs import make_job
from helpers.cases.stage_runs import Run, run_stages
from helpers.servers.prefect_server import free_address, process, served


@dataclass(frozen=True)
class Place:
    """Addresses of the UI and of the artefacts, and the run that filled the workspace."""

    ui: str
    artefacts: str
    first: Run


@pytest.fixture(scope="session")
def place(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    from echoingecg.simulator.export import simulate

    home = tmp_path_factory.mktemp("ui")
    job = make_job(find_recipe("smoke", []), "", str(home / "workspace"))
    assert job.recipe.simulator is not None
    job.export.parent.mkdir(parents=True)
    simulate(job.recipe.simulator, job.export)
    first = run_stages(job)
    with served(home, "demo", "--workspace", str(job.workspace.root)) as server:
        files = free_address()
        web = (sys.executable, "-m", "http.server", "--bind", "127.0.0.1", files.rpartition(":")[2])
        folder = ("--directory", str(job.workspace.artefacts))
        with process(*web, *folder, log=home / "web.log", environment=server.environment):
            server.prefect("variable", "set", "echoingecg_artefacts", files)
            yield Place(server.ui, files, first)
