"""What dies around a run: its worker, the server, the database. Real ones, on free ports."""

import signal
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest
from postgres import postgres
from prefect_server import Server, kill_group, server_at, serving, started, wait_for

from data_contracts.manifest import Manifest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

PATIENTS = "120"  # enough for the ecg stage to be met half done
COMMITS = 3  # of the pool: created, laid out, the first files


def start(server: Server, workspace: Path) -> str:
    settings = {"simulator.patients": PATIENTS, "execution.commit_every": "20"}
    overrides = [{"field": field, "value": value} for field, value in settings.items()]
    return server.start_run("distil/distil", recipe="smoke", workspace=str(workspace), overrides=overrides)


def wait_until_half_done(workspace: Path) -> None:
    """The ecg stage has committed its first files."""
    wait_for(lambda: len(list(workspace.glob("pools/ecg/*/snapshots/*"))) > COMMITS, "a commit of the ecg stage")
    assert not list(workspace.glob("artefacts/ecg/*/manifest.json")), "the ecg stage has ended before it was disturbed"


def ends(server: Server, run: str) -> dict[str, Any]:
    """The run's final state."""
    final = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
    wait_for(lambda: server.state(run)["type"] in final, f"the end of run {run}")
    return server.state(run)


def manifest(workspace: Path, stage: str) -> Manifest:
    """Of the only artefact of a stage."""
    [path] = workspace.glob(f"artefacts/{stage}/*/manifest.json")
    return Manifest.model_validate_json(path.read_bytes())


def kill_with_children(running: subprocess.Popen[bytes]) -> None:
    """SIGKILL to a process and to whatever it has started: as when the machine goes down."""
    for one in [*psutil.Process(running.pid).children(recursive=True), running]:
        one.send_signal(signal.SIGKILL)
    running.wait()


def test_worker_and_run_killed(tmp_path: Path) -> None:
    """The run is seen as crashed, its place goes to the one that waits, and that one goes on from the last commit."""
    server, workspace = server_at(tmp_path), tmp_path / "workspace"
    with started(server, tmp_path):
        with serving(server, tmp_path, "smoke", "--workspace", str(workspace)) as worker:
            run = start(server, workspace)
            wait_until_half_done(workspace)
            kill_with_children(worker)
        killed = time.monotonic()
        assert server.state(run)["type"] == "RUNNING"
        with serving(server, tmp_path, "smoke", "--workspace", str(workspace)):
            again = start(server, workspace)
            state = ends(server, run)
            print(f"seen after {time.monotonic() - killed:.0f} s: {state}")  # noqa: T201
            assert state["type"] == "CRASHED"
            assert "no heartbeat" in state["message"]
            print(server.state(again))  # noqa: T201
            assert ends(server, again)["type"] == "COMPLETED"
    made = manifest(workspace, "ecg")
    print(made.run.new_keys, made.counts)  # noqa: T201
    assert made.run.new_keys is not None
    assert 0 < made.run.new_keys <= made.counts["records"] - 20


def test_server_restarted(tmp_path: Path) -> None:
    """Twenty seconds without a server in the middle of a stage: the run goes on, and its end is told."""
    server, workspace = server_at(tmp_path), tmp_path / "workspace"
    with ExitStack() as stack:
        with started(server, tmp_path) as first:
            stack.enter_context(serving(server, tmp_path, "smoke", "--workspace", str(workspace)))
            run = start(server, workspace)
            wait_until_half_done(workspace)
            kill_group(first)
        time.sleep(20)
        with started(server, tmp_path):
            state = ends(server, run)
            print(state)  # noqa: T201
            again = ends(server, start(server, workspace))
            print(again)  # noqa: T201


def test_database_gone_for_a_minute(tmp_path: Path) -> None:
    """A server on Postgres, which stops for a minute in the middle of a stage."""
    with tempfile.TemporaryDirectory() as outside:
        Path(outside).chmod(0o755)
        database = postgres(Path(outside) / "database")
        server = server_at(tmp_path, PREFECT_API_DATABASE_CONNECTION_URL=database.url)
        workspace = tmp_path / "workspace"
        database.start()
        try:
            with started(server, tmp_path), serving(server, tmp_path, "smoke", "--workspace", str(workspace)):
                run = start(server, workspace)
                wait_until_half_done(workspace)
                database.stop()
                time.sleep(60)
                database.start()
                state = ends(server, run)
                print(state)  # noqa: T201
                again = ends(server, start(server, workspace))
                print(again)  # noqa: T201
        finally:
            database.stop()
