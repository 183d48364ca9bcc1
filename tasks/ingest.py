"""Files into a pool: only those it lacks, in blocks, a commit every few. Shared by `ecg` and `teacher`."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import zarr

from data_contracts.arrays import ArrayContract
from echoingecg.errors import StoreError
from echoingecg.progress import Progress
from tasks.block_writer import BlockWriter
from tasks.blocks import Block, SourceFile
from tasks.job import Job
from tasks.pools import Pool, rows_by_key, rows_of
from tasks.progress import logger


def source_files(job: Job, listed: pa.Table) -> dict[str, SourceFile]:
    """Content hash -> file, for rows of a catalog table (`ecgs` or `echoes`), in the order of the hash.

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
            tuple(leads.split(";")) if (leads := row.get("stated_leads")) else None,
        )
    return dict(sorted(found.items()))


def missing_files(pool: Pool, job: Job, listed: pa.Table) -> list[SourceFile]:
    """Those of a catalog table's files that the pool lacks, in the order of the hash; a refused one is not tried again.

    Raises:
        StoreError: the private index does not know a file.
    """
    known = rows_by_key(Pool.read(pool.workspace, pool.snapshot())).keys() | pool.refused().keys()
    keys = listed["content_hash"].to_pylist()
    missing = source_files(job, listed.filter(pa.array([key not in known for key in keys], pa.bool_())))
    files = len(set(keys))
    logger().info(f"{files} files: {files - len(missing)} in the pool, {len(missing)} to process")
    return list(missing.values())


def ingest_blocks(
    pool: Pool,
    missing: Sequence[SourceFile],
    blocks: Callable[[Iterable[Sequence[SourceFile]]], Iterator[Block]],
    together: int,
    commit_every: int,
    progress: Progress,
) -> int:
    """Brings the pool up to date with `missing`, block by block; returns how many files were processed.

    Rows are written by another thread while the next blocks are made.

    Args:
        pool: being written to.
        missing: from `missing_files`.
        blocks: runs over groups of files, in order.
        together: files a group.
        commit_every: files a commit, and what may be lost; rounded up to whole shards.
        progress: told after every block.
    """
    groups = (missing[start : start + together] for start in range(0, len(missing), together))
    done = 0
    with BlockWriter(pool, commit_every) as writer:
        for block in blocks(groups):
            writer.put(block)
            done += block.files
            progress(done, len(missing))
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
