"""Ctrl-C and SIGTERM end a run within ten seconds, in one line; the next run goes on to the same bytes. Real ones."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from flows.request import find_recipe
from helpers.cases.public_jobs import make_job
from helpers.cases.stage_runs import Run, run_stages
from helpers.paths import ROOT
from helpers.servers.prefect_server import Server, process, server_at, serving, started, wait_for
from tasks.base.workspace import Workspace
from tasks.store import ArtefactStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

LIMIT = 10.0  # s
PATIENCE = 600.0
MOMENTS = 20
SETTINGS = {"student.epochs": "12", "student.checkpoint_steps": "1000"}  # no checkpoint but that of the signal
OVERRIDES = [f"{field}={value}" for field, value in SETTINGS.items()]
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """Whoever runs the tests in the background of a shell has them, and what they start, ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    from echoingecg.simulator.export import simulate

    root = tmp_path_factory.mktemp("left-alone")
    recipe = find_recipe("smoke", OVERRIDES)
    assert recipe.simulator is not None
    simulate(recipe.simulator, root / "export")
    return run_stages(make_job(recipe, str(root / "export"), str(root / "workspace")))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("server")
    with started(server := server_at(home), home):
        yield server


@contextmanager
def running(undisturbed: Run, workspace: Path, server: Server | None, simulated: bool) -> Iterator[subprocess.Popen]:
    """`echoingecg run` in a process group of its own, as a terminal starts it; what it writes goes to a file beside."""
    environment = {**os.environ, "PREFECT_HOME": str(workspace.parent / "prefect"), "PYTHONPATH": str(ROOT)}
    environment.pop("PREFECT_API_URL", None)
    environment |= server.environment if server else {}
    words = [word for override in OVERRIDES for word in ("--set", override)]
    words += [] if simulated else ["--export", str(undisturbed.job.export), "--public-data"]
    log = workspace.parent / "run.log"
    log.unlink(missing_ok=True)
    command = (sys.executable, "-m", "flows.cli.main", "run", "smoke", "--workspace", str(workspace), *words)
    with process(*command, log=log, environment=environment, group=True) as run:
        yield run


def said(workspace: Path) -> str:
    return (workspace.parent / "run.log").read_text()


def reached(run: subprocess.Popen, workspace: Path, stage: str) -> bool:
    """Waits until a stage has reported progress, or the run has ended."""
    wait_for(lambda: run.poll() is not None or f" - {stage}: " in said(workspace), stage, PATIENCE)
    return run.poll() is None


def stop(run: subprocess.Popen, workspace: Path, number: signal.Signals, group: bool) -> None:
    """Sends the signal, to the whole group as a terminal does or to the process; checks how the run ends."""
    before, children = said(workspace), psutil.Process(run.pid).children(recursive=True)
    begin = time.monotonic()
    (os.killpg if group else os.kill)(run.pid, number)
    code = run.wait(PATIENCE)
    took = time.monotonic() - begin
    after = said(workspace).removeprefix(before)
    if code == 0:
        assert "report.html" in after, "it had ended before the signal came"
        return
    assert code == CODES[number], after
    assert took < LIMIT, after
    assert re.findall(r"^stopped by (\w+): run again", after, re.MULTILINE) == [number.name], after
    assert "Traceback" not in after
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not alive


def check_resumed(undisturbed: Run, workspace: Path, server: Server | None, simulated: bool) -> None:
    with running(undisturbed, workspace, server, simulated) as run:
        assert run.wait(PATIENCE) == 0, said(workspace)
    export = "" if simulated else str(undisturbed.job.export)
    done = run_stages(make_job(undisturbed.job.recipe, export, str(workspace)))
    assert all(done.cached.values())
    assert done.content == undisturbed.content


@pytest.mark.parametrize("with_server", [False, True], ids=["own server", "server"])
@pytest.mark.parametrize(("number", "group"), [(signal.SIGINT, True), (signal.SIGTERM, False)])
def test_a_signal_during_training_leaves_a_checkpoint(
    undisturbed: Run, server: Server, with_server: bool, number: signal.Signals, group: bool, tmp_path: Path
) -> None:
    workspace, used = tmp_path / "workspace", server if with_server else None
    with running(undisturbed, workspace, used, False) as run:
        assert reached(run, workspace, "student"), said(workspace)
        stop(run, workspace, number, group)
    assert len(list(workspace.glob("scratch/student/*/checkpoint.safetensors"))) == 1
    if with_server:
        newest = server.post("flow_runs/filter", {"sort": "START_TIME_DESC", "limit": 1})[0]
        assert newest["state"]["type"] == "CRASHED", "not Running for ever"
    check_resumed(undisturbed, workspace, used, False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_lets_its_run_leave_a_checkpoint(undisturbed: Run, number: signal.Signals, tmp_path: Path) -> None:
    server, workspace = server_at(tmp_path), tmp_path / "workspace"
    overrides = [{"field": field, "value": value} for field, value in SETTINGS.items()]
    arguments = {
        "recipe": "smoke",
        "workspace": str(workspace),
        "export": str(undisturbed.job.export),
        "public_data": True,
    }
    with started(server, tmp_path):
        with serving(server, tmp_path, "smoke", "--workspace", str(workspace)) as serve:
            run = server.start_run("distil/distil", **arguments, overrides=overrides)
            log = tmp_path / "serve.log"
            wait_for(lambda: " - student: " in log.read_text(), "the student", PATIENCE)
            begin = time.monotonic()
            (os.killpg if number == signal.SIGINT else os.kill)(serve.pid, number)
            assert serve.wait(PATIENCE) == CODES[number]
            assert time.monotonic() - begin < LIMIT
        assert f"stopped by {number.name}" in log.read_text()
        assert server.state(run)["type"] == "CRASHED"
    assert len(list(workspace.glob("scratch/student/*/checkpoint.safetensors"))) == 1
    check_resumed(undisturbed, workspace, None, False)


def test_a_run_that_is_cancelled_in_the_ui_leaves_a_checkpoint(undisturbed: Run, tmp_path: Path) -> None:
    server, workspace = server_at(tmp_path), tmp_path / "workspace"
    overrides = [{"field": field, "value": value} for field, value in SETTINGS.items()]
    arguments = {
        "recipe": "smoke",
        "workspace": str(workspace),
        "export": str(undisturbed.job.export),
        "public_data": True,
    }
    with started(server, tmp_path), serving(server, tmp_path, "smoke", "--workspace", str(workspace)):
        run = server.start_run("distil/distil", **arguments, overrides=overrides)
        wait_for(lambda: " - student: " in (tmp_path / "serve.log").read_text(), "the student", PATIENCE)
        server.post(f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}, "force": False})
        wait_for(lambda: server.state(run)["type"] == "CANCELLED", "the cancelled run", 60)
    assert len(list(workspace.glob("scratch/student/*/checkpoint.safetensors"))) == 1


@pytest.mark.parametrize("with_server", [False, True], ids=["own server", "server"])
def test_signals_at_random_moments(
    undisturbed: Run, server: Server, with_server: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped and run again until it ends well, over every stage; then from an empty workspace, twenty times in all."""
    draw, stops, round_ = random.Random(23), 0, 0
    while stops < MOMENTS:
        (place := tmp_path / str(round_ := round_ + 1)).mkdir()
        workspace, used = place / "workspace", server if with_server else None
        for stage in ("simulate", "catalog", "ecg", "teacher", "student", "evaluation"):
            number = draw.choice([signal.SIGINT, signal.SIGTERM])
            with running(undisturbed, workspace, used, True) as run:
                if not reached(run, workspace, stage):
                    continue
                time.sleep(draw.random() * 2)
                if run.poll() is not None:
                    continue
                stop(run, workspace, number, draw.random() < 0.5)
                stops += 1
            there = ", ".join(one.stage for one in ArtefactStore(Workspace(workspace)).published()) or "nothing"
            with capsys.disabled():
                print(f"\n{number.name} {stops} in round {round_} during {stage}; published: {there}", end="")  # noqa: T201
        check_resumed(undisturbed, workspace, used, True)
