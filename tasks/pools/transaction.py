"""Rows and refusals of the next commit to a pool. A commit that another writer's came before is done again."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import icechunk
import numpy as np
import zarr

from data_contracts import teacher
from data_contracts.tables import ArrayContract
from echoingecg.common import StoreError
from tasks.store.seals import mend_of

BRANCH = "main"
REFUSED = "refused"  # group attribute: content hash -> [reason, detail]
_RAGGED = (teacher.CLIP_START, teacher.CLIP_FRAMES)  # the first of a clip's vectors, and their number
_POOL = "pool_of_this_store"  # attribute of an opened store: the place of its pool, for errors


@dataclass(frozen=True)
class PoolArray:
    """An array of a pool, and how it is cut along its first dimension.

    Attributes:
        contract: dims, dtype and unit; the first dimension grows.
        tail: sizes of the other dimensions.
        chunk: rows that are read and decompressed together.
        shard: rows that share a file; a multiple of `chunk`.
        shuffled: store bits of equal weight together and compress by LZ4. For floating-point signals this is faster
            and smaller than Zstandard.
        ragged: name of the array that counts this array's rows for each key; empty where each key has one row.
        starts: name of a ragged array. This array holds the first row of each key in it, and is filled in when rows
            are written.
    """

    contract: ArrayContract
    tail: tuple[int, ...]
    chunk: int
    shard: int
    shuffled: bool = False
    ragged: str = ""
    starts: str = ""


@dataclass
class KnownKeys:
    """Keys that a pool holds. A pool only grows, so each update reads only the keys added since the one before."""

    keys: set[bytes] = field(default_factory=set)
    rows_read: int = 0

    def update_from(self, group: zarr.Group) -> None:
        """Adds the keys of a later state of the pool."""
        array = named_array(group, "key")
        self.keys.update(bytes(key) for key in read_rows(array, slice(self.rows_read, None)))
        self.rows_read = array.shape[0]


class Draft:
    """Rows that are written to a pool but are not yet part of any snapshot.

    Args:
        repository: the pool's.
        arrays: the pool's layout.
        known: for a pool that other machines may write to at the same time. Keys that the pool holds are not written
            again, and rows stay in memory until they are committed. None where a lock keeps other writers out.
        place: of the pool, for errors.
        committed: called after every commit.
    """

    def __init__(
        self,
        repository: icechunk.Repository,
        arrays: Iterable[PoolArray],
        known: KnownKeys | None,
        place: str,
        committed: Callable[[], None],
    ) -> None:
        self._repository, self._arrays, self._known = repository, tuple(arrays), known
        self._place, self._committed = place, committed
        self._batches: list[Mapping[str, np.ndarray]] = []
        self._begin()

    def __len__(self) -> int:
        """Rows that the pool will hold after the commit."""
        return named_array(self._group, "key").shape[0]

    def add(self, rows: Mapping[str, np.ndarray]) -> None:
        """Writes rows (array name -> rows) at the end of every array. The next call writes an unfilled shard again."""
        if self._known is not None:
            self._batches.append(rows)
        self._write(rows)

    def commit(self, refused: Mapping[str, tuple[str, str]]) -> None:
        """Makes a snapshot of the rows and the refusals (content hash -> reason, detail).

        Where another writer has committed first, its rows stay and ours are written after them. Icechunk detects the
        conflict. Its own rebase cannot resolve it, because two appends claim the same rows.
        """
        while True:
            if refused:
                earlier: dict[str, Any] = self._group.attrs[REFUSED]  # type: ignore[assignment]
                self._group.attrs[REFUSED] = {**earlier, **{key: list(value) for key, value in refused.items()}}
            if self._known is not None and not self._session.has_uncommitted_changes:
                return  # other writers have added all of it
            try:
                self._session.commit(f"{self._added} more, {len(refused)} refused")
                self._committed()
                return
            except icechunk.ConflictError:
                if self._known is None:
                    raise
            # Another writer committed first. Each try starts from its snapshot, so the loop ends.
            self._begin()
            for rows in self._batches:
                self._write(rows)

    def _begin(self) -> None:
        self._session = self._repository.writable_session(BRANCH)
        self._group = opened(self._session, self._place, mode="a")
        self._added = 0
        if self._known is not None:
            self._known.update_from(self._group)

    def _write(self, rows: Mapping[str, np.ndarray]) -> None:
        if not rows:
            return
        if self._known is not None:
            rows = self._without_known(rows, self._known.keys)
        starts = {array.contract.name: self._starts(array.starts, rows) for array in self._arrays if array.starts}
        for name, values in {**rows, **starts}.items():
            array = named_array(self._group, name)
            start = array.shape[0]
            array.resize((start + len(values), *array.shape[1:]))
            try:
                array[start:] = values
            except ValueError as fault:  # the chunk that is filled up is read first
                raise _damaged(array) from fault
        self._added += len(rows["key"])

    def _starts(self, ragged: str, rows: Mapping[str, np.ndarray]) -> np.ndarray:
        """First row of each key in a ragged array, before the rows are added to that array."""
        lengths = rows[next(array.ragged for array in self._arrays if array.contract.name == ragged)]
        return named_array(self._group, ragged).shape[0] + np.cumsum(lengths) - lengths

    def _without_known(self, rows: Mapping[str, np.ndarray], known: set[bytes]) -> Mapping[str, np.ndarray]:
        is_new = np.array([bytes(key) not in known for key in rows["key"]], dtype=bool)
        if is_new.all():
            return rows
        counts = {array.contract.name: array.ragged for array in self._arrays if array.ragged}
        masks = {name: np.repeat(is_new, rows[count]) for name, count in counts.items()}
        return {name: values[masks.get(name, is_new)] for name, values in rows.items()}


def copy_rows(source: zarr.Group, target: zarr.Group, rows: np.ndarray) -> None:
    """Copies rows of every array of a pool, in their order, and the vectors of clips that they point at.

    Args:
        source: arrays of a pool, of any release.
        target: empty group; receives arrays cut and compressed alike.
        rows: (n,) int64, ascending.
    """
    chosen: dict[str, np.ndarray] = {}
    if teacher.CLIP_START.name in source:
        starts, counts = (read_rows(named_array(source, array.name))[rows] for array in _RAGGED)
        firsts = np.cumsum(counts) - counts
        chosen[teacher.EMBEDDING.name] = np.arange(counts.sum()) + np.repeat(starts - firsts, counts)
    for name in source.array_keys():
        array, picked = named_array(source, name), chosen.get(name, rows)
        made = target.create_array(
            name,
            shape=(len(picked), *array.shape[1:]),
            dtype=array.dtype,
            chunks=array.chunks,
            shards=array.shards,
            compressors=array.compressors,
            dimension_names=getattr(array.metadata, "dimension_names", None),
            attributes=array.attrs.asdict(),
        )
        block = (array.shards or array.chunks)[0]
        for first in range(0, len(picked), block):
            part = picked[first : first + block]
            around = read_rows(array, slice(int(part[0]), int(part[-1]) + 1))
            made[first : first + len(part)] = around[part - part[0]]
    if chosen:
        named_array(target, teacher.CLIP_START.name)[:] = firsts


def content_digest(group: zarr.Group, rows: np.ndarray) -> str:
    """SHA-256 over the keys of some rows and the digests of their content: the same in whatever order they stand.

    Args:
        group: arrays of a pool.
        rows: int64, in any order; one that is there twice counts once.
    """
    rows = np.unique(rows)
    keys, digests = (read_rows(named_array(group, name))[rows] for name in ("key", "sha256"))
    order = np.lexsort(keys.view(">u8").T[::-1])
    return hashlib.sha256(np.concatenate([keys, digests], axis=1)[order].tobytes()).hexdigest()


def opened(session: icechunk.Session, place: str, mode: Literal["r", "a"] = "r") -> zarr.Group:
    """The arrays of a session on the pool at that place."""
    store = session.store
    setattr(store, _POOL, place)
    return zarr.open_group(store, mode=mode)


def read_rows(array: zarr.Array, rows: Any = slice(None)) -> np.ndarray:
    """Rows of a pool's array.

    Args:
        array: of `opened`.
        rows: a number, a slice, or whatever else Zarr takes.

    Raises:
        StoreError: a chunk is gone, or is not what was written: each carries a checksum (CRC-32C).
    """
    try:
        return np.asarray(array[rows])
    except (icechunk.IcechunkError, ValueError, RuntimeError, OSError) as fault:
        raise _damaged(array) from fault


def _damaged(array: zarr.Array) -> StoreError:
    if not (place := getattr(array.store, _POOL, "")):
        return StoreError(f"{array.store}: array '{array.basename}' cannot be read")
    return StoreError(f"pool {place}: its array '{array.basename}' is damaged: {mend_of(place)}")


def named_array(group: zarr.Group, name: str) -> zarr.Array:
    """An array of a pool, not checked against a contract."""
    array = group[name]
    assert isinstance(array, zarr.Array)
    return array
