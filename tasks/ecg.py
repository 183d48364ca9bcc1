"""Stage ecg: every ECG of the catalog as a filtered 12-lead signal in the pool."""

from functools import partial
from pathlib import Path

import numpy as np

from data_contracts import ecg as contract
from data_contracts.catalog import ECGS
from data_contracts.conventions import LEADS, SAMPLES, Stage
from data_contracts.quarantine import QUARANTINE
from echoingecg.ecg import CODE_VERSION
from echoingecg.fingerprint import fingerprint, hash_array
from echoingecg.progress import Progress
from echoingecg.recipe import EcgSettings
from tasks.artefacts import Built
from tasks.ecg_page import show
from tasks.ingest import Attempt, Rows, SourceFile, attempt, index_rows, ingest, quarantine_rows, source_files
from tasks.job import Job
from tasks.pools import Pool, PoolArray, array_of, key_rows, rows_of
from tasks.stage import Inputs, StageWork, as_task, check_refusals
from tasks.workers import mapper

STAGE: Stage = "ecg"

# A chunk of 32 records (1.5 MB) is written 2.6 and read in order 3.3 times as fast as one of a single record.
# Shuffled batches read tasks.signal_cache.
LAYOUT = (
    PoolArray(contract.KEY, (32,), 8192, 8192),
    PoolArray(contract.SIGNAL, (len(LEADS), SAMPLES), 32, 1024),
    PoolArray(contract.QUALITY, (len(LEADS),), 8192, 8192),
    PoolArray(contract.FINDINGS, (), 8192, 8192),
    PoolArray(contract.DIGEST, (32,), 8192, 8192),
)


def _process(settings: EcgSettings, file: SourceFile) -> tuple[np.ndarray, np.ndarray, int]:
    from echoingecg.ecg.process import process  # wfdb, scipy: not for a cached run

    done = process(file.path, settings, file.stated_unit, file.stated_sampling_frequency)
    return done.signal, done.quality, done.findings


def _rows(batch: list[Attempt]) -> Rows:
    return {
        contract.KEY.name: key_rows([one.content_hash for one in batch]),
        contract.SIGNAL.name: np.stack([one.value[0] for one in batch]),
        contract.QUALITY.name: np.stack([one.value[1] for one in batch]),
        contract.FINDINGS.name: np.array([one.value[2] for one in batch], dtype=np.uint8),
        contract.DIGEST.name: key_rows([hash_array(one.value[0]) for one in batch]),
    }


def _build(job: Job, inputs: Inputs, folder: Path, progress: Progress) -> Built:
    listed = ECGS.read(inputs["catalog"].folder)
    settings = job.recipe.ecg
    key = fingerprint([contract.CONTRACT_VERSION, CODE_VERSION, settings.model_dump(exclude={"max_refused_share"})])
    pool = Pool(job.workspace, f"{STAGE}/{key}", LAYOUT)
    work = partial(attempt, partial(_process, settings))
    with pool.writing(), mapper(job.recipe.execution) as run:
        new = ingest(
            pool, source_files(job, listed), partial(run, work), _rows, job.recipe.execution.commit_every, progress
        )
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
