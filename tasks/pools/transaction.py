"""What the next commit to a pool will hold, and what becomes of it when another writer commits first.

What a worker is given and gives back. Imports little: every worker process pays for it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import icechunk
import numpy as np
import zarr

from data_contracts.tables import ArrayContract
from echoingecg.catalog.scan import source_files
from echoingecg.common import Refusal, StoreError, hash_files, result_or_refusal

Rows = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class SourceFile:
    """One file of the export: where it is, and what it must hold. Its path may hold a name: Dask logs arguments."""

    path: Path = field(repr=False)
    content_hash: str
    stated_unit: str | None = None
    stated_sampling_frequency: float | None = None
    stated_leads: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Attempt:
    """What became of one file: a value, or a refusal."""

    content_hash: str
    value: Any = None
    refusal: tuple[str, str] | None = None


@dataclass(frozen=True)
class Block:
    """What became of some files: rows for the pool's arrays, and refusals by content hash."""

    files: int
    rows: Rows
    refused: Mapping[str, tuple[str, str]]


def attempt(process: Callable[[SourceFile], Any], file: SourceFile) -> Attempt:
    """Processes one file after its content is found unchanged. As `guarded`."""

    def work() -> Any:
        check_unchanged(file, hash_files(source_files(file.path)))
        return process(file)

    return guarded(work, file)


def check_unchanged(file: SourceFile, content_hash: str) -> None:
    """Raises StoreError when the content is not the catalog's."""
    if content_hash != file.content_hash:
        raise StoreError("a file of the export has changed since the catalog was made: run again")


def guarded(work: Callable[[], Any], file: SourceFile) -> Attempt:
    """What `work` makes of a file; the quarantine boundary, where any fault of the file becomes a row.

    Raises:
        StoreError: the file cannot be read or has changed since the catalog: a fault of the disk or of
            the run, not of the record.
    """
    try:
        found = result_or_refusal(work)
    except OSError as fault:
        raise StoreError(f"a file of the export cannot be read ({fault.strerror}): is it still mounted?") from fault
    if isinstance(found, Refusal):
        return Attempt(file.content_hash, refusal=(found.reason, found.detail))
    return Attempt(file.content_hash, found)


def block_of(attempts: list[Attempt], as_rows: Callable[[list[Attempt]], Rows]) -> Block:
    """Attempts as the pool takes them."""
    good = [one for one in attempts if one.refusal is None]
    refused = {one.content_hash: one.refusal for one in attempts if one.refusal is not None}
    return Block(len(attempts), as_rows(good) if good else {}, refused)


def key_rows(keys: list[str]) -> np.ndarray:
    """Content hashes (64 hexadecimal digits) as uint8 (key, 32)."""
    return np.frombuffer(bytes.fromhex("".join(keys)), dtype=np.uint8).reshape(len(keys), 32)


BRANCH = "main"
REFUSED = "refused"  # group attribute: content hash -> [reason, detail]


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
        ragged: it has any number of rows for a key: the array that counts them; empty where each key has one.
        starts: it holds each key's first row in this ragged array, filled in when rows are written.
    """

    contract: ArrayContract
    tail: tuple[int, ...]
    chunk: int
    shard: int
    shuffled: bool = False
    ragged: str = ""
    starts: str = ""


@dataclass
class Known:
    """Keys of a pool, read on from where the last look ended: a pool only grows."""

    keys: set[bytes] = field(default_factory=set)
    seen: int = 0

    def after(self, group: zarr.Group) -> Self:
        """Those of this later state too."""
        key = named_array(group, "key")
        self.keys.update(bytes(one) for one in np.asarray(key[self.seen :]))
        self.seen = key.shape[0]
        return self


class Draft:
    """Rows that are written but not yet part of any snapshot.

    Args:
        repository: of the pool.
        arrays: its layout.
        known: of a pool that others may write to at the same time: keys that are there are not written again, and
            rows are held until they are committed. None where a lock keeps others out.
    """

    def __init__(
        self, repository: icechunk.Repository, arrays: Iterable[PoolArray], known: Known | None = None
    ) -> None:
        self._repository, self._arrays, self._known = repository, tuple(arrays), known
        self._held: list[Rows] = []
        self._begin()

    def __len__(self) -> int:
        """Rows that the pool will hold after the commit."""
        return named_array(self._group, "key").shape[0]

    def add(self, rows: Rows) -> None:
        """Writes rows at the end of every array. A shard that is not filled is written again by the next call."""
        if self._known is not None:
            self._held.append(rows)
        self._write(rows)

    def commit(self, refused: Mapping[str, tuple[str, str]]) -> None:
        """Makes the rows and the refusals (content hash -> reason, detail) a snapshot.

        Where another writer has committed since, its rows stand, and ours are written after them. Icechunk sees that
        both have changed the same arrays; its own rebase refuses, as two appends claim the same rows.
        """
        while True:
            if refused:
                there: dict[str, Any] = self._group.attrs[REFUSED]  # type: ignore[assignment]
                self._group.attrs[REFUSED] = {**there, **{key: list(value) for key, value in refused.items()}}
            if self._known is not None and not self._session.has_uncommitted_changes:
                return  # all of it came from elsewhere in the meantime
            try:
                self._session.commit(f"{self._added} more, {len(refused)} refused")
                return
            except icechunk.ConflictError:
                if self._known is None:
                    raise
            self._begin()  # somebody has come further: this ends
            for rows in self._held:
                self._write(rows)

    def _begin(self) -> None:
        self._session = self._repository.writable_session(BRANCH)
        self._group = zarr.open_group(self._session.store, mode="a")
        self._added = 0
        if self._known is not None:
            self._known.after(self._group)

    def _write(self, rows: Rows) -> None:
        if not rows:
            return
        if self._known is not None:
            rows = self._without_known(rows)
        starts = {one.contract.name: self._starts(one.starts, rows) for one in self._arrays if one.starts}
        for name, values in {**rows, **starts}.items():
            array = named_array(self._group, name)
            start = array.shape[0]
            array.resize((start + len(values), *array.shape[1:]))
            array[start:] = values
        self._added += len(rows["key"])

    def _starts(self, ragged: str, rows: Rows) -> np.ndarray:
        """First row of each key in a ragged array, to which its rows are yet to be added."""
        lengths = rows[next(one.ragged for one in self._arrays if one.contract.name == ragged)]
        return named_array(self._group, ragged).shape[0] + np.cumsum(lengths) - lengths

    def _without_known(self, rows: Rows) -> Rows:
        assert self._known is not None
        new = np.array([bytes(one) not in self._known.keys for one in rows["key"]], dtype=bool)
        if new.all():
            return rows
        counts = {one.contract.name: one.ragged for one in self._arrays if one.ragged}
        wanted = {name: np.repeat(new, rows[count]) for name, count in counts.items()}
        return {name: values[wanted.get(name, new)] for name, values in rows.items()}


def named_array(group: zarr.Group, name: str) -> zarr.Array:
    """An array of a pool, unchecked."""
    array = group[name]
    assert isinstance(array, zarr.Array)
    return array
