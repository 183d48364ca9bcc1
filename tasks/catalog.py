"""Stage catalog: the export's lists as checked tables, with pseudonyms and a quarantine; and simulated exports."""

import os
from pathlib import Path

import pyarrow.compute as pc
from filelock import FileLock

from data_contracts import catalog as contract
from data_contracts import quarantine
from echoingecg import simulator
from echoingecg.catalog import CODE_VERSION
from echoingecg.common import Progress, fingerprint
from echoingecg.recipe import Recipe
from tasks import known_exports, stage
from tasks.base import progress
from tasks.base.workspace import Workspace, writing_to
from tasks.label_check import check_measurements
from tasks.store import Artefact, Built, Inputs, Job, key_digest


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
    """The export's content, and which key made the pseudonyms."""
    return {"export": job.scan.digest, "key": key_digest(job.key)}


def _build(job: Job, inputs: Inputs, folder: Path, report: Progress) -> Built:
    from echoingecg.catalog.build import build_catalog  # pandas: not for a cached run

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
    for table in contract.TABLES:
        table.write(tables[table.name], folder)
    owners = (tables[table.name]["patient_id"].unique().to_pylist() for table in (contract.ECGS, contract.ECHOES))
    patients = {patient for column in owners for patient in column}
    counts = {table.name: tables[table.name].num_rows for table in contract.TABLES}
    read_files = job.scan.read_files
    if result.gaps:
        counts["measurements without result"] = result.gaps
    job.forget_scan()
    return Built({"patients": len(patients), **counts}, new_keys=read_files)


def _check(job: Job, inputs: Inputs, listed: Artefact) -> None:
    known_exports.check(job, listed)
    check_measurements(job, inputs, listed)


WORK = stage.StageWork("catalog", contract.CONTRACT_VERSION, CODE_VERSION, _build, _source, check=_check)
simulate = progress.as_task("simulate", _simulate)
catalog = stage.as_task(WORK)
