"""Files of an export into a pool: those that the pool lacks, in blocks, with a commit every few thousand files."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import zarr

from data_contracts.quarantine import STOPPED
from echoingecg.common import Progress, StoreError, prefetched
from tasks.base.progress import logger
from tasks.ingest.blocks import Block, SourceFile
from tasks.pools import Pool, rows_by_key
from tasks.store import Job

_COLUMNS = ("content_hash", "sha256", "path", "stated_unit", "stated_sampling_frequency", "stated_leads")
_ROWS_PER_GROUP = 1024  # rows of the catalog that are Python objects at a time
_WAITING_BYTES = 48 << 20  # rows that wait to be written: a little more than one shard of ECG signals


@dataclass(frozen=True)
class SourceFiles:
    """Files of a catalog table. Each is made when asked for: all files of a large export would fill the memory.

    Attributes:
        export: the folder.
        table: content_hash, sha256 and path, and what the catalog states about the file.
    """

    export: Path
    table: pa.Table = field(repr=False)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __iter__(self) -> Iterator[SourceFile]:
        for group in self.groups(_ROWS_PER_GROUP):
            yield from group

    def paths(self) -> dict[str, Path]:
        """Content hash -> path."""
        return {file.content_hash: file.path for file in self}

    def groups(self, size: int) -> Iterator[list[SourceFile]]:
        """The files in order, `size` at a time."""
        for start in range(0, len(self), size):
            yield [self._file(row) for row in self.table.slice(start, size).to_pylist()]

    def _file(self, row: dict[str, Any]) -> SourceFile:
        return SourceFile(
            self.export / row["path"],
            row["content_hash"],
            row["sha256"],
            row.get("stated_unit"),
            row.get("stated_sampling_frequency"),
            tuple(leads.split(";")) if (leads := row.get("stated_leads")) else None,
        )


def source_files(job: Job, listed: pa.Table, *sort_by: str) -> SourceFiles:
    """One file for each content of a catalog table (`ecgs` or `echoes`), sorted by the columns, then by the hash.

    Raises:
        StoreError: the private index does not know a file.
    """
    index = job.sources()
    index_row = pc.index_in(listed["source_id"], index["source_id"].combine_chunks())
    if index_row.null_count:
        unknown = listed["source_id"].filter(pc.is_null(index_row))[0]
        raise StoreError(f"the index of {job.export} lacks {unknown}: run from 'catalog'")
    table = listed.append_column("path", index["path"].take(index_row))
    table = table.append_column("sha256", index["content_hash"].take(index_row)).sort_by("content_hash")
    keys = table["content_hash"].to_numpy()
    is_last = np.ones(len(keys), dtype=bool)
    is_last[:-1] = keys[:-1] != keys[1:]
    table = table.filter(pa.array(is_last))
    if sort_by:
        table = table.sort_by([(name, "ascending") for name in (*sort_by, "content_hash")])
    return SourceFiles(job.export, table.select([name for name in table.column_names if name in _COLUMNS]))


def missing_files(pool: Pool, job: Job, listed: pa.Table, *sort_by: str) -> SourceFiles:
    """Files of a catalog table that the pool neither holds nor has refused, sorted as `source_files` does.

    Files that were stopped at a limit are tried again: the limit may be higher now, or the machine less busy.

    Raises:
        StoreError: the private index does not know a file.
    """
    refused = {key for key, (reason, _) in pool.refused().items() if reason != STOPPED}
    known = rows_by_key(Pool.read(pool.workspace, pool.snapshot())).keys() | refused
    is_new = pc.invert(pc.is_in(listed["content_hash"], pa.array(known, pa.string())))
    missing = source_files(job, listed.filter(is_new), *sort_by)
    files = pc.count_distinct(listed["content_hash"]).as_py()
    logger().info(f"{files} files: {files - len(missing)} in the pool, {len(missing)} to process")
    return missing


def refused_files(pool: Pool) -> dict[str, tuple[str, str]]:
    """Content hash -> (reason, detail) of the files that were refused, and not read at a later trial."""
    refused = pool.refused()
    if all(reason != STOPPED for reason, _ in refused.values()):
        return refused
    held = rows_by_key(Pool.read(pool.workspace, pool.snapshot()))
    return {key: cause for key, cause in refused.items() if key not in held}


def ingest_blocks(
    pool: Pool,
    missing: SourceFiles,
    blocks: Callable[[Iterable[Sequence[SourceFile]]], Iterator[Block]],
    block_size: int,
    commit_every: int,
    progress: Progress,
) -> int:
    """Adds the missing files to the pool; returns how many files were processed.

    Another thread writes the rows while the next block is made. After a fault, the commits before it stand.

    Args:
        pool: in its `writing` context.
        missing: from `missing_files`.
        blocks: turns groups of files into blocks, in order.
        block_size: files in a group.
        commit_every: files between two commits. A kill loses the files since the last commit.
        progress: told the files done after every block.
    """
    writer = BlockWriter(pool, commit_every)
    done = 0
    with closing(prefetched(writer.write, blocks(missing.groups(block_size)), ahead=1)) as written:
        for files in written:
            done += files
            progress(done, len(missing))
    writer.finish()
    return done


class BlockWriter:
    """Writes blocks to a pool in whole shards, because a shard that grows is read and written again.

    Rows wait in memory until they fill a shard. They are written at every commit instead, whole shard or not, where
    commits are wanted more often than a shard is filled, or where keys have any number of rows (ragged arrays).

    Args:
        pool: in its `writing` context.
        commit_every: files between two commits. Where shards are written whole, a commit waits for the next one.
    """

    def __init__(self, pool: Pool, commit_every: int) -> None:
        self._pool, self._commit_every = pool, commit_every
        shard = min(array.shard for array in pool.arrays)
        is_whole = commit_every >= shard and not any(array.ragged for array in pool.arrays)
        self._unit = shard if is_whole else 1
        self._is_broken = False
        self._waiting: list[Mapping[str, np.ndarray]] = []
        self._begin()

    def _begin(self) -> None:
        self._draft, self._files = self._pool.draft(), 0
        self._refused: dict[str, tuple[str, str]] = {}

    def write(self, block: Block) -> int:
        """Takes a block; returns its number of files. Does nothing after a call that has raised."""
        if self._is_broken:
            return 0
        self._is_broken = True
        if block.rows:
            self._waiting.append(block.rows)
        self._refused.update(block.refused)
        self._files += block.files
        is_due = self._files >= self._commit_every
        if is_due or sum(values.nbytes for rows in self._waiting for values in rows.values()) >= _WAITING_BYTES:
            self._add(self._unit)
        if is_due and (not self._waiting or len(self._draft) % self._unit == 0):
            self._commit()
        self._is_broken = False
        return block.files

    def finish(self) -> None:
        """Writes and commits all that still waits."""
        self._add(1)
        if self._files:
            self._commit()

    def _add(self, unit: int) -> None:
        """Writes the rows that wait, up to the last multiple of `unit` rows in the pool."""
        if not self._waiting:
            return
        rows = {name: np.concatenate([some[name] for some in self._waiting]) for name in self._waiting[0]}
        stored, waiting = len(self._draft), len(rows["key"])
        count = (stored + waiting) // unit * unit - stored
        if count == waiting:
            self._draft.add(rows)
            self._waiting = []
        elif count > 0:
            self._waiting = [{name: values[count:].copy() for name, values in rows.items()}]  # frees the others
            self._draft.add({name: values[:count] for name, values in rows.items()})

    def _commit(self) -> None:
        self._draft.commit(self._refused)
        self._begin()


def index_rows(group: zarr.Group, listed: pa.Table) -> list[tuple[dict[str, Any], int]]:
    """(catalog row, row in the pool) for every listed file that the pool holds."""
    row_of = rows_by_key(group)
    return [(file, row_of[file["content_hash"]]) for file in listed.to_pylist() if file["content_hash"] in row_of]


def quarantine_rows(listed: pa.Table, refused: Mapping[str, tuple[str, str]]) -> list[dict[str, str]]:
    """Quarantine rows for every listed file whose content was refused."""
    files = listed.filter(pc.is_in(listed["content_hash"], pa.array(refused, pa.string())))
    causes = [refused[key] for key in files["content_hash"].to_pylist()]
    return [
        {"source_id": source, "reason": reason, "detail": detail}
        for source, (reason, detail) in zip(files["source_id"].to_pylist(), causes, strict=True)
    ]
