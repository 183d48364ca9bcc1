"""An ecg artefact of synthetic signals, written straight into a pool; and the memory that reading it takes."""

import time
from pathlib import Path

import numpy as np

from benchmarks.measure import peak_mb
from data_contracts.ecg import CONTRACT_VERSION, RECORDS
from echoingecg.common import hash_array, key_rows
from tasks.base.workspace import Workspace
from tasks.ecg import LAYOUT
from tasks.pools import Pool, PoolSignals, write_pool_content
from tasks.store import Artefact, ArtefactStore, Built, Plan

COMMIT = 1000


def published(workspace: Workspace, records: int) -> Artefact:
    """Noise, which zstd cannot shrink: the dearest signals to read. Record i has content hash i.

    Args:
        workspace: empty.
        records: a multiple of 1000.
    """
    random = np.random.default_rng(0)
    pool = Pool(workspace, "ecg/benchmark", LAYOUT)
    table = []
    with pool.writing():
        for first in range(0, records, COMMIT):
            signal = random.standard_normal((COMMIT, 12, 1000), dtype=np.float32)
            digests, keys = [hash_array(one) for one in signal], [f"{first + at:064x}" for at in range(COMMIT)]
            quality = np.zeros((COMMIT, 12), np.uint8)
            rows = {"key": key_rows(keys), "signal": signal, "quality": quality, "sha256": key_rows(digests)}
            pool.append(rows | {"findings": np.zeros(COMMIT, np.uint8), "bad_seconds": quality}, {})
            table += [
                dict.fromkeys(("record_id", "patient_id", "content_hash", "recording_id"), key)
                | dict.fromkeys(("flagged_leads", "lead_findings", "record_findings"), 0)
                | {"use": "keep"}
                for key in keys
            ]
        snapshot = pool.snapshot()
    store = ArtefactStore(workspace)
    plan = Plan("ecg", CONTRACT_VERSION, 1, {"records": records}, {}, {})
    with store.locked(plan), store.building(plan) as folder:
        RECORDS.write(RECORDS.build(table), folder)
        write_pool_content(folder, Pool.read(workspace, snapshot), np.arange(records))
        return store.publish(plan, folder, Built({"records": records}, snapshot), time.monotonic())


def epoch_peak(root: str) -> float:
    """Peak MB of this process after copying the signals from the pool and an epoch of shuffled batches."""
    workspace = Workspace(Path(root))
    signals = PoolSignals(workspace, ArtefactStore(workspace).published("ecg")[0])
    for batch in np.array_split(np.random.default_rng(0).permutation(len(signals)), len(signals) // 100):
        signals.read(batch)
    return peak_mb()
