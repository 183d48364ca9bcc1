"""Stage ecg: every ECG of the catalog as a filtered 12-lead signal in the pool."""

from collections.abc import Container, Iterator
from functools import partial
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import zarr

from data_contracts import ecg as contract
from data_contracts.catalog import ECGS
from data_contracts.conventions import LEADS, SAMPLES, Stage
from data_contracts.quarantine import QUARANTINE
from echoingecg.common import Progress, fingerprint
from echoingecg.ecg import CODE_VERSION
from tasks.base.workers import mapper
from tasks.ingest.ingest import SourceFiles, ingest_blocks, missing_files, quarantine_rows
from tasks.pages.ecg_page import show
from tasks.pools.pool import Pool, PoolArray, array_of, hexadecimal, rows_by_key, rows_of
from tasks.stage import StageWork, as_task, check_refusals
from tasks.store.artefact import Built, Inputs
from tasks.store.job import Job

STAGE: Stage = "ecg"

_TOGETHER = 128  # files a block: what a worker is given at once, and gives back as 6 MB

# A chunk of 32 records (1.5 MB) is written 2.6 and read in order 3.3 times as fast as one of a single record.
# Shuffled batches read tasks.pools.signals.
LAYOUT = (
    PoolArray(contract.KEY, (32,), 8192, 8192),
    PoolArray(contract.SIGNAL, (len(LEADS), SAMPLES), 32, 1024, shuffled=True),
    PoolArray(contract.QUALITY, (len(LEADS),), 8192, 8192),
    PoolArray(contract.FINDINGS, (), 8192, 8192),
    PoolArray(contract.DIGEST, (32,), 8192, 8192),
)


def _ingest(pool: Pool, missing: SourceFiles, job: Job, progress: Progress) -> int:
    if not missing:
        return 0
    from tasks.ingest.ecg_worker import process_block  # scipy: not for a cached run

    execution = job.recipe.execution
    together = min(_TOGETHER, execution.commit_every)
    with mapper(execution, -(-len(missing) // together)) as run:
        blocks = partial(run, partial(process_block, job.recipe.ecg))
        return ingest_blocks(pool, missing, blocks, together, execution.commit_every, progress)


def _build(job: Job, inputs: Inputs, folder: Path, progress: Progress) -> Built:
    listed = ECGS.read(inputs["catalog"].folder)
    settings = job.recipe.ecg
    key = fingerprint([contract.CONTRACT_VERSION, CODE_VERSION, settings.model_dump(exclude={"max_refused_share"})])
    pool = Pool(job.workspace, f"{STAGE}/{key}", LAYOUT, job.recipe.execution.pools)
    with pool.writing():
        new = _ingest(pool, missing_files(pool, job, listed), job, progress)
        snapshot, refused = pool.snapshot(), pool.refused()
    group = Pool.read(job.workspace, snapshot)
    records = _records(group, listed, settings.long == "several")
    quarantine = QUARANTINE.build(quarantine_rows(listed, refused))
    check_refusals(job, STAGE, quarantine, listed.num_rows, settings.max_refused_share)
    for array in contract.ARRAYS:
        array_of(group, array)
    contract.RECORDS.write(records, folder)
    QUARANTINE.write(quarantine, folder)
    flagged = int(np.count_nonzero(records["flagged_leads"].to_numpy() | records["record_findings"].to_numpy()))
    return Built({"records": records.num_rows, "flagged": flagged, "refused": quarantine.num_rows}, snapshot, new)


def _records(group: zarr.Group, listed: pa.Table, several: bool) -> pa.Table:
    """RECORDS: every signal in the pool of every listed recording; `several`: a recording may have more than one."""
    row_of = rows_by_key(group)
    recordings = (listed[name].to_pylist() for name in ("record_id", "patient_id", "content_hash"))
    signals = [
        (contract.window_name(recording, window), patient, key, recording)
        for recording, patient, content_hash in zip(*recordings, strict=True)
        for window, key in enumerate(_keys(content_hash, row_of, several))
    ]
    rows = np.array([row_of[key] for _, _, key, _ in signals], dtype=np.int64)
    quality, findings, digests = (
        rows_of(group, one)[rows] for one in (contract.QUALITY, contract.FINDINGS, contract.DIGEST)
    )
    names = ("record_id", "patient_id", "content_hash", "recording_id")
    columns: dict[str, Any] = {name: [one[at] for one in signals] for at, name in enumerate(names)}
    columns |= {
        "signal_sha256": hexadecimal(digests),
        "flagged_leads": np.count_nonzero(quality, axis=1),
        "lead_findings": np.bitwise_or.reduce(quality, axis=1),
        "record_findings": findings,
    }
    return pa.table(columns, schema=contract.RECORDS.schema)


def _keys(content_hash: str, known: Container[str], several: bool) -> Iterator[str]:
    """Of a file's signals in the pool."""
    windows = count() if several else range(1)
    return takewhile(known.__contains__, (contract.window_key(content_hash, window) for window in windows))


WORK = StageWork(STAGE, contract.CONTRACT_VERSION, CODE_VERSION, _build, show=show)
ecg = as_task(WORK)
