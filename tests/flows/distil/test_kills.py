"""kill -9 at random moments over the whole DAG: what comes out is what an undisturbed run gives.

Twenty by default; ECHOINGECG_KILLS=100 runs a hundred, in about half an hour. A collector that deletes all the time
runs beside half of the runs that are killed.
"""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from flows.request import find_recipe
from helpers.cases.public_jobs import make_job
from helpers.cases.stage_runs import Run, run_stages
from helpers.paths import ROOT
from tasks.base.workspace import Workspace
from tasks.operations.verify_and_collect import faults, garbage_collect
from tasks.store import ArtefactStore

KILLS = int(os.environ.get("ECHOINGECG_KILLS", "20"))
KILLS_A_ROUND = 10  # then the run is left alone, so that the next ones hit early stages again
SPAN = 20.0  # s after the flow has begun; two free cores are through in as many
PATIENCE = 600.0  # s
A_DAY = 25 * 3600.0


def begun(workspace: Path, home: Path, *settings: str) -> subprocess.Popen[str]:
    """`echoingecg run smoke` in a process group of its own, its flow just begun."""
    environment = os.environ | {"PREFECT_HOME": str(home), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    environment.pop("PREFECT_API_URL", None)
    command = [sys.executable, "-m", "flows.cli.main", "run", "smoke", "--workspace", str(workspace)]
    command += [word for setting in settings for word in ("--set", setting)]
    pipe = subprocess.PIPE
    run = subprocess.Popen(
        command, stdout=pipe, stderr=subprocess.STDOUT, text=True, env=environment, cwd=ROOT, start_new_session=True
    )
    assert run.stdout is not None
    said = ""
    for line in run.stdout:
        said += line
        if "Beginning flow run" in line:
            return run
    run.communicate()
    raise AssertionError(said)


def killed(run: subprocess.Popen[str], after: float) -> bool:
    """Kills the whole group after so many seconds; False when the run has ended by then, and well."""
    try:
        said, _ = run.communicate(timeout=after)
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        run.communicate()
        return True
    assert run.returncode == 0, said
    return False


@contextmanager
def collected(workspace: Path) -> Iterator[None]:
    """A collector deletes what it may, again and again, for as long as the block lasts; its fault fails the test."""
    ended, faults_seen = threading.Event(), []

    def collect() -> None:
        while not ended.wait(0.3):
            if workspace.is_dir():
                try:
                    list(garbage_collect(ArtefactStore(Workspace(workspace)), delete=True, force=True))
                except Exception as fault:  # noqa: BLE001 - raised below
                    faults_seen.append(fault)
                    return

    collector = threading.Thread(target=collect)
    collector.start()
    try:
        yield
    finally:
        ended.set()
        collector.join()
    if faults_seen:
        raise faults_seen[0]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of the command that nobody killed."""
    home = tmp_path_factory.mktemp("left-alone")
    assert not killed(begun(home / "workspace", home / "prefect"), PATIENCE)
    return run_stages(make_job(find_recipe("smoke", []), "", str(home / "workspace")))


def what_is_left(run: Run) -> list[str]:
    """Every file once garbage is collected. Commits of a pool, and files about an export, have names of their own."""
    assert [fault for one in run.artefacts.values() for fault in faults(run.job.store, one)] == []
    list(garbage_collect(run.job.store, delete=True))
    root = run.job.workspace.root
    names = (str(path.relative_to(root)) for path in root.rglob("*") if path.suffix != ".lock")
    return sorted(re.sub(r"((?:sources|last|rows)-)\w+|(pools/.*/)\w+$", r"\1\2*", name) for name in names)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_run_beside_a_collector_that_deletes_all_the_time(undisturbed: Run, tmp_path: Path) -> None:
    """A new student in a workspace whose newest evaluation, and alias, is another's."""
    workspace = tmp_path / "workspace"
    shutil.copytree(undisturbed.job.workspace.root, workspace)
    store = ArtefactStore(Workspace(workspace))
    for settings in (["student.seed=7"], ["pairs.window_hours=30"]):
        run, deleted = begun(workspace, tmp_path / "prefect", *settings), []
        while run.poll() is None:
            deleted += list(garbage_collect(store, delete=True, force=True))
            time.sleep(0.2)
        said, _ = run.communicate()
        assert run.returncode == 0, said
        made = run_stages(make_job(find_recipe("smoke", settings), "", str(workspace)))
        assert all(made.cached.values())
        assert [fault for one in made.artefacts.values() for fault in faults(store, one)] == []
        assert not set(deleted) & {f"deleted artefacts/{stage}/{one.version}" for stage, one in made.artefacts.items()}
        list(garbage_collect(store, delete=True, force=True))
        assert {one.version for one in store.here()} == {one.version for one in made.artefacts.values()}


def published(workspace: Path) -> str:
    """`catalog, ecg`."""
    return ", ".join(one.stage for one in ArtefactStore(Workspace(workspace)).published()) or "nothing"


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_kills_at_random_moments(
    undisturbed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed and run again until it ends well; then from an empty workspace, until all kills have hit."""
    draw, kills, round_, real = random.Random(20), 0, 0, time.time
    while kills < KILLS:
        workspace = tmp_path / f"workspace-{(round_ := round_ + 1)}"
        span, last = SPAN, min(kills + KILLS_A_ROUND, KILLS)
        while kills < last:
            after = span * draw.random()
            with collected(workspace) if (is_collected := draw.random() < 0.5) else nullcontext():
                was_killed = killed(begun(workspace, tmp_path / "prefect"), after)
            if not was_killed:
                break
            kills += 1
            span = max(0.8 * span, 0.4 * SPAN)  # a run that goes on has less to do
            beside = ", a collector beside" if is_collected else ""
            says = f"kill {kills} in round {round_} after {after:.1f} s{beside}; published: {published(workspace)}"
            with capsys.disabled():
                print(f"\n{says}", end="")  # noqa: T201 - a run of many minutes
        else:
            assert not killed(begun(workspace, tmp_path / "prefect"), PATIENCE)
        run = run_stages(make_job(undisturbed.job.recipe, "", str(workspace)))
        assert all(run.cached.values())
        assert run.content == undisturbed.content
        with monkeypatch.context() as tomorrow:
            tomorrow.setattr("tasks.operations.verify_and_collect.time.time", lambda: real() + A_DAY)
            assert what_is_left(run) == what_is_left(undisturbed)
        shutil.rmtree(workspace)
