"""Pools: Icechunk repositories that hold per-file results, keyed by the content hash of the file.

A pool only grows. Every commit is a snapshot, old snapshots stay readable and share chunks, and a
process killed between two commits leaves the last snapshot whole. Only calls that Icechunk 1.1 and
2.x both offer are used; 1.1 (Python 3.11) writes on-disk format 1, which 2.x reads.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self

import icechunk
import numpy as np
import zarr
from filelock import AcquireReturnProxy, FileLock, Timeout
from zarr.codecs import BloscCodec

from data_contracts.arrays import ArrayContract
from data_contracts.manifest import PoolSnapshot
from echoingecg.errors import StoreError
from tasks.blocks import key_rows
from tasks.progress import logger
from tasks.workspace import Workspace, writing_to

__all__ = [
    "BRANCH", "Draft", "Pool", "PoolArray", "array_of", "key_rows", "rows_by_key", "rows_of", "sweep",
]  # fmt: skip

BRANCH: Final = "main"
_SMALL_STEP: Final = 60.0  # s that a clock may go back without more than a wait
_BIT_SHUFFLED: Final = BloscCodec(cname="lz4", clevel=1, shuffle="bitshuffle", typesize=4)
_REFUSED: Final = "refused"  # group attribute: content hash -> [reason, detail]


@dataclass(frozen=True)
class PoolArray:
    """An array of the pool and how it is cut along its first dimension.

    Attributes:
        contract: dims, dtype and unit; the first dimension grows.
        tail: sizes of the other dimensions.
        chunk: rows that are read and decompressed together.
        shard: rows that share a file; a multiple of `chunk`.
        shuffled: bits of equal weight are stored together, compressed by LZ4: for floating-point signals faster
            and smaller than Zstandard.
        ragged: it has any number of rows for a key, not one.
    """

    contract: ArrayContract
    tail: tuple[int, ...]
    chunk: int
    shard: int
    shuffled: bool = False
    ragged: bool = False


class Pool:
    """One repository.

    Args:
        workspace: the pool's place is stored relative to it.
        name: `<stage>/<key>`.
        arrays: layout; the array called `key` holds the content hashes.
    """

    def __init__(self, workspace: Workspace, name: str, arrays: tuple[PoolArray, ...]) -> None:
        self.workspace, self.name = workspace, name
        self.folder = workspace.pools / name
        self.arrays = arrays

    @classmethod
    def read(cls, workspace: Workspace, snapshot: PoolSnapshot) -> zarr.Group:
        """The arrays of a snapshot, read-only; opens in xarray by `xarray.open_zarr(group.store, ...)`.

        Raises:
            StoreError: the pool or the snapshot is gone.
        """
        folder = workspace.root / snapshot.path
        if not folder.is_dir():  # opening would create it
            raise StoreError(f"pool {snapshot.path} is gone from {workspace.root}: run again from its stage")
        try:
            session = _repository(folder).readonly_session(snapshot_id=snapshot.snapshot)
            return zarr.open_group(session.store, mode="r")
        except (icechunk.IcechunkError, FileNotFoundError) as fault:
            raise StoreError(f"pool {snapshot.path}: snapshot {snapshot.snapshot} cannot be read") from fault

    @contextmanager
    def writing(self) -> Iterator[Self]:
        """Holds the pool's lock: Icechunk on a local disk is not safe for two committers. The second says it waits.

        Raises:
            StoreError: the disk is full or cannot be written.
        """
        with writing_to(self.workspace.root):
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            with _locked(FileLock(self.folder.with_suffix(".lock"))):
                try:
                    self._wait_for_the_clock()
                    self._create()
                    yield self
                except icechunk.IcechunkError as fault:
                    raise self._fault(fault) from fault

    @cached_property
    def _repo(self) -> icechunk.Repository:
        return _repository(self.folder)

    def _wait_for_the_clock(self) -> None:
        """Icechunk commits nothing that would be older than the snapshot before it.

        Raises:
            StoreError: the clock has gone back by more than a minute, or was wrong at the newest commit.
        """
        written = next(iter(self._repo.ancestry(branch=BRANCH))).written_at
        ahead = written.timestamp() - time.time()
        if ahead > _SMALL_STEP:
            raise StoreError(
                f"pool {self.folder.relative_to(self.workspace.root)}: its newest commit is of "
                f"{written:%Y-%m-%d %H:%M} UTC, later than this machine's clock: set the clock, or wait; if that time "
                f"is wrong, delete the pool and run again from '{self.name.partition('/')[0]}'"
            )
        if ahead > 0:
            logger().info(f"the clock has gone back: waiting {ahead:.0f} s")
            time.sleep(ahead)

    def _create(self) -> None:
        """Writes the empty arrays, once."""
        session = self._repo.writable_session(BRANCH)
        group = zarr.open_group(session.store, mode="a")
        if "key" in group:
            return
        for one in self.arrays:
            group.create_array(
                one.contract.name,
                shape=(0, *one.tail),
                dtype=one.contract.dtype,
                chunks=(one.chunk, *one.tail),
                shards=(one.shard, *one.tail),
                compressors=_BIT_SHUFFLED if one.shuffled else "auto",
                dimension_names=one.contract.dims,
                attributes={**one.contract.attributes},
            )
        group.attrs[_REFUSED] = {}
        session.commit("create")

    def snapshot(self) -> PoolSnapshot:
        """The newest snapshot."""
        path = str(self.folder.relative_to(self.workspace.root))
        return PoolSnapshot(path=path, snapshot=self._repo.lookup_branch(BRANCH))

    def refused(self) -> dict[str, tuple[str, str]]:
        """Content hash -> (reason, detail) of the files that were tried and refused."""
        group = Pool.read(self.workspace, self.snapshot())
        values: dict[str, tuple[str, str]] = group.attrs[_REFUSED]  # type: ignore[assignment]
        return {key: (reason, detail) for key, (reason, detail) in values.items()}

    def append(self, rows: Mapping[str, np.ndarray], refused: Mapping[str, tuple[str, str]]) -> None:
        """Adds rows to every array and commits them with the refusals, all or nothing.

        Args:
            rows: array name -> rows to append along the first dimension; may be empty.
            refused: content hash -> (reason, detail).
        """
        draft = self.draft()
        draft.add(rows)
        draft.commit(refused)

    def draft(self) -> "Draft":
        """What the next commit will hold. One at a time. Needs `writing()`."""
        return Draft(self._repo.writable_session(BRANCH))

    def _fault(self, fault: Exception) -> StoreError:
        text = str(fault)
        if "No space left" in text or "os error 28" in text:
            return StoreError(f"{self.workspace.root}: the disk is full: free some space and run again")
        if "snapshot timestamp" in text:
            return StoreError(
                f"pool {self.folder.relative_to(self.workspace.root)}: this machine's clock has gone back, or is not "
                f"that of the storage: set the clock and run again"
            )
        line = next((line for line in text.splitlines() if any(sign.isalpha() for sign in line)), "unknown fault")
        return StoreError(f"pool {self.folder.relative_to(self.workspace.root)}: {' '.join(line.split())}")


class Draft:
    """Rows that are written but not yet part of any snapshot.

    Args:
        session: of the newest snapshot.
    """

    def __init__(self, session: icechunk.Session) -> None:
        self._session = session
        self._group = zarr.open_group(session.store, mode="a")
        self._added = 0

    def __len__(self) -> int:
        """Rows that the pool will hold after the commit."""
        key = self._group["key"]
        assert isinstance(key, zarr.Array)
        return key.shape[0]

    def add(self, rows: Mapping[str, np.ndarray]) -> None:
        """Writes rows at the end of every array. A shard that is not filled is written again by the next call."""
        for name, values in rows.items():
            array = self._group[name]
            assert isinstance(array, zarr.Array)
            start = array.shape[0]
            array.resize((start + len(values), *array.shape[1:]))
            array[start:] = values
        self._added += len(rows.get("key", ()))

    def commit(self, refused: Mapping[str, tuple[str, str]]) -> None:
        """Makes the rows and the refusals (content hash -> reason, detail) a snapshot."""
        if refused:
            known: dict[str, Any] = self._group.attrs[_REFUSED]  # type: ignore[assignment]
            self._group.attrs[_REFUSED] = {**known, **{key: list(value) for key, value in refused.items()}}
        self._session.commit(f"{self._added} more, {len(refused)} refused")


def sweep(folder: Path, before: datetime, delete: bool) -> int:
    """Bytes written before that time which no commit holds, as a killed run leaves them; removed with `delete`.

    Args:
        folder: of a repository on this disk, which nobody writes to.
        before: with its time zone.
        delete: remove them; without it, count them.
    """
    lost = _repository(folder).garbage_collect(before, dry_run=not delete)
    return int(lost.bytes_deleted)


def array_of(group: zarr.Group, contract: ArrayContract) -> zarr.Array:
    """The contract's array of an open pool, checked.

    Raises:
        ContractError: its dims, dtype, sizes or unit are not the contract's.
    """
    array = group[contract.name]
    assert isinstance(array, zarr.Array)
    contract.check(array)
    return array


def rows_of(group: zarr.Group, contract: ArrayContract) -> np.ndarray:
    """All rows of an array that is small beside the pool: keys, digests, flags, offsets."""
    return np.asarray(array_of(group, contract)[:])


def rows_by_key(group: zarr.Group) -> dict[str, int]:
    """Content hash -> row of the pool's arrays."""
    key = group["key"]
    assert isinstance(key, zarr.Array)
    return {one: row for row, one in enumerate(hexadecimal(np.asarray(key[:])))}


def hexadecimal(digests: np.ndarray) -> list[str]:
    """SHA-256 digests, uint8 (digest, 32), as 64 hexadecimal digits each."""
    digits = digests.tobytes().hex()
    return [digits[at : at + 64] for at in range(0, len(digits), 64)]


def _locked(lock: FileLock) -> AcquireReturnProxy:
    try:
        return lock.acquire(blocking=False)
    except Timeout:
        logger().info("another run writes to this pool: waiting for it")
        return lock.acquire()


def _repository(folder: Path) -> icechunk.Repository:
    icechunk.set_logs_filter("error")  # its warning about concurrent committers is answered by our lock
    storage = icechunk.local_filesystem_storage(str(folder))
    return icechunk.Repository.open_or_create(storage)
