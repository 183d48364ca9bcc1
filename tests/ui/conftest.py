"""A real Prefect server, the served deployments, a workspace where the smoke recipe has run, and Chromium."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.order import find_recipe, make_job
from support import Run, run_stages

CHROMIUM = Path("/usr/bin/chromium")
ROOT = Path(__file__).resolve().parents[2]
LIMIT = 180.0  # seconds that anything here may take


@dataclass(frozen=True)
class Place:
    """Addresses of the UI and of the artefacts, and the run that filled the workspace."""

    ui: str
    artefacts: str
    first: Run


@contextmanager
def process(*command: str, log: Path, **environment: str) -> Iterator[None]:
    with (
        log.open("w") as out,
        subprocess.Popen(command, stdout=out, stderr=out, cwd=ROOT, env=os.environ | environment) as running,
    ):
        try:
            yield
        finally:
            running.terminate()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def wait_for(happened: Callable[[], Any], what: str) -> None:
    end = time.monotonic() + LIMIT
    while not happened():
        assert time.monotonic() < end, f"{what}: not within {LIMIT:.0f} s"
        time.sleep(0.5)


def answers(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    from echoingecg.simulator.export import simulate

    home = tmp_path_factory.mktemp("ui")
    job = make_job(find_recipe("smoke", []), "", str(home / "workspace"))
    assert job.recipe.simulator is not None
    job.export.parent.mkdir(parents=True)
    simulate(job.recipe.simulator, job.export)
    first = run_stages(job)

    ui, files = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    settings = {
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_API_URL": f"{ui}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_V2_ENABLED": "false",
        "PREFECT_SERVER_UI_API_URL": f"{ui}/api",
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
        "DO_NOT_TRACK": "1",
        "PYTHONPATH": str(ROOT),
    }
    prefect = (sys.executable, "-m", "prefect")
    host, port = "127.0.0.1", ui.rpartition(":")[2]
    web = (sys.executable, "-m", "http.server", "--bind", host, files.rpartition(":")[2])
    with (
        process(*prefect, "server", "start", "--host", host, "--port", port, log=home / "server.log", **settings),
        process(*web, "--directory", str(job.workspace.artefacts), log=home / "web.log"),
    ):
        wait_for(lambda: answers(f"{ui}/api/health"), "Prefect server")
        variable = (*prefect, "variable", "set", "echoingecg_artefacts", files)
        subprocess.run(variable, check=True, capture_output=True, env=os.environ | settings)
        serve = (sys.executable, "-m", "flows.cli", "serve", "--workspace", str(job.workspace.root))
        with process(*serve, log=home / "serve.log", **settings):
            wait_for(lambda: answers(f"{ui}/api/deployments/name/distil/distil"), "deployments")
            yield Place(ui, files, first)


@pytest.fixture
def page() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip(f"needs {CHROMIUM}: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the extra `ui`")
    with sync_api.sync_playwright() as playwright:
        # Chromium's own sandbox needs user namespaces, which a container may not grant.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 1280, "height": 1200})
        opened.set_default_timeout(30_000)
        yield opened
        browser.close()
