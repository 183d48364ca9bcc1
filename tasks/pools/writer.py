"""Blocks into a pool by a thread of its own: whole shards, a commit every few thousand files."""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

import numpy as np

from tasks.pools.pool import Pool
from tasks.pools.transaction import Block, Rows

_WAITING = 3  # blocks that may wait for the thread, where whole shards are written: bounds memory
_HELD = 64 << 20  # bytes of rows that may wait to be written


class BlockWriter:
    """Takes blocks; at the end of the `with` all are committed, or after a fault those of earlier commits.

    A shard that grows is read and written again, so rows wait until one is full, unless commits are wanted
    oftener than that. Ragged pools cannot be cut at a shard: their rows wait for the commit, or until
    there are 64 MB of them. Where commits come before shards, blocks do not: `put` waits for the one before,
    so that little is lost with the process.

    Args:
        pool: being written to.
        commit_every: files between two commits, rounded up to a whole shard.
    """

    def __init__(self, pool: Pool, commit_every: int) -> None:
        self._pool, self._commit_every = pool, commit_every
        self._shard = min(one.shard for one in pool.arrays)
        self._whole = commit_every >= self._shard and not any(one.ragged for one in pool.arrays)
        self._thread = ThreadPoolExecutor(1)
        self._at_work: deque[Future[None]] = deque()
        self._draft = pool.draft()
        self._held = len(self._draft)
        self._rows: list[Rows] = []
        self._refused: dict[str, tuple[str, str]] = {}
        self._files = 0

    def put(self, block: Block) -> None:
        """Hands a block over; waits while too many are ahead of it. Raises what an earlier one has met."""
        while len(self._at_work) >= (_WAITING if self._whole else 1) or (self._at_work and self._at_work[0].done()):
            self._at_work.popleft().result()
        self._at_work.append(self._thread.submit(self._write, block))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._thread:
            if fault is None:
                self._end_of_queue()
                self._thread.submit(self._end).result()
            else:
                self._thread.shutdown(cancel_futures=True)

    def _end_of_queue(self) -> None:
        while self._at_work:
            self._at_work.popleft().result()

    def _write(self, block: Block) -> None:
        self._rows.append(block.rows)
        self._refused.update(block.refused)
        self._files += block.files
        while self._whole and self._waiting() >= (room := self._shard - self._held % self._shard):
            self._add(room)
        due = self._files >= self._commit_every
        if not self._whole and (due or self._bytes() >= _HELD):
            self._add_all()
        if due and not (self._whole and self._waiting() and self._held % self._shard):
            self._commit()

    def _end(self) -> None:
        self._add_all()
        if self._files:
            self._commit()

    def _waiting(self) -> int:
        return sum(len(rows["key"]) for rows in self._rows if rows)

    def _bytes(self) -> int:
        return sum(values.nbytes for rows in self._rows for values in rows.values())

    def _add(self, count: int) -> None:
        """Writes the first `count` of the rows that wait, where each key has one."""
        joined = self._joined()
        self._rows = [{name: values[count:].copy() for name, values in joined.items()}]  # lets go of all else
        self._draft.add({name: values[:count] for name, values in joined.items()})
        self._held += count

    def _add_all(self) -> None:
        if count := self._waiting():
            self._draft.add(self._joined())
            self._held += count
        self._rows = []

    def _joined(self) -> dict[str, np.ndarray]:
        filled = [rows for rows in self._rows if rows]
        return {name: np.concatenate([rows[name] for rows in filled]) for name in filled[0]}

    def _commit(self) -> None:
        self._draft.commit(self._refused)
        self._draft, self._refused, self._files = self._pool.draft(), {}, 0
        self._held = len(self._draft)  # another machine may have added to it
