"""Stage ecg: every ECG of the catalog as a filtered 12-lead signal in the pool."""

from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from data_contracts import ecg as contract
from data_contracts.catalog import ECGS
from data_contracts.conventions import LEADS, SAMPLES, Stage
from data_contracts.quarantine import QUARANTINE
from echoingecg.ecg import CODE_VERSION
from echoingecg.fingerprint import fingerprint
from echoingecg.progress import Progress
from tasks.artefacts import Built
from tasks.blocks import SourceFile
from tasks.ecg_page import show
from tasks.ingest import index_rows, ingest_blocks, missing_files, quarantine_rows, source_files
from tasks.job import Job
from tasks.pools import Pool, PoolArray, array_of, rows_of
from tasks.stage import Inputs, StageWork, as_task, check_refusals
from tasks.workers import mapper

STAGE: Stage = "ecg"

_TOGETHER: Final = 128  # files a block: what a worker is given at once, and gives back as 6 MB

# A chunk of 32 records (1.5 MB) is written 2.6 and read in order 3.3 times as fast as one of a single record.
# Shuffled batches read tasks.signal_cache.
LAYOUT = (
    PoolArray(contract.KEY, (32,), 8192, 8192),
    PoolArray(contract.SIGNAL, (len(LEADS), SAMPLES), 32, 1024, shuffled=True),
    PoolArray(contract.QUALITY, (len(LEADS),), 8192, 8192),
    PoolArray(contract.FINDINGS, (), 8192, 8192),
    PoolArray(contract.DIGEST, (32,), 8192, 8192),
)


def _ingest(pool: Pool, missing: list[SourceFile], job: Job, progress: Progress) -> int:
    if not missing:
        return 0
    from tasks.ecg_blocks import process_block  # scipy: not for a cached run

    execution = job.recipe.execution
    together = min(_TOGETHER, execution.commit_every)
    with mapper(execution, -(-len(missing) // together)) as run:
        blocks = partial(run, partial(process_block, job.recipe.ecg))
        return ingest_blocks(pool, missing, blocks, together, execution.commit_every, progress)


def _build(job: Job, inputs: Inputs, folder: Path, progress: Progress) -> Built:
    listed = ECGS.read(inputs["catalog"].folder)
    settings = job.recipe.ecg
    key = fingerprint([contract.CONTRACT_VERSION, CODE_VERSION, settings.model_dump(exclude={"max_refused_share"})])
    pool = Pool(job.workspace, f"{STAGE}/{key}", LAYOUT)
    with pool.writing():
        new = _ingest(pool, missing_files(pool, source_files(job, listed)), job, progress)
        snapshot, refused = pool.snapshot(), pool.refused()
    group = Pool.read(job.workspace, snapshot)
    quality, findings = rows_of(group, contract.QUALITY), rows_of(group, contract.FINDINGS)
    records = [
        {
            "record_id": row["record_id"],
            "patient_id": row["patient_id"],
            "content_hash": row["content_hash"],
            "signal_sha256": digest,
            "flagged_leads": int(np.count_nonzero(quality[at])),
            "lead_findings": int(np.bitwise_or.reduce(quality[at])),
            "record_findings": int(findings[at]),
        }
        for row, at, digest in index_rows(group, listed, contract.DIGEST)
    ]
    quarantine = QUARANTINE.build(quarantine_rows(listed, refused))
    check_refusals(job, STAGE, quarantine, listed.num_rows, settings.max_refused_share)
    for array in contract.ARRAYS:
        array_of(group, array)
    contract.RECORDS.write(contract.RECORDS.build(records), folder)
    QUARANTINE.write(quarantine, folder)
    flagged = sum(row["flagged_leads"] > 0 or row["record_findings"] > 0 for row in records)
    return Built({"records": len(records), "flagged": flagged, "refused": quarantine.num_rows}, snapshot, new)


WORK = StageWork(STAGE, contract.CONTRACT_VERSION, CODE_VERSION, _build, show=show)
ecg = as_task(WORK)
