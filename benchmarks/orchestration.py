"""What Prefect adds to the stages, a server running: wall seconds, and processor seconds of the run and the server."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from statistics import median

import psutil
from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_ANALYTICS_ENABLED, temporary_settings
from prefect.testing.utilities import prefect_test_harness

from benchmarks.measure import Goal, Row, once
from flows.request import find_recipe

TURNS = 3  # after one that is not counted
_ADDED = Goal("ours - plain < 10", lambda plain, ours: ours - plain < 10)


@dataclass(frozen=True)
class Cost:
    """Of one run: seconds that passed, and seconds of the processor."""

    wall: float
    cpu: float


@contextmanager
def server() -> Iterator[str]:
    """A Prefect server in a process of its own; yields its API's address."""
    with (
        temporary_settings({PREFECT_SERVER_ANALYTICS_ENABLED: False}),
        prefect_test_harness(server_startup_timeout=120),
    ):
        yield str(PREFECT_API_URL.value())


def flow(export: Path, workspace: str, api: str, *more: str) -> None:
    """The smoke recipe as a person would run it: the command, in a process of its own, on a server that runs."""
    command = ["run", "smoke", "--public-data", "--export", str(export), "--workspace", workspace, *more]
    called = [sys.executable, "-m", "flows.cli.main", *command]
    subprocess.run(called, check=True, capture_output=True, env=os.environ | {"PREFECT_API_URL": api})


def plain(export: Path, workspace: str) -> None:
    """The same stages as functions, in a process of their own too."""
    called = [sys.executable, "-m", "benchmarks.stages", str(export), workspace]
    subprocess.run(called, check=True, capture_output=True)


def rows() -> Iterator[Row]:
    """Both sides take turns, each in a new workspace, on one export; medians."""
    from echoingecg.simulator.export import simulate

    with tempfile.TemporaryDirectory() as folder, server() as api:
        export, settings = Path(folder) / "export", find_recipe("smoke", []).simulator
        assert settings is not None
        simulate(settings, export)
        runs: tuple[list[Cost], list[Cost]] = ([], [])
        for turn in range(TURNS + 1):
            runs[0].append(_cost(partial(plain, export, f"{folder}/plain-{turn}")))
            runs[1].append(_cost(partial(flow, export, f"{folder}/flow-{turn}", api)))
    route = "the stages as plain functions"
    wall, ours_wall = (median(one.wall for one in side[1:]) for side in runs)
    yield Row("`run smoke`, a Prefect server running", route, wall, ours_wall, _ADDED)
    cpu, ours_cpu = (median(one.cpu for one in side[1:]) for side in runs)
    yield Row("its processor time, the server's included", route, cpu, ours_cpu, _ADDED, "CPU s")


def _cost(work: Callable[[], None]) -> Cost:
    before = _processor()
    wall = once(work)
    return Cost(wall, _processor() - before)


def _processor() -> float:
    """Processor seconds so far of this process's children, ended ones and those that run."""
    ended = getrusage(RUSAGE_CHILDREN)
    live = [one.cpu_times() for one in psutil.Process().children(recursive=True)]
    return ended.ru_utime + ended.ru_stime + sum(one.user + one.system for one in live)
