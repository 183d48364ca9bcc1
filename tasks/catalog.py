"""Stage catalog: the export's lists as checked tables, with pseudonyms and a quarantine."""

import hashlib
from pathlib import Path

from data_contracts.catalog import CONTRACT_VERSION, ECGS, ECHOES, TABLES
from data_contracts.conventions import Stage
from data_contracts.quarantine import QUARANTINE
from echoingecg.catalog import CODE_VERSION
from echoingecg.common import Progress
from tasks.stage import StageWork, as_task, check_refusals
from tasks.store.artefact import Artefact, Built, Inputs
from tasks.store.job import Job

STAGE: Stage = "catalog"


def _source(job: Job) -> dict[str, str]:
    """The export's content, and which key made the pseudonyms (its hash says nothing of the key)."""
    return {"export": job.scan.digest, "key": hashlib.sha256(job.key).hexdigest()[:16]}


def _build(job: Job, inputs: Inputs, folder: Path, progress: Progress) -> Built:
    from echoingecg.catalog.build import build  # pandas: not for a cached run

    tables = build(job.scan, job.key)
    tried = sum(table.num_rows for table in tables.values())
    check_refusals(job, STAGE, tables[QUARANTINE.name], tried, job.recipe.catalog.max_refused_share)
    for contract in TABLES:
        contract.write(tables[contract.name], folder)
    patients = {patient for one in (ECGS, ECHOES) for patient in tables[one.name]["patient_id"].to_pylist()}
    counts = {contract.name: tables[contract.name].num_rows for contract in TABLES}
    read_files = job.scan.read_files
    job.forget_scan()
    return Built({"patients": len(patients), **counts}, new_keys=read_files)


def read(artefact: Artefact, name: str) -> "pa.Table":  # type: ignore[name-defined]  # noqa: F821
    """One checked table of a catalog artefact, by its contract's name."""
    return next(one for one in TABLES if one.name == name).read(artefact.folder)


WORK = StageWork(STAGE, CONTRACT_VERSION, CODE_VERSION, _build, _source)
catalog = as_task(WORK)
