"""Stage catalog: the export's lists as checked tables, with pseudonyms and a quarantine; and simulated exports."""

import os
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from filelock import FileLock

from data_contracts import catalog as contract
from data_contracts import conventions, quarantine
from data_contracts.tables import TableContract
from echoingecg import simulator
from echoingecg.catalog import CODE_VERSION
from echoingecg.common import Progress, StoreError, fingerprint, read_origin
from echoingecg.recipe import Recipe
from tasks import known_exports, stage
from tasks.base import progress
from tasks.base.workspace import Workspace, writing_to
from tasks.label_check import check_measurements
from tasks.store import Artefact, Built, Inputs, Job, key_digest, private_folder, read_private, write_private

_TIMED = (contract.ECGS, contract.ECHOES, contract.REPORTS, contract.MEASUREMENTS)


def simulated_export(workspace: Workspace, recipe: Recipe) -> Path:
    """Folder of the recipe's simulated export, whether it is written or not."""
    assert recipe.simulator is not None
    return workspace.exports / f"simulated-{fingerprint([simulator.CODE_VERSION, recipe.simulator.model_dump()])}"


def _simulate(job: Job) -> progress.Outcome:
    """Writes the simulated export if the job uses it and it does not exist yet."""
    if job.export.exists():
        return progress.Outcome(f"export {job.export}", name="Cached")
    from echoingecg.simulator.export import simulate as write  # NumPy, OpenCV: not for a cached run

    assert job.recipe.simulator is not None
    with writing_to(job.workspace.root):
        job.export.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(job.export.with_suffix(".lock")):
            if not job.export.exists():  # another run may have written it while this one waited
                write(job.recipe.simulator, job.export, progress.Reporter("simulate"), workers=os.cpu_count() or 1)
    return progress.Outcome(f"export {job.export}")


def _source(job: Job) -> dict[str, str]:
    """The export's content, which key made the pseudonyms, and whose data it holds."""
    return {"export": job.scan.digest, "key": key_digest(job.key), "origin": _origin(job)}


def _origin(job: Job) -> str:
    """Whose data the exports hold, as they state it themselves; else a public key says that they are public."""
    unstated = "public" if job.recipe.catalog.public_key else "hospital"
    return conventions.merged_origins(read_origin(export.folder) or unstated for export in job.exports)


def _build(job: Job, inputs: Inputs, folder: Path, report: Progress) -> Built:
    from echoingecg.catalog.build import build_catalog, with_coarse_hours  # pandas: not for a cached run

    result = build_catalog(job.scan, job.key, release=True)
    tables = result.tables
    job.keep_refused_rows(result.refused_rows)
    refusals = tables[quarantine.QUARANTINE.name]
    tried = sum(table.num_rows for table in tables.values())
    limit = job.recipe.catalog.max_refused_share
    for contract_of_files, kind in ((contract.ECGS, "ECGs"), (contract.ECHOES, "echo clips")):
        listed = result.listed[contract_of_files.name]  # beside millions of measurements, missing files are few
        used = pc.count_distinct(tables[contract_of_files.name]["source_id"]).as_py()
        stage.check_refusals(job, "catalog", refusals, listed, limit, kind, listed - used)
    stage.check_refusals(job, "catalog", refusals, tried, limit)
    step = job.recipe.catalog.interval_hours
    if step:
        _keep_hours(job, tables)
    for table in contract.TABLES:
        table.write(with_coarse_hours(tables[table.name], step), folder)
    owners = (tables[table.name]["patient_id"].unique().to_pylist() for table in (contract.ECGS, contract.ECHOES))
    patients = {patient for column in owners for patient in column}
    counts = {table.name: tables[table.name].num_rows for table in contract.TABLES}
    read_files = job.scan.read_files
    if result.gaps:
        counts["measurements without result"] = result.gaps
    job.forget_scan()
    return Built({"patients": len(patients), **counts}, new_keys=read_files)


def _keep_hours(job: Job, tables: Mapping[str, pa.Table]) -> None:
    """Keeps the exact hours of a catalog's tables in the private part of the workspace."""
    folder = hours_folder(job.workspace, WORK.plan(job, {}).version)
    with writing_to(job.workspace.root):
        private_folder(job.workspace.private)
        private_folder(folder.parent)
        private_folder(folder)
        for table in _TIMED:
            write_private(folder / table.filename, tables[table.name].select(["hours"]))


def hours_folder(workspace: Workspace, version: str) -> Path:
    """Where the exact hours of a catalog are, if this workspace has built it."""
    return workspace.private / "hours" / version


def with_exact_hours(workspace: Workspace, listed: Artefact, table: pa.Table, name: str) -> pa.Table:
    """A catalog's table with exact hours where this workspace has them; as it is where it has not."""
    if not listed.manifest.recipe.get("interval_hours"):
        return table
    if (exact := read_private(hours_folder(workspace, listed.version) / f"{name}.parquet")) is None:
        return table
    from echoingecg.catalog.build import with_hours

    return with_hours(table, exact["hours"])


def read_exact(job: Job, listed: Artefact, table: TableContract) -> pa.Table:
    """A table of a catalog with exact hours: who is nearest, and who is within a window, must not follow the rounding.

    Where another workspace has built the catalog, or the hours are damaged, they are read from the export again.

    Raises:
        StoreError: the export is not the one that the catalog was made from.
    """
    is_coarse = bool(listed.manifest.recipe.get("interval_hours"))
    if is_coarse and read_private(hours_folder(job.workspace, listed.version) / table.filename) is None:
        from echoingecg.catalog.build import build_catalog

        if WORK.plan(job, {}).version != listed.version:
            raise StoreError(f"{listed}: its exact times are not in {job.workspace.root}: run with --from catalog")
        _keep_hours(job, build_catalog(job.scan, job.key, release=True).tables)
        job.forget_scan()
    return with_exact_hours(job.workspace, listed, table.read(listed.folder), table.name)


def _check(job: Job, inputs: Inputs, listed: Artefact) -> None:
    known_exports.check(job, listed)
    check_measurements(job, inputs, listed)


WORK = stage.StageWork("catalog", contract.CONTRACT_VERSION, CODE_VERSION, _build, _source, check=_check)
simulate = progress.as_task("simulate", _simulate)
catalog = stage.as_task(WORK)
