"""What dies around a run: its worker, the server, the database. Real ones, on free ports."""

import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect_server import Server, server_at, serving, started, wait_for

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
