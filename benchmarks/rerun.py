"""A finished DAG run again, what a Prefect server adds to the stages, and the command line's help."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_ANALYTICS_ENABLED, temporary_settings
from prefect.testing.utilities import prefect_test_harness

from benchmarks.ecg_export import write_export
from benchmarks.measure import Goal, Row, below, once, seconds
from data_contracts.conventions import UPSTREAM, Stage
from flows.order import find_recipe, make_job
from tasks.artefacts import Artefact
from tasks.job import Job
from tasks.registry import WORKS

MANY = 20_000  # ECGs
_COMMITS = "execution.commit_every=5000"  # the recipe's 10 would write a shard of 1,024 records a hundred times
_ADDED = Goal("ours - plain < 10", lambda plain, ours: ours - plain < 10)


@contextmanager
def _server() -> Iterator[None]:
    """A Prefect server in a process of its own; PREFECT_API_URL names it."""
    with (
        temporary_settings({PREFECT_SERVER_ANALYTICS_ENABLED: False}),
        prefect_test_harness(server_startup_timeout=120),
    ):
        yield


def _run(job: Job) -> None:
    artefacts: dict[Stage, Artefact] = {}
    for stage, work in WORKS.items():
        artefacts[stage], _ = work.run(job, {above: artefacts[above] for above in UPSTREAM[stage]})


def _flow(export: Path, workspace: str, server: str) -> None:
    """As a person would: the command, in a process of its own, on a server that runs."""
    command = ["run", "smoke", "--export", str(export), "--workspace", workspace, "--set", _COMMITS]
    environment = os.environ | {"PREFECT_API_URL": server}
    called = [sys.executable, "-m", "flows.cli", *command]
    subprocess.run(called, check=True, capture_output=True, env=environment)


def _plain(export: Path, workspace: str) -> None:
    """The same stages as functions, in a process of their own too."""
    code = f"from benchmarks.rerun import run_plainly; run_plainly({str(export)!r}, {workspace!r})"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def run_plainly(export: str, workspace: str) -> None:
    """For `_plain`."""
    _run(make_job(find_recipe("smoke", []), export, workspace))


def _with_many(export: Path, folder: Path) -> None:
    """Adds MANY ECGs of other patients to an export in MIMIC-IV's layout."""
    write_export(folder, MANY)
    ecgs, more = export / "mimic-iv-ecg", folder / "mimic-iv-ecg"
    with (ecgs / "record_list.csv").open("a", newline="") as table:
        known = {line.split(",")[1] for line in (ecgs / "record_list.csv").read_text().splitlines()}
        lines = (more / "record_list.csv").read_text().splitlines()[1:]
        table.writelines(f"{line}\n" for line in lines if line.split(",")[1] not in known)
    for one in (more / "files").iterdir():
        one.rename(ecgs / "files" / one.name)


def rows() -> Iterator[Row]:
    """The plain route of a rerun is the first run; of the server, the stages alone; of the help page, Python."""
    from echoingecg.simulator.export import simulate

    with tempfile.TemporaryDirectory() as folder, _server():
        recipe = find_recipe("smoke", [])
        assert recipe.simulator is not None
        export = Path(folder) / "export"
        simulate(recipe.simulator, export)
        turn, server = iter(range(100)), PREFECT_API_URL.value()
        first = seconds(lambda: _run(make_job(recipe, str(export), f"{folder}/new-{next(turn)}")), 1)
        again = seconds(lambda: _run(make_job(recipe, str(export), f"{folder}/new-0")))
        yield Row("smoke DAG again, all six cached, no server", "the first run", first, again, below(10))

        plain = seconds(lambda: _plain(export, f"{folder}/new-{next(turn)}"), 2)
        ours = seconds(lambda: _flow(export, f"{folder}/new-{next(turn)}", server), 2)
        yield Row("`run smoke`, a Prefect server running", "the stages as plain functions", plain, ours, _ADDED)

        _with_many(export, Path(folder) / "more")
        first = once(lambda: _flow(export, f"{folder}/many", server))
        again = seconds(lambda: _flow(export, f"{folder}/many", server))
        yield Row(f"the same again, {MANY:,} ECGs more", "its first run", first, again, below(10))
    bare = seconds(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True))
    page = seconds(
        lambda: subprocess.run([sys.executable, "-m", "flows.cli", "--help"], check=True, capture_output=True)
    )
    yield Row("echoingecg --help", "a bare interpreter", bare, page, below(0.5))
