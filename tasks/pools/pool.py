"""Pools: Icechunk repositories of per-file results, in a folder of the workspace or on S3. Keys are content hashes.

A pool only grows. Every commit is a snapshot; old snapshots stay readable and share chunks with new ones. A process
killed between two commits leaves the last snapshot whole; tasks/store/seals.py does the same for a power cut, and every
chunk carries a checksum. Only calls that Icechunk 1.1 and 2.x both offer are used;
1.1 (Python 3.11) writes on-disk format 1, which 2.x reads. No other file of the project opens a repository.
"""

import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import icechunk
import numpy as np
import zarr
from filelock import AcquireReturnProxy, FileLock, Timeout
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

from data_contracts.manifest import PoolSnapshot
from data_contracts.tables import ArrayContract
from echoingecg.common import StoreError, flush_to_disk, hexadecimal
from tasks.base.progress import logger
from tasks.base.workspace import CHECK_S3, Workspace, cause_of, is_s3, s3_address, writing_to
from tasks.pools.transaction import (
    BRANCH,
    REFUSED,
    Draft,
    KnownKeys,
    PoolArray,
    copy_rows,
    named_array,
    opened,
    read_rows,
)
from tasks.store import seals

REWRITING = f"{seals.DAMAGED}rewriting"  # in the name of a pool that is made anew from its own rows
_MAX_CLOCK_WAIT_SECONDS = 60.0  # a clock that has gone back by more stops the run
_BIT_SHUFFLED = BloscCodec(cname="lz4", clevel=1, shuffle="bitshuffle", typesize=4)


class Pool:
    """One repository.

    Args:
        workspace: the pool's place is stored relative to it.
        name: `<stage>/<key>`.
        arrays: layout; the array called `key` holds the content hashes.
        s3_root: `s3://bucket/prefix` under which pools are kept; empty for the workspace.
    """

    def __init__(self, workspace: Workspace, name: str, arrays: tuple[PoolArray, ...], s3_root: str = "") -> None:
        self.workspace, self.name, self.arrays, self.s3_root = workspace, name, arrays, s3_root
        folder = workspace.pools / name
        self._lock = seals.lock_of(folder)
        self.place = f"{s3_root.rstrip('/')}/{name}" if s3_root else str(folder.relative_to(workspace.root))
        self._known = KnownKeys() if is_s3(self.place) else None

    @classmethod
    def read(cls, workspace: Workspace, snapshot: PoolSnapshot) -> zarr.Group:
        """The arrays of a snapshot, read-only. xarray opens them by `xarray.open_zarr(group.store, ...)`.

        Raises:
            StoreError: the pool or the snapshot is gone or damaged.
        """
        place = snapshot.path
        seals.check_pool(workspace, place)  # Icechunk would make a folder that is gone
        try:
            session = open_repository(workspace.root, place).readonly_session(snapshot_id=snapshot.snapshot)
            return opened(session, place)
        except (icechunk.IcechunkError, OSError, ValueError) as fault:
            if is_s3(place):
                raise StoreError(f"pool {place}: {cause_of(fault)}; {CHECK_S3}") from fault
            snapshot_id, mend = snapshot.snapshot, seals.mend_of(place)
            raise StoreError(f"pool {place}: snapshot {snapshot_id} cannot be read: {mend}") from fault

    @contextmanager
    def writing(self, thorough: bool = False) -> Iterator[Self]:
        """Holds the pool's lock, since Icechunk on a local disk is not safe for two committers. A second writer waits.

        What a kill or a power cut has left half done is undone. A pool that has lost files is set aside and begun anew.

        On S3 the lock spares the runs of one workspace the same work; writers of other workspaces meet in
        `Draft.commit`.

        Args:
            thorough: compare every byte of the pool before it is trusted, instead of names and sizes.

        Raises:
            StoreError: the disk is full or cannot be written; S3 refuses access.
        """
        with writing_to(self.workspace.root):
            Path(self._lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
            with _locked(self._lock):
                try:
                    self._recover(thorough)
                    self._wait_for_the_clock()
                    self._create_arrays()
                    yield self
                except icechunk.IcechunkError as fault:
                    raise self._as_store_error(fault) from fault

    def _recover(self, thorough: bool) -> None:
        """Brings the pool back to its seal; sets it aside where that cannot be done."""
        folder = self.workspace.root / self.place
        if is_s3(self.place):
            return
        if not folder.is_dir():
            seals.unseal(folder)
            return
        if not (fault := seals.fault_of(folder, thorough)):
            seals.as_sealed(folder)
            fault = "" if _is_readable(self.workspace.root, self.place) else "cannot be read"
        if fault:
            logger().warning(f"pool {self.place} {fault}: made anew from the source files")
            seals.set_aside(folder)

    def _seal(self) -> None:
        if not is_s3(self.place):
            seals.seal(self.workspace.root, self.place)

    @cached_property
    def _repository(self) -> icechunk.Repository:
        return open_repository(self.workspace.root, self.place, create=True)

    def _wait_for_the_clock(self) -> None:
        """Waits until the newest snapshot is in the past: Icechunk commits nothing that would be older than it.

        Raises:
            StoreError: the clock has gone back by more than a minute, or was wrong at the newest commit.
        """
        written = next(iter(self._repository.ancestry(branch=BRANCH))).written_at
        ahead = written.timestamp() - time.time()
        if ahead > _MAX_CLOCK_WAIT_SECONDS:
            raise StoreError(
                f"pool {self.place}: its newest commit is of {written:%Y-%m-%d %H:%M} UTC, later than this machine's "
                f"clock: set the clock, or wait; if that time is wrong, delete the pool and run again from "
                f"'{self.name.partition('/')[0]}'"
            )
        if ahead > 0:
            logger().info(f"the clock has gone back: waiting {ahead:.0f} s")
            time.sleep(ahead)

    def _create_arrays(self) -> None:
        """Writes the empty arrays, once."""
        session = self._repository.writable_session(BRANCH)
        group = opened(session, self.place, mode="a")
        if "key" in group:
            return
        for array in self.arrays:
            group.create_array(
                array.contract.name,
                shape=(0, *array.tail),
                dtype=array.contract.dtype,
                chunks=(array.chunk, *array.tail),
                shards=(array.shard, *array.tail),
                compressors=(_BIT_SHUFFLED if array.shuffled else ZstdCodec(), Crc32cCodec()),
                dimension_names=array.contract.dims,
                attributes={**array.contract.attributes},
            )
        group.attrs[REFUSED] = {}
        try:
            session.commit("create")
        except icechunk.ConflictError:
            assert is_s3(self.place)  # another machine has made the same arrays
        self._seal()

    def snapshot(self) -> PoolSnapshot:
        """The newest snapshot."""
        return PoolSnapshot(path=self.place, snapshot=self._repository.lookup_branch(BRANCH))

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

    def draft(self) -> Draft:
        """The rows of the next commit; one draft at a time, in the `writing` context."""
        return Draft(self._repository, self.arrays, self._known, self.place, self._seal)

    def _as_store_error(self, fault: Exception) -> StoreError:
        text = str(fault)
        if "snapshot timestamp" in text:
            return StoreError(
                f"pool {self.place}: this machine's clock has gone back, or is not that of the storage: set the clock "
                f"and run again"
            )
        if not is_s3(self.place) and ("No space left" in text or "os error 28" in text):
            return StoreError(f"{self.workspace.root}: the disk is full: free some space and run again")
        return StoreError(f"pool {self.place}: {cause_of(fault)}{f'; {CHECK_S3}' if is_s3(self.place) else ''}")


def open_repository(root: Path, place: str, create: bool = False) -> icechunk.Repository:
    """The repository of a pool. For S3, endpoint, region and credentials come from the environment, not from a recipe.

    Args:
        root: of the workspace.
        place: `s3://bucket/prefix`, or a path relative to the root.
        create: make an empty repository if there is none.

    Raises:
        IcechunkError: there is none, or S3 refuses access.
        StoreError: not an address on S3.
    """
    storage = _storage(root, place)
    if not create:
        return icechunk.Repository.open(storage)
    folder = root / place
    if not is_s3(place) and folder.is_dir() and not (folder / "chunks").exists() and not _is_made(storage):
        shutil.rmtree(folder)  # Icechunk neither opens nor replaces a first snapshot that no branch names yet
    try:
        return icechunk.Repository.open_or_create(storage)
    except icechunk.IcechunkError:
        return icechunk.Repository.open(storage)  # another writer may have made it in the same moment


def _storage(root: Path, place: str) -> icechunk.Storage:
    if not is_s3(place):
        icechunk.set_logs_filter("error")  # it warns of concurrent committers: our lock keeps them out
        return icechunk.local_filesystem_storage(str(root / place))
    bucket, prefix, endpoint = s3_address(place)
    return icechunk.s3_storage(
        bucket=bucket, prefix=prefix, allow_http=True, force_path_style=bool(endpoint), from_env=True
    )


def _is_readable(root: Path, place: str) -> bool:
    """Whether the newest snapshot can be opened, or the pool's making was killed, which `open_repository` mends."""
    try:
        if not _is_made(_storage(root, place)):
            return not (root / place / "chunks").exists()
        session = icechunk.Repository.open(_storage(root, place)).readonly_session(branch=BRANCH)
        group = opened(session, place)
        if "key" in group:
            rows_by_key(group)
    except (StoreError, icechunk.IcechunkError, OSError, ValueError):
        return False
    return True


def _is_made(storage: icechunk.Storage) -> bool:
    """Whether a repository is complete: a run that is killed while it makes one leaves a part."""
    return bool(icechunk.Repository.exists(storage))


def sweep(workspace: Workspace, place: str, before: datetime, delete: bool) -> int:
    """Bytes written before a time that no commit holds, as a killed run leaves them; `delete` removes them.

    Args:
        workspace: the pool's place is relative to it.
        place: of a pool on this disk that nobody writes to.
        before: with its time zone.
        delete: remove the bytes instead of only counting them.
    """
    folder = workspace.root / place
    if seals.fault_of(folder) or not _is_made(_storage(workspace.root, place)):
        return 0
    repository = open_repository(workspace.root, place)
    lost = int(repository.garbage_collect(before, dry_run=True).bytes_deleted)
    if lost and delete:
        seals.unseal(folder)  # a reader must not miss what goes now
        repository.garbage_collect(before, dry_run=False)
        seals.seal(workspace.root, place)
    return lost


def keys_of(workspace: Workspace, place: str) -> set[str]:
    """Content hashes of all rows and refusals of a pool on this disk.

    Raises:
        StoreError: it is damaged.
    """
    group = Pool.read(workspace, newest_snapshot(workspace, place))
    refused: dict[str, Any] = group.attrs.get(REFUSED, {})  # type: ignore[assignment]
    return rows_by_key(group).keys() | refused.keys()


def rewrite(workspace: Workspace, place: str, wanted: Collection[str]) -> None:
    """Makes a pool anew from those of its rows that are wanted; earlier snapshots go. Needs its lock, and no readers.

    The old folder is set aside under the name of a damaged pool and deleted. After a kill `finish_rewriting` ends it.

    Args:
        workspace: the pool's place is relative to it.
        place: of a sound pool on this disk.
        wanted: content hashes of the rows and refusals to keep.
    """
    folder, beside = workspace.root / place, f"{place}{REWRITING}"
    finish_rewriting(folder)
    source = opened(open_repository(workspace.root, place).readonly_session(branch=BRANCH), place)
    rows = np.array([row for key, row in rows_by_key(source).items() if key in wanted], np.int64)
    refused: dict[str, Any] = source.attrs.get(REFUSED, {})  # type: ignore[assignment]
    session = open_repository(workspace.root, beside, create=True).writable_session(BRANCH)
    target = opened(session, beside, mode="a")
    copy_rows(source, target, rows)
    target.attrs[REFUSED] = {key: cause for key, cause in refused.items() if key in wanted}
    session.commit(f"{len(rows)} kept")
    seals.seal(workspace.root, beside)
    seals.set_aside(folder)
    finish_rewriting(folder)


def finish_rewriting(folder: Path) -> None:
    """Puts a rewritten pool in its place, or deletes one that is not whole. Needs the pool's lock."""
    beside = folder.with_name(f"{folder.name}{REWRITING}")
    sealed, seal_here = (path.with_name(f"{path.name}.seal") for path in (beside, folder))
    if beside.exists() and sealed.exists() and not folder.exists():
        beside.rename(folder)
    if sealed.exists() and folder.exists() and not beside.exists():
        sealed.replace(seal_here)
        flush_to_disk(folder.parent)
    sealed.unlink(missing_ok=True)
    for old in folder.parent.glob(f"{folder.name}{seals.DAMAGED}*"):
        shutil.rmtree(old)


def holds_snapshot(workspace: Workspace, snapshot: PoolSnapshot) -> bool:
    """Whether a pool on this disk still has a snapshot."""
    ancestry = open_repository(workspace.root, snapshot.path).ancestry(branch=BRANCH)
    return any(made.id == snapshot.snapshot for made in ancestry)


def newest_snapshot(workspace: Workspace, place: str) -> PoolSnapshot:
    """The newest snapshot of a pool on this disk."""
    newest = str(open_repository(workspace.root, place).lookup_branch(BRANCH))
    return PoolSnapshot(path=place, snapshot=newest)


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
    return read_rows(array_of(group, contract))


def rows_by_key(group: zarr.Group) -> dict[str, int]:
    """Content hash -> row of the pool's arrays."""
    return {key: row for row, key in enumerate(hexadecimal(read_rows(named_array(group, "key"))))}


def _locked(lock: FileLock) -> AcquireReturnProxy:
    try:
        return lock.acquire(blocking=False)
    except Timeout:
        logger().info("another run writes to this pool: waiting for it")
        return lock.acquire()
