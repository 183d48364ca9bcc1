"""A finished DAG run again, also with 20,000 ECGs more, and the command line's help."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.ecg_export import write_export
from benchmarks.measure import Row, below, once, seconds
from benchmarks.orchestration import flow, server
from benchmarks.stages import run_stages
from flows.request import find_recipe, make_job

MANY = 20_000  # ECGs
# The recipe's 10 would write a shard of 1,024 records a hundred times.
_COMMITS = ("--set", "execution.commit_every=5000")


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
    """The plain route of a rerun is the first run; of the help page, Python."""
    from echoingecg.simulator.export import simulate

    with tempfile.TemporaryDirectory() as folder, server() as api:
        recipe = find_recipe("smoke", [])
        assert recipe.simulator is not None
        export = Path(folder) / "export"
        simulate(recipe.simulator, export)
        job = make_job(recipe, str(export), f"{folder}/few", public_data=True)
        first = once(lambda: run_stages(job))
        again = seconds(lambda: run_stages(job))
        yield Row("smoke DAG again, all six cached, no server", "the first run", first, again, below(10))

        _with_many(export, Path(folder) / "more")
        first = once(lambda: flow(export, f"{folder}/many", api, *_COMMITS))
        again = seconds(lambda: flow(export, f"{folder}/many", api, *_COMMITS))
        yield Row(f"`run smoke` again, {MANY:,} ECGs more", "its first run", first, again, below(10))
    bare = seconds(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True))
    page = seconds(
        lambda: subprocess.run([sys.executable, "-m", "flows.cli.main", "--help"], check=True, capture_output=True)
    )
    yield Row("echoingecg --help", "a bare interpreter", bare, page, below(0.5))
