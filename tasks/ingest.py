"""Files into a pool: only those it lacks, in batches, a commit a batch. Shared by `ecg` and `teacher`."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import zarr

from data_contracts.arrays import ArrayContract
from echoingecg.catalog.sources import files_of
from echoingecg.errors import Refusal, StoreError, UserError
from echoingecg.fingerprint import hash_files
from echoingecg.progress import Progress
from tasks.job import Job
from tasks.pools import Pool, rows_by_key, rows_of
from tasks.progress import logger

Rows = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class SourceFile:
    """One file of the export: where it is, and what it must hold."""

    path: Path
    content_hash: str
    stated_unit: str | None = None
    stated_sampling_frequency: float | None = None


def source_files(job: Job, listed: pa.Table) -> dict[str, SourceFile]:
    """Content hash -> file, for the rows of a catalog table (`ecgs` or `echoes`), in the order of the hash.

    Raises:
        StoreError: the private index does not know a file.
    """
    index = job.sources()
    paths = dict(zip(index["source_id"].to_pylist(), index["path"].to_pylist(), strict=True))
    found: dict[str, SourceFile] = {}
    for row in listed.to_pylist():
        if row["source_id"] not in paths:
            raise StoreError(f"the index of {job.export} lacks {row['source_id']}: run from 'catalog'")
        found[row["content_hash"]] = SourceFile(
            job.export / paths[row["source_id"]],
            row["content_hash"],
            row.get("stated_unit"),
            row.get("stated_sampling_frequency"),
        )
    return dict(sorted(found.items()))


@dataclass(frozen=True)
class Attempt:
    """What became of one file: a value, or a refusal."""

    content_hash: str
    value: Any = None
    refusal: tuple[str, str] | None = None


def attempt(process: Callable[[SourceFile], Any], file: SourceFile) -> Attempt:
    """Processes one file; the quarantine boundary, where any fault of the file becomes a row.

    Raises:
        StoreError: the file cannot be read or has changed since the catalog: a fault of the disk or of
            the run, not of the record.
    """
    try:
        if hash_files(files_of(file.path)) != file.content_hash:
            raise StoreError("a file of the export has changed since the catalog was made: run again")
        return Attempt(file.content_hash, process(file))
    except Refusal as refusal:
        return Attempt(file.content_hash, refusal=(refusal.reason, refusal.detail))
    except OSError as fault:
        raise StoreError(f"a file of the export cannot be read ({fault.strerror}): is it still mounted?") from fault
    except (UserError, MemoryError):  # of the run, not of the record
        raise
    except Exception as fault:  # noqa: BLE001 - a decoder's surprise must not stop 800,000 other records
        return Attempt(file.content_hash, refusal=("unreadable", f"unexpected {type(fault).__name__}"))


def ingest(
    pool: Pool,
    files: Mapping[str, SourceFile],
    attempts: Callable[[Iterable[SourceFile]], Iterator[Attempt]],
    as_rows: Callable[[list[Attempt]], Rows],
    commit_every: int,
    progress: Progress,
) -> int:
    """Brings the pool up to date with `files`; returns how many were processed. Needs `pool.writing()`.

    Args:
        pool: processed and refused files alike are not tried again.
        files: content hash -> file.
        attempts: runs `attempt` over files, in order.
        as_rows: the pool's rows for a batch of attempts that have a value.
        commit_every: files a commit.
        progress: told after every file.
    """
    known = rows_by_key(Pool.read(pool.workspace, pool.snapshot())).keys() | pool.refused().keys()
    missing = [file for key, file in files.items() if key not in known]
    logger().info(f"{len(files)} files: {len(files) - len(missing)} in the pool, {len(missing)} to process")
    done = 0
    for start in range(0, len(missing), commit_every):
        batch = []
        for one in attempts(missing[start : start + commit_every]):
            batch.append(one)
            done += 1
            progress(done, len(missing))
        good = [one for one in batch if one.refusal is None]
        pool.append(
            as_rows(good) if good else {},
            {one.content_hash: one.refusal for one in batch if one.refusal is not None},
        )
    return done


def index_rows(group: zarr.Group, listed: pa.Table, digest: ArrayContract) -> list[tuple[dict[str, Any], int, str]]:
    """(catalog row, row in the pool, SHA-256 of the content) for every listed file that the pool holds."""
    rows = rows_by_key(group)
    digests = rows_of(group, digest)
    found = ((row, rows[row["content_hash"]]) for row in listed.to_pylist() if row["content_hash"] in rows)
    return [(row, at, bytes(digests[at]).hex()) for row, at in found]


def quarantine_rows(listed: pa.Table, refused: Mapping[str, tuple[str, str]]) -> list[dict[str, str]]:
    """Quarantine rows for every listed file whose content was refused."""
    return [
        {"source_id": row["source_id"], "reason": refused[key][0], "detail": refused[key][1]}
        for row in listed.to_pylist()
        if (key := row["content_hash"]) in refused
    ]
