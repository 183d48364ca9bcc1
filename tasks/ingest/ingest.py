"""Files into a pool: only those it lacks, in blocks, a commit every few. Shared by `ecg` and `teacher`."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import zarr

from data_contracts.tables import ArrayContract
from echoingecg.common import Progress, StoreError
from tasks.base.progress import logger
from tasks.pools.pool import Pool, hexadecimal, rows_by_key, rows_of
from tasks.pools.transaction import Block, SourceFile
from tasks.pools.writer import BlockWriter
from tasks.store.job import Job

_NEEDED = ("content_hash", "path", "stated_unit", "stated_sampling_frequency", "stated_leads")
_AT_ONCE = 1024  # rows that are Python objects at a time


@dataclass(frozen=True)
class SourceFiles:
    """Files of a catalog table. Each is made when asked for: all of a large export at once would fill the memory.

    Attributes:
        export: the folder.
        table: content_hash and path, and what the catalog states of the file.
    """

    export: Path
    table: pa.Table = field(repr=False)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __iter__(self) -> Iterator[SourceFile]:
        for some in self.groups(_AT_ONCE):
            yield from some

    def paths(self) -> dict[str, Path]:
        """By content hash."""
        return {file.content_hash: file.path for file in self}

    def groups(self, together: int) -> Iterator[list[SourceFile]]:
        """The files in order, so many at a time."""
        for start in range(0, len(self), together):
            yield [self._file(row) for row in self.table.slice(start, together).to_pylist()]

    def _file(self, row: dict[str, Any]) -> SourceFile:
        return SourceFile(
            self.export / row["path"],
            row["content_hash"],
            row.get("stated_unit"),
            row.get("stated_sampling_frequency"),
            tuple(leads.split(";")) if (leads := row.get("stated_leads")) else None,
        )


def source_files(job: Job, listed: pa.Table, *order: str) -> SourceFiles:
    """One file for each content of a catalog table (`ecgs` or `echoes`), in the order of the columns, then of the hash.

    Raises:
        StoreError: the private index does not know a file.
    """
    index = job.sources()
    at = pc.index_in(listed["source_id"], index["source_id"].combine_chunks())
    if at.null_count:
        unknown = listed["source_id"].filter(pc.is_null(at))[0]
        raise StoreError(f"the index of {job.export} lacks {unknown}: run from 'catalog'")
    table = listed.append_column("path", index["path"].take(at)).sort_by("content_hash")
    keys = table["content_hash"].to_numpy()
    last = np.ones(len(keys), dtype=bool)
    last[:-1] = keys[:-1] != keys[1:]
    table = table.filter(pa.array(last))
    if order:
        table = table.sort_by([(name, "ascending") for name in (*order, "content_hash")])
    return SourceFiles(job.export, table.select([name for name in table.column_names if name in _NEEDED]))


def missing_files(pool: Pool, job: Job, listed: pa.Table, *order: str) -> SourceFiles:
    """Those of a catalog table's files that the pool lacks, ordered as `source_files`; no refused one again.

    Raises:
        StoreError: the private index does not know a file.
    """
    known = rows_by_key(Pool.read(pool.workspace, pool.snapshot())).keys() | pool.refused().keys()
    new = pc.invert(pc.is_in(listed["content_hash"], pa.array(known, pa.string())))
    missing = source_files(job, listed.filter(new), *order)
    files = pc.count_distinct(listed["content_hash"]).as_py()
    logger().info(f"{files} files: {files - len(missing)} in the pool, {len(missing)} to process")
    return missing


def ingest_blocks(
    pool: Pool,
    missing: SourceFiles,
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
    done = 0
    with BlockWriter(pool, commit_every) as writer:
        for block in blocks(missing.groups(together)):
            writer.put(block)
            done += block.files
            progress(done, len(missing))
    return done


def index_rows(group: zarr.Group, listed: pa.Table, digest: ArrayContract) -> list[tuple[dict[str, Any], int, str]]:
    """(catalog row, row in the pool, SHA-256 of the content) for every listed file that the pool holds."""
    rows = rows_by_key(group)
    digests = hexadecimal(rows_of(group, digest))
    found = ((row, rows[row["content_hash"]]) for row in listed.to_pylist() if row["content_hash"] in rows)
    return [(row, at, digests[at]) for row, at in found]


def quarantine_rows(listed: pa.Table, refused: Mapping[str, tuple[str, str]]) -> list[dict[str, str]]:
    """Quarantine rows for every listed file whose content was refused."""
    some = listed.filter(pc.is_in(listed["content_hash"], pa.array(refused, pa.string())))
    told = [refused[key] for key in some["content_hash"].to_pylist()]
    return [
        {"source_id": source, "reason": reason, "detail": detail}
        for source, (reason, detail) in zip(some["source_id"].to_pylist(), told, strict=True)
    ]
