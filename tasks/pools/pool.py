"""Pools: Icechunk repositories that hold per-file results, keyed by the content hash of the file.

A pool only grows. Every commit is a snapshot, old snapshots stay readable and share chunks, and a
process killed between two commits leaves the last snapshot whole. Only calls that Icechunk 1.1 and
2.x both offer are used; 1.1 (Python 3.11) writes on-disk format 1, which 2.x reads.

Where a pool is kept: a folder of the workspace, or S3. Nothing else in the project opens a repository.
"""

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Self

import icechunk
import numpy as np
import zarr
from filelock import AcquireReturnProxy, FileLock, Timeout
from zarr.codecs import BloscCodec

from data_contracts.manifest import PoolSnapshot
from data_contracts.tables import ArrayContract
from echoingecg.common import StoreError
from tasks.base.progress import logger
from tasks.base.workspace import CHECK, S3Place, Workspace, is_s3, writing_to
from tasks.pools.transaction import BRANCH, REFUSED, Draft, Known, PoolArray, key_rows, named_array

__all__ = ["Draft", "Pool", "PoolArray", "array_of", "key_rows", "rows_by_key", "rows_of", "sweep"]


def open_repository(root: Path, place: str, create: bool = False) -> icechunk.Repository:
    """The repository of a pool.

    On S3 the endpoint, where it is not AWS, is AWS_ENDPOINT_URL; region and credentials come from the
    environment too (AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, or whatever else the AWS chain
    finds), never from a recipe.

    Args:
        root: of the workspace.
        place: `s3://bucket/prefix`, or a path relative to the root.
        create: make an empty one if there is none.

    Raises:
        IcechunkError: there is none, or S3 does not let us in.
        StoreError: no address on S3.
    """
    storage = _s3(place) if is_s3(place) else _on_disk(root / place)
    if not create:
        return icechunk.Repository.open(storage)
    if not is_s3(place):
        _clear_half_made(root / place, storage)
    try:
        return icechunk.Repository.open_or_create(storage)
    except icechunk.IcechunkError:
        return icechunk.Repository.open(storage)  # another writer may have made it in the same moment


def is_made(root: Path, place: str) -> bool:
    """Whether a repository stands at a place of this disk: a run killed while it made one leaves less."""
    return bool(icechunk.Repository.exists(_on_disk(root / place)))


def _clear_half_made(folder: Path, storage: icechunk.Storage) -> None:
    """Icechunk neither opens nor replaces a first snapshot that no branch names yet; it holds nothing."""
    if folder.is_dir() and not (folder / "chunks").exists() and not icechunk.Repository.exists(storage):
        shutil.rmtree(folder)


def _on_disk(folder: Path) -> icechunk.Storage:
    icechunk.set_logs_filter("error")  # its warning about concurrent committers is answered by our lock
    return icechunk.local_filesystem_storage(str(folder))


def _s3(address: str) -> icechunk.Storage:
    place = S3Place.of(address)
    return icechunk.s3_storage(
        bucket=place.bucket,
        prefix=place.prefix,
        endpoint_url=place.endpoint,
        region=place.region,
        allow_http=place.allow_http,
        force_path_style=place.path_style,
        from_env=True,
    )


_SMALL_STEP = 60.0  # s that a clock may go back without more than a wait
_BIT_SHUFFLED = BloscCodec(cname="lz4", clevel=1, shuffle="bitshuffle", typesize=4)


class Pool:
    """One repository.

    Args:
        workspace: the pool's place is stored relative to it.
        name: `<stage>/<key>`.
        arrays: layout; the array called `key` holds the content hashes.
        kept: `s3://bucket/prefix` under which pools are kept; empty for the workspace.
    """

    def __init__(self, workspace: Workspace, name: str, arrays: tuple[PoolArray, ...], kept: str = "") -> None:
        self.workspace, self.name, self.arrays, self.kept = workspace, name, arrays, kept
        folder = workspace.pools / name
        self._lock = folder.with_suffix(".lock")
        self.place = f"{kept.rstrip('/')}/{name}" if kept else str(folder.relative_to(workspace.root))
        self._known = Known() if is_s3(self.place) else None

    @classmethod
    def read(cls, workspace: Workspace, snapshot: PoolSnapshot) -> zarr.Group:
        """The arrays of a snapshot, read-only; opens in xarray by `xarray.open_zarr(group.store, ...)`.

        Raises:
            StoreError: the pool or the snapshot is gone.
        """
        place = snapshot.path
        if not is_s3(place) and not (workspace.root / place).is_dir():  # Icechunk would make it
            raise StoreError(f"pool {place} is gone from {workspace.root}: run again from its stage")
        try:
            session = open_repository(workspace.root, place).readonly_session(snapshot_id=snapshot.snapshot)
            return zarr.open_group(session.store, mode="r")
        except (icechunk.IcechunkError, FileNotFoundError) as fault:
            if is_s3(place):
                raise _not_served(place, fault) from fault
            raise StoreError(f"pool {snapshot.path}: snapshot {snapshot.snapshot} cannot be read") from fault

    @contextmanager
    def writing(self) -> Iterator[Self]:
        """Holds the pool's lock: Icechunk on a local disk is not safe for two committers. The second says it waits.

        On S3 the lock spares runs of one workspace the same work; those of others meet in `Draft.commit`.

        Raises:
            StoreError: the disk is full or cannot be written; S3 does not let us in.
        """
        with writing_to(self.workspace.root):
            self._lock.parent.mkdir(parents=True, exist_ok=True)
            with _locked(FileLock(self._lock)):
                try:
                    self._wait_for_the_clock()
                    self._create()
                    yield self
                except icechunk.IcechunkError as fault:
                    raise self._fault(fault) from fault

    @cached_property
    def _repo(self) -> icechunk.Repository:
        return open_repository(self.workspace.root, self.place, create=True)

    def _wait_for_the_clock(self) -> None:
        """Icechunk commits nothing that would be older than the snapshot before it.

        Raises:
            StoreError: the clock has gone back by more than a minute, or was wrong at the newest commit.
        """
        written = next(iter(self._repo.ancestry(branch=BRANCH))).written_at
        ahead = written.timestamp() - time.time()
        if ahead > _SMALL_STEP:
            raise StoreError(
                f"pool {self.place}: its newest commit is of {written:%Y-%m-%d %H:%M} UTC, later than this machine's "
                f"clock: set the clock, or wait; if that time is wrong, delete the pool and run again from "
                f"'{self.name.partition('/')[0]}'"
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
        group.attrs[REFUSED] = {}
        try:
            session.commit("create")
        except icechunk.ConflictError:
            assert is_s3(self.place)  # another machine has made the same

    def snapshot(self) -> PoolSnapshot:
        """The newest snapshot."""
        return PoolSnapshot(path=self.place, snapshot=self._repo.lookup_branch(BRANCH))

    def refused(self) -> dict[str, tuple[str, str]]:
        """Content hash -> (reason, detail) of the files that were tried and refused."""
        group = Pool.read(self.workspace, self.snapshot())
        values: dict[str, tuple[str, str]] = group.attrs[REFUSED]  # type: ignore[assignment]
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
        return Draft(self._repo, self.arrays, self._known)

    def _fault(self, fault: Exception) -> StoreError:
        text = str(fault)
        if "snapshot timestamp" in text:
            return StoreError(
                f"pool {self.place}: this machine's clock has gone back, or is not that of the storage: set the clock "
                f"and run again"
            )
        if is_s3(self.place):
            return _not_served(self.place, fault)
        if "No space left" in text or "os error 28" in text:
            return StoreError(f"{self.workspace.root}: the disk is full: free some space and run again")
        return StoreError(f"pool {self.place}: {_cause(fault)}")


def sweep(workspace: Workspace, place: str, before: datetime, delete: bool) -> int:
    """Bytes written before that time which no commit holds, as a killed run leaves them; removed with `delete`.

    Args:
        workspace: the pool's place is relative to it.
        place: of a pool on this disk, which nobody writes to.
        before: with its time zone.
        delete: remove them; without it, count them.
    """
    if not is_made(workspace.root, place):
        return 0
    lost = open_repository(workspace.root, place).garbage_collect(before, dry_run=not delete)
    return int(lost.bytes_deleted)


def array_of(group: zarr.Group, contract: ArrayContract) -> zarr.Array:
    """The contract's array of an open pool, checked.

    Raises:
        ContractError: its dims, dtype, sizes or unit are not the contract's.
    """
    array = named_array(group, contract.name)
    contract.check(array)
    return array


def rows_of(group: zarr.Group, contract: ArrayContract) -> np.ndarray:
    """All rows of an array that is small beside the pool: keys, digests, flags, offsets."""
    return np.asarray(array_of(group, contract)[:])


def rows_by_key(group: zarr.Group) -> dict[str, int]:
    """Content hash -> row of the pool's arrays."""
    keys = np.asarray(named_array(group, "key")[:])
    return {one: row for row, one in enumerate(hexadecimal(keys))}


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


def _not_served(place: str, fault: Exception) -> StoreError:
    return StoreError(f"pool {place}: {_cause(fault)}; {CHECK}")


def _cause(fault: Exception) -> str:
    """Of Icechunk's report the first line, or the last of its chain of causes."""
    lines = [" ".join(line.split()) for line in str(fault).splitlines()]
    told = [line.split("-> ", 1)[1] for line in lines if "-> " in line][-1:]
    return next((line for line in [*told, *lines] if any(sign.isalpha() for sign in line)), "unknown fault")
