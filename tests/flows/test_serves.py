"""Several `serve` on one real server, and schedules that a person has paused in the UI, as the UI's calls do it."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from helpers.paths import ROOT
from helpers.servers.prefect_server import Server, kill_group, process, server_at, started, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("server")
    with started(server := server_at(home), home):
        yield server


def command(workspace: Path, *more: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "flows.cli.main", "serve", "smoke", "--workspace", str(workspace), *more)


@contextmanager
def serving(server: Server, workspace: Path, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    """`serve`, once it says that it serves."""
    log = workspace.with_suffix(".log")
    log.unlink(missing_ok=True)
    with process(*command(workspace, *more), log=log, environment=server.environment, group=True) as running:
        wait_for(lambda: "serving " in log.read_text() or running.poll() is not None, "serve")
        wait_for(lambda: not read(server, "retrain/retrain" + "".join(f"-{name}" for name in more[1:]))["paused"], "it")
        yield running


def stop(running: subprocess.Popen[bytes]) -> None:
    running.send_signal(signal.SIGTERM)
    assert running.wait(60) == 143


def read(server: Server, deployment: str) -> dict[str, Any]:
    answer = httpx.get(f"{server.ui}/api/deployments/name/{deployment}", timeout=60)
    return dict(answer.json()) if answer.is_success else {"paused": True}


def is_on(server: Server) -> bool:
    """Whether retrain's schedule would start runs."""
    (schedule,) = (deployment := read(server, "retrain/retrain"))["schedules"]
    return bool(schedule["active"]) and not deployment["paused"]


def switch_schedule(server: Server, active: bool) -> None:
    """The switch beside the schedule, on the deployment's page."""
    deployment = read(server, "retrain/retrain")
    path = f"{server.ui}/api/deployments/{deployment['id']}/schedules/{deployment['schedules'][0]['id']}"
    press(lambda: httpx.patch(path, json={"active": active}, timeout=30))


def switch_deployment(server: Server) -> None:
    """The switch in the list of deployments."""
    path = f"{server.ui}/api/deployments/{read(server, 'retrain/retrain')['id']}/pause_deployment"
    press(lambda: httpx.post(path, timeout=30))


def press(request: Callable[[], httpx.Response]) -> None:
    """Sends a request again while the server's database is busy."""
    answers: list[httpx.Response] = []
    wait_for(lambda: answers.append(request()) or answers[-1].status_code != httpx.codes.SERVICE_UNAVAILABLE, "it")
    answers[-1].raise_for_status()


def test_a_second_serve_is_refused_or_has_a_name(server: Server, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    with serving(server, first) as running:
        refused = subprocess.run(
            command(second), capture_output=True, text=True, env=server.environment, check=False, cwd=ROOT
        )
        assert refused.returncode == 2, refused.stderr
        (line,) = [line for line in refused.stderr.splitlines() if line.startswith("error: ")]
        assert "another `serve` runs these deployments on this server (process " in line
        assert line.endswith("stop it, or give this one a --name")
        assert read(server, "distil/distil")["parameters"]["workspace"] == str(first)
        assert not read(server, "distil/distil")["paused"]
        with serving(server, second, "--name", "north") as other:
            assert read(server, "distil/distil-north")["parameters"]["workspace"] == str(second)
            assert read(server, "distil/distil")["parameters"]["workspace"] == str(first)
            stop(other)
            assert read(server, "retrain/retrain-north")["paused"]
            assert not read(server, "distil/distil")["paused"]
            assert is_on(server)
        stop(running)
    bad = subprocess.run(
        command(second, "--name", "No/rth"),
        capture_output=True,
        text=True,
        env=server.environment,
        check=False,
        cwd=ROOT,
    )
    assert (bad.returncode, "error: --name 'No/rth': write small letters" in bad.stderr) == (2, True)


def test_the_schedule_plans_several_runs_ahead(server: Server, tmp_path: Path) -> None:
    """A server whose scheduler fails still answers; Prefect 3.8 planned nothing on SQLAlchemy 2.1."""
    asked = {"flows": {"name": {"any_": ["retrain"]}}, "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}

    def planned() -> list[datetime]:
        return sorted(
            datetime.fromisoformat(run["expected_start_time"])
            for run in server.post("flow_runs/filter", asked)
            if run["deployment_id"] == read(server, "retrain/retrain")["id"]
        )

    with serving(server, tmp_path / "workspace") as running:
        wait_for(lambda: len(planned()) >= 3, "three runs")
        times = planned()
        stop(running)
    assert {later - before for before, later in pairwise(times)} == {timedelta(hours=1)}, "it looks every hour"


def test_what_a_person_has_paused_stays_paused(server: Server, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    with serving(server, workspace) as running:
        assert is_on(server)
        switch_schedule(server, False)
        stop(running)
    with serving(server, workspace) as running:
        assert not is_on(server)
        switch_schedule(server, True)
        stop(running)
    with serving(server, workspace) as running:
        assert is_on(server), "what was not paused by a person starts again"
        switch_deployment(server)
        stop(running)
    with serving(server, workspace) as running:
        assert not is_on(server)
        switch_schedule(server, True)
        kill_group(running)
    with serving(server, workspace) as running:
        assert is_on(server), "killed: nobody has paused anything, and nobody lives"
        switch_deployment(server)
        kill_group(running)
    with serving(server, workspace) as running:
        assert not is_on(server)
        switch_schedule(server, True)
        stop(running)


def test_deploy_all_leaves_a_pause(server: Server, tmp_path: Path) -> None:
    for pool in ("cpu", "gpu"):
        server.prefect("work-pool", "create", pool, "--type", "process")
    places = {name: str(tmp_path) for name in ("ECHOINGECG_HOME", "ECHOINGECG_WORKSPACE", "ECHOINGECG_INBOX")}

    def deploy() -> None:
        typed = (sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all")
        done = subprocess.run(
            typed, cwd=ROOT, env=server.environment | places, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    with serving(server, tmp_path / "workspace") as running:
        stop(running)
    assert not is_on(server), "nobody serves it"
    deploy()
    assert is_on(server), "the pause was that of serve"
    for pause in (lambda: switch_schedule(server, False), lambda: switch_deployment(server)):
        pause()
        deploy()
        assert not is_on(server)
        switch_schedule(server, True)
        assert is_on(server)
    assert read(server, "retrain/retrain")["parameters"]["inbox"] == str(tmp_path)
