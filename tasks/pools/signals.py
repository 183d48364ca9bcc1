"""ECG signals of an artefact, read by record in any order, in memory that does not grow with their number.

The pool would decode a whole chunk for every record of a shuffled batch. So the signals are copied once into a flat
file, float32, little-endian, one record after another, where a record is one positional read. The file may be deleted
at any time: the next run makes it again.
"""

import hashlib
import os
import weakref
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import zarr
from filelock import FileLock

from data_contracts import conventions, ecg
from data_contracts.manifest import POOL_CONTENT, checked_file
from echoingecg.common import Progress, StoreError, key_rows, no_progress
from tasks.base.progress import Reporter, logger
from tasks.base.workspace import Workspace, writing_to
from tasks.pools.pool import Pool, array_of
from tasks.pools.transaction import content_digest, named_array, read_rows
from tasks.store import Artefact

RECORD_SHAPE = (len(conventions.LEADS), conventions.SAMPLES)
DTYPE = np.dtype("<f4")
RECORD_BYTES = RECORD_SHAPE[0] * RECORD_SHAPE[1] * DTYPE.itemsize
BLOCK_ROWS = 128  # of the pool, decoded at once: 6 MB. Whole shards take 1.5 times as long and 100 MB more


class SignalFile:
    """An open file of N signals.

    It is not a memory map: pages of a map count as the process's own memory, and a map of a file that was cut short
    kills the process (SIGBUS) where a read can report it.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)

    def __reduce__(self) -> tuple[type["SignalFile"], tuple[Path]]:
        """Sends the path to another process, which opens the file itself: a descriptor is valid in one process."""
        return SignalFile, (self._path,)

    def read(self, places: np.ndarray) -> np.ndarray:
        """The records at these places in the file, (n,) int64, as (n, 12, 1000) float32. Any thread may call it.

        Raises:
            EOFError: the file ends before one of them.
            OSError: the disk cannot be read.
        """
        signals = np.empty((len(places), *RECORD_SHAPE), DTYPE)
        offsets = (places * RECORD_BYTES).tolist()
        if hasattr(os, "posix_fadvise"):  # macOS has none
            for (
                offset
            ) in offsets:  # all first, so that the disk reads many at a time: three times as fast when uncached
                os.posix_fadvise(self._descriptor, offset, RECORD_BYTES, os.POSIX_FADV_WILLNEED)
        for signal, offset in zip(signals, offsets, strict=True):
            if os.preadv(self._descriptor, [signal.data], offset) != RECORD_BYTES:
                raise EOFError
        return signals


def write_signals(path: Path, blocks: Iterable[np.ndarray], records: int, progress: Progress = no_progress) -> None:
    """Writes the file whole or not at all.

    It is not flushed to the disk. Readers compare digests, so they notice what a power cut damaged.

    Args:
        path: replaced if it exists; its folder must exist. Only one process may write at a time.
        blocks: (n, 12, 1000) float32 each.
        records: number of records in all blocks.
        progress: told the records written and their number.

    Raises:
        OSError: the disk is full; raised before anything is copied if the file system can tell.
    """
    beside = path.with_suffix(".part")
    try:
        with beside.open("wb") as file:
            if records and hasattr(os, "posix_fallocate"):  # macOS has none
                os.posix_fallocate(file.fileno(), 0, records * RECORD_BYTES)
            for block in blocks:
                file.write(np.ascontiguousarray(block, DTYPE).data)
                progress(file.tell() // RECORD_BYTES, records, "copied from the pool")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def pool_blocks(array: zarr.Array, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yields rows of a pool's array a few chunks at a time. Each chunk is decoded once, and memory stays small.

    Args:
        array: its first dimension is the record.
        rows: (n,) int64, ascending.

    Raises:
        StoreError: the pool cannot be read.
    """
    for wanted in np.split(rows, np.flatnonzero(np.diff(rows // BLOCK_ROWS)) + 1):
        if len(wanted):
            first = int(wanted[0])
            yield read_rows(array, slice(first, int(wanted[-1]) + 1))[wanted - first]


class PoolSignals:
    """Random access to the signals of one ecg artefact; row i belongs to `record_ids[i]` and `content_hashes[i]`.

    The first read copies the artefact's signals from the pool into `scratch/ecg/<version>/signals.f32`. Later runs use
    that file. Every record is compared with the artefact's SHA-256 when it is first read; a damaged file is made again.

    Args:
        workspace: holds the pool and the file.
        artefact: of stage ecg.

    Raises:
        StoreError: the pool is gone or lacks a signal.
    """

    def __init__(self, workspace: Workspace, artefact: Artefact) -> None:
        records = ecg.records_contract(artefact.manifest.contract_version).read(artefact.folder)
        self.record_ids: list[str] = records["record_id"].to_pylist()
        self.content_hashes: list[str] = records["content_hash"].to_pylist()
        self._workspace = workspace
        self._artefact = artefact
        self._path = workspace.scratch(artefact.stage, artefact.version) / "signals.f32"
        group = _open_pool(workspace, artefact)
        pool_rows = rows_in_pool(group, self.content_hashes)
        self._pool_rows, self._place = np.unique(pool_rows, return_inverse=True)
        self._sha256 = published_digests(artefact, records, group, pool_rows)
        self._is_checked = np.zeros(len(self.record_ids), dtype=bool)

    def __len__(self) -> int:
        return len(self.record_ids)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Signals in the order of `rows`, which may repeat. Any thread may call it.

        Args:
            rows: (n,) int64.

        Returns:
            (n, 12, 1000) float32, mV.

        Raises:
            StoreError: no room for the file, or the pool no longer holds what the artefact published.
        """
        signals = self._checked_signals(rows)
        if signals is None:
            logger().warning(f"{self._path} is damaged: making it again")
            self._file = self._open(anew=True)
            signals = self._checked_signals(rows)
        if signals is None:
            raise _other_content(self._artefact)
        return signals

    @cached_property
    def _file(self) -> SignalFile:
        return self._open()

    def _open(self, anew: bool = False) -> SignalFile:
        """The open file, copied from the pool first if it is absent, of the wrong size, or wanted anew."""
        with writing_to(self._workspace.root):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self._path.with_suffix(".lock")):
                if anew or not self._path.is_file() or self._path.stat().st_size != len(self._pool_rows) * RECORD_BYTES:
                    array = array_of(_open_pool(self._workspace, self._artefact), ecg.SIGNAL)
                    write_signals(
                        self._path, pool_blocks(array, self._pool_rows), len(self._pool_rows), Reporter("signals")
                    )
                return SignalFile(self._path)

    def _checked_signals(self, rows: np.ndarray) -> np.ndarray | None:
        """The signals; None if the file does not hold them as they were published."""
        try:
            signals = self._file.read(self._place[rows])
        except (EOFError, OSError):
            return None
        for index in np.flatnonzero(~self._is_checked[rows]):
            if hashlib.sha256(signals[index]).digest() != self._sha256[rows[index]].tobytes():
                return None
        self._is_checked[rows] = True
        return signals


def _open_pool(workspace: Workspace, artefact: Artefact) -> zarr.Group:
    assert artefact.manifest.run.pool is not None
    return Pool.read(workspace, artefact.manifest.run.pool)


_OLD_DIGESTS = ("signal_sha256", "embedding_sha256")  # columns of earlier contract versions


def write_pool_content(folder: Path, group: zarr.Group, rows: np.ndarray) -> None:
    """Writes into an artefact's folder the one digest of its content in a pool, which `published_digests` compares.

    Args:
        folder: of an artefact of stage ecg or teacher.
        group: arrays of the pool.
        rows: int64, rows of the artefact's signals or clips.
    """
    (folder / POOL_CONTENT).write_text(f"{content_digest(group, rows)}\n", encoding="ascii")


def published_digests(artefact: Artefact, table: pa.Table, group: zarr.Group, rows: np.ndarray) -> np.ndarray:
    """SHA-256 that the content of each row of an artefact's table had when it was published, uint8 (n, 32).

    Args:
        artefact: of stage ecg or teacher.
        table: with a row for each signal or clip.
        group: arrays of the artefact's pool.
        rows: (n,) int64, their rows in the pool.

    Raises:
        StoreError: the pool's digests are not those of which the artefact holds the digest.
    """
    for name in _OLD_DIGESTS:
        if name in table.column_names:
            return key_rows(table[name].to_pylist())
    expected = checked_file(artefact.folder, POOL_CONTENT).read_text(encoding="ascii").strip()
    if content_digest(group, rows) != expected:
        raise _other_content(artefact)
    return read_rows(named_array(group, "sha256"))[rows]


def _other_content(artefact: Artefact) -> StoreError:
    assert artefact.manifest.run.pool is not None
    return StoreError(
        f"{artefact}: its pool no longer holds what was published: delete {artefact.manifest.run.pool.path} and run "
        f"again with --from {artefact.stage}, which makes it anew from the source files"
    )


def rows_in_pool(group: zarr.Group, content_hashes: list[str]) -> np.ndarray:
    """Row of each content hash in a pool, (n,) int64. Raises StoreError where the pool lacks one."""
    rows = pc.index_in(_binary(key_rows(content_hashes)), value_set=_binary(read_rows(named_array(group, "key"))))
    if rows.null_count:
        raise StoreError(f"the pool lacks {rows.null_count} contents of its artefact: run its stage again with --from")
    return rows.to_numpy().astype(np.int64)


def _binary(digests: np.ndarray) -> pa.Array:
    """uint8 (n, 32) as n binary values."""
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(32), len(digests), [None, pa.py_buffer(digests.tobytes())])
