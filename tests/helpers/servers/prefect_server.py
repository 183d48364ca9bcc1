"""A real Prefect server with the deployments served, in processes of their own on free ports."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from helpers.paths import ROOT

LIMIT = 240.0  # seconds that anything here may take


@dataclass(frozen=True)
class Server:
    """Where its UI is, and the environment of its clients."""

    ui: str
    environment: dict[str, str]

    def prefect(self, *command: str) -> str:
        """What a command of Prefect's own prints."""
        called = (sys.executable, "-m", "prefect", *command)
        return subprocess.run(called, check=True, capture_output=True, text=True, env=self.environment).stdout

    def get(self, path: str) -> Any:
        """Answer of the API."""
        return httpx.get(f"{self.ui}/api/{path}", timeout=30).raise_for_status().json()

    def start_run(self, deployment: str, **parameters: Any) -> str:
        """Starts a deployment, called `flow/name`; returns the run's id."""
        found = self.get(f"deployments/name/{deployment}")
        once = {"idempotency_key": uuid4().hex}  # asked again, it makes no second run
        made = self.post(f"deployments/{found['id']}/create_flow_run", {"parameters": parameters, **once})
        return str(made["id"])

    def state(self, run: str) -> dict[str, Any]:
        """Of a flow run: type, name, message."""
        return dict(self.get(f"flow_runs/{run}")["state"])

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Answer of the API, asked again while its database is busy, as every client of the pipeline does."""
        answer: list[httpx.Response] = []

        def answered() -> bool:
            answer.append(httpx.post(f"{self.ui}/api/{path}", json=body, timeout=30))
            return answer[-1].status_code != httpx.codes.SERVICE_UNAVAILABLE

        wait_for(answered, path)
        return answer[-1].raise_for_status().json()


@contextmanager
def process(
    *command: str, log: Path, environment: dict[str, str], group: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended with the block; with `group`, one that leads a group of its own, to be killed with it."""
    with (
        log.open("a") as out,
        subprocess.Popen(
            command, stdout=out, stderr=out, cwd=ROOT, env=environment, start_new_session=group
        ) as running,
    ):
        try:
            yield running
        finally:
            running.terminate()


def kill_group(running: subprocess.Popen[bytes]) -> None:
    """SIGKILL to a process and all that it has started."""
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()


def free_address() -> str:
    """`http://127.0.0.1:PORT`, the port free when asked."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{one.getsockname()[1]}"


def wait_for(happened: Callable[[], Any], what: str, limit: float = LIMIT) -> None:
    """Returns once it has happened; fails after the limit, s."""
    end = time.monotonic() + limit
    while not happened():
        assert time.monotonic() < end, f"{what}: not within {limit:.0f} s"
        time.sleep(0.5)


def answers(url: str) -> bool:
    """Whether a page is there."""
    try:
        return httpx.get(url, timeout=10).is_success
    except httpx.HTTPError:
        return False


def server_at(home: Path, **settings: str) -> Server:
    """A server that is not started yet: its address, and the environment of its clients and of itself."""
    ui = free_address()
    return Server(
        ui,
        os.environ
        | {
            "PREFECT_HOME": str(home / "prefect"),
            "PREFECT_API_URL": f"{ui}/api",
            "PREFECT_SERVER_UI_API_URL": f"{ui}/api",
            "PREFECT_SERVER_UI_V2_ENABLED": "false",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_RUNNER_POLL_FREQUENCY": "1",
            "DO_NOT_TRACK": "1",
            "PYTHONPATH": str(ROOT),
        }
        | settings,
    )


@contextmanager
def started(server: Server, home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The server runs."""
    host, port = server.ui.removeprefix("http://").split(":")
    start = (sys.executable, "-m", "prefect", "server", "start", "--host", host, "--port", port)
    with process(*start, log=home / "server.log", environment=server.environment, group=True) as running:
        wait_for(lambda: answers(f"{server.ui}/api/health"), "Prefect server")
        yield running


@contextmanager
def serving(server: Server, home: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """`echoingecg serve` runs with these arguments."""
    serve = (sys.executable, "-m", "flows.cli.main", "serve", *arguments)
    with process(*serve, log=home / "serve.log", environment=server.environment, group=True) as running:
        wait_for(lambda: answers(f"{server.ui}/api/deployments/name/gc/gc"), "deployments")
        yield running


@contextmanager
def served(home: Path, *arguments: str) -> Iterator[Server]:
    """The server, and `echoingecg serve` with these arguments."""
    server = server_at(home)
    with started(server, home), serving(server, home, *arguments):
        yield server
