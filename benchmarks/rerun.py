"""A finished DAG run again as plain functions, and the command line's help."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Row, below, seconds
from data_contracts.conventions import UPSTREAM, Stage
from flows.order import find_recipe, make_job
from tasks.artefacts import Artefact
from tasks.job import Job
from tasks.registry import WORKS


def _run(job: Job) -> None:
    artefacts: dict[Stage, Artefact] = {}
    for stage, work in WORKS.items():
        artefacts[stage], _ = work.run(job, {above: artefacts[above] for above in UPSTREAM[stage]})


def rows() -> Iterator[Row]:
    """The plain route of a rerun is the first run; that of the help page is a bare interpreter."""
    from echoingecg.simulator.export import simulate

    with tempfile.TemporaryDirectory() as folder:
        recipe = find_recipe("smoke", [])
        assert recipe.simulator is not None
        export = Path(folder) / "export"
        simulate(recipe.simulator, export)
        turn = iter(range(100))
        first = seconds(lambda: _run(make_job(recipe, str(export), f"{folder}/new-{next(turn)}")), 1)
        again = seconds(lambda: _run(make_job(recipe, str(export), f"{folder}/new-0")))
        yield Row("smoke DAG again, all six cached, no server", "the first run", first, again, below(10))
    bare = seconds(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True))
    page = seconds(
        lambda: subprocess.run([sys.executable, "-m", "flows.cli", "--help"], check=True, capture_output=True)
    )
    yield Row("echoingecg --help", "a bare interpreter", bare, page, below(0.5))
