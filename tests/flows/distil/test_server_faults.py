"""What dies around a run: its worker, the server, the database. Real ones, on free ports."""

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from data_contracts.conventions import STAGES
from data_contracts.manifest import Manifest
from helpers.servers.postgres import Postgres, postgres
from helpers.servers.prefect_server import (
    LIMIT,
    ROOT,
    Server,
    kill_group,
    process,
    server_at,
    serving,
    started,
    wait_for,
)

CRASHED = (sys.executable, "-m", "flows.cli.main", "crashed")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]

COMMIT_EVERY = 20
SETTINGS = {"simulator.patients": "120", "execution.commit_every": str(COMMIT_EVERY)}  # the ecg stage is met half done
COMMITS = 3  # of the pool: created, laid out, the first files


def start(server: Server, workspace: Path) -> str:
    overrides = [{"field": field, "value": value} for field, value in SETTINGS.items()]
    return server.start_run("distil/distil", recipe="smoke", workspace=str(workspace), overrides=overrides)


def wait_until_half_done(workspace: Path) -> None:
    """The ecg stage has committed its first files."""
    wait_for(lambda: len(list(workspace.glob("pools/ecg/*/snapshots/*"))) > COMMITS, "a commit of the ecg stage")
    assert not list(workspace.glob("artefacts/ecg/*/manifest.json")), "the ecg stage has ended before it was disturbed"


def ends(server: Server, run: str) -> dict[str, Any]:
    """The run's final state."""
    final = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
    wait_for(lambda: server.state(run)["type"] in final, f"the end of run {run}", 4 * LIMIT)
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


@contextmanager
def a_worker(server: Server, home: Path, workspace: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process worker, as docs/operations.md sets one up."""
    places = {"ECHOINGECG_HOME": ROOT, "ECHOINGECG_WORKSPACE": workspace, "ECHOINGECG_INBOX": home / "inbox"}
    server.environment.update({name: str(path) for name, path in places.items()}, PREFECT_WORKER_QUERY_SECONDS="1")
    if not server.post("work_pools/filter", {}):
        server.prefect("work-pool", "create", "cpu", "--type", "process")
        server.prefect("deploy", "--name", "distil")
        subprocess.run(CRASHED, check=True, cwd=ROOT, env=server.environment)
    command = (sys.executable, "-m", "prefect", "worker", "start", "--pool", "cpu")
    with process(*command, log=home / "worker.log", environment=server.environment, group=True) as running:
        yield running


def a_serve(server: Server, home: Path, workspace: Path) -> AbstractContextManager[subprocess.Popen[bytes]]:
    return serving(server, home, "smoke", "--workspace", str(workspace))


@pytest.mark.parametrize("whatever_runs_it", [a_serve, a_worker])
def test_worker_and_run_killed(whatever_runs_it: Any, tmp_path: Path) -> None:
    """The run is seen as crashed, its place goes to the one that waits, and that one goes on from the last commit."""
    server = server_at(tmp_path)
    workspace = tmp_path / "workspace"
    with started(server, tmp_path):
        with whatever_runs_it(server, tmp_path, workspace) as worker:
            run = start(server, workspace)
            wait_until_half_done(workspace)
            kill_with_children(worker)
        assert server.state(run)["type"] == "RUNNING", "nobody is left who could say otherwise"
        with whatever_runs_it(server, tmp_path, workspace):
            again = start(server, workspace)
            state = ends(server, run)
            assert (state["type"], state["message"][:12]) == ("CRASHED", "no heartbeat")
            assert ends(server, again)["type"] == "COMPLETED"
    made = manifest(workspace, "ecg")
    assert made.run.new_keys is not None
    assert 0 < made.run.new_keys <= made.counts["records"] - COMMIT_EVERY


def test_server_restarted(tmp_path: Path) -> None:
    """Killed in the middle of a stage, and away for twenty seconds: the run goes on, and its end is told."""
    server, workspace = server_at(tmp_path), tmp_path / "workspace"
    with ExitStack() as stack:
        with started(server, tmp_path) as first:
            stack.enter_context(a_serve(server, tmp_path, workspace))
            run = start(server, workspace)
            wait_until_half_done(workspace)
            kill_group(first)
        time.sleep(20)
        stack.enter_context(started(server, tmp_path))
        assert ends(server, run)["type"] == "COMPLETED"
        assert ends(server, start(server, workspace))["type"] == "COMPLETED", "what is served is still served"


@pytest.fixture
def database() -> Iterator[Postgres]:
    """Postgres, in a folder that its own user can reach."""
    with tempfile.TemporaryDirectory() as outside:
        Path(outside).chmod(0o755)
        made = postgres(Path(outside))
        made.start()
        yield made
        made.stop()


def test_database_gone_for_a_minute(database: Postgres, tmp_path: Path) -> None:
    """In the middle of a stage: the run waits for it, and ends well; what serves the deployments is still there."""
    server = server_at(tmp_path, PREFECT_API_DATABASE_CONNECTION_URL=database.url)
    workspace = tmp_path / "workspace"
    with started(server, tmp_path), a_serve(server, tmp_path, workspace):
        run = start(server, workspace)
        wait_until_half_done(workspace)
        database.stop()
        time.sleep(60)
        database.start()
        assert ends(server, run)["type"] == "COMPLETED"
        assert ends(server, start(server, workspace))["type"] == "COMPLETED"


def test_two_operators_start_the_same(tmp_path: Path) -> None:
    """One in the UI, the other at a terminal, on an empty workspace: every file is processed once."""
    server, workspace = server_at(tmp_path), tmp_path / "workspace"
    settings = [part for field, value in SETTINGS.items() for part in ("--set", f"{field}={value}")]
    command = (sys.executable, "-m", "flows.cli.main", "run", "smoke", "--workspace", str(workspace), *settings)
    with (
        started(server, tmp_path),
        a_serve(server, tmp_path, workspace),
        process(*command, log=tmp_path / "run.log", environment=server.environment) as terminal,
    ):
        run = start(server, workspace)
        assert ends(server, run)["type"] == "COMPLETED"
        assert terminal.wait(4 * LIMIT) == 0, (tmp_path / "run.log").read_text()
        runs = [(one["name"], one["state"]["name"]) for one in server.post("task_runs/filter", {})]
    assert len([manifest(workspace, stage) for stage in STAGES]) == len(STAGES)
    assert not list(workspace.glob("artefacts/*/.replaced"))
    made = manifest(workspace, "ecg")
    assert made.run.new_keys == made.counts["records"] + made.counts["refused"]
    for stage in STAGES:
        assert sorted(state for name, state in runs if name == stage) == ["Cached", "Completed"]


def test_the_watch_is_set_once_and_doctor_tells(tmp_path: Path) -> None:
    server = server_at(tmp_path)

    def doctor() -> str:
        command = (sys.executable, "-m", "flows.cli.main", "doctor", "--workspace", str(tmp_path))
        environment = server.environment | {"COLUMNS": "200"}
        return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, env=environment).stdout

    with started(server, tmp_path):
        assert "stay Running for ever" in doctor()
        for _ in range(2):
            subprocess.run(CRASHED, check=True, cwd=ROOT, env=server.environment)
        assert "marks a run crashed" in doctor()
        [made] = server.post("automations/filter", {})
        httpx.patch(f"{server.ui}/api/automations/{made['id']}", json={"enabled": False}).raise_for_status()
        assert "stay Running for ever" in doctor()
        subprocess.run(CRASHED, check=True, cwd=ROOT, env=server.environment)
        assert "marks a run crashed" in doctor()
        assert len(server.post("automations/filter", {})) == 1


def test_a_false_alarm_costs_nothing(tmp_path: Path) -> None:
    """A run that is called crashed though it lives goes on; the next one starts beside it, and takes its turns."""
    server, workspace = server_at(tmp_path), tmp_path / "workspace"
    with started(server, tmp_path), a_serve(server, tmp_path, workspace):
        run = start(server, workspace)
        wait_until_half_done(workspace)
        server.post(f"flow_runs/{run}/set_state", {"state": {"type": "CRASHED", "message": "false"}, "force": False})
        again = start(server, workspace)
        assert ends(server, again)["type"] == "COMPLETED"
        wait_for(lambda: server.state(run)["type"] == "COMPLETED", "the true end of the first", 4 * LIMIT)
    assert manifest(workspace, "ecg").run.new_keys == 188
    assert not list(workspace.glob("artefacts/*/.replaced"))
