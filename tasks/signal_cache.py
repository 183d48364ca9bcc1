"""A flat file of signals for reads in any order: float32, little-endian, one record after another.

The pool decodes a chunk for every record of a shuffled batch; here a record is one positional read. The
file is copied from the pool, and may be deleted at any time: the next run makes it again.
"""

import os
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import icechunk
import numpy as np
import zarr

from data_contracts.conventions import LEADS, SAMPLES
from echoingecg.common.errors import StoreError
from echoingecg.progress import Progress, silent

RECORD_SHAPE: Final = (len(LEADS), SAMPLES)
DTYPE: Final = np.dtype("<f4")
RECORD_BYTES: Final = len(LEADS) * SAMPLES * DTYPE.itemsize
BLOCK: Final = 128  # rows of the pool decoded at once, 6 MB; whole shards take half as long again and 100 MB more


class SignalFile:
    """An open file of N signals.

    Not a memory map: pages of a map count as the process's own memory, and a map of a file that was cut
    short kills the process (SIGBUS) where a read can report it.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)

    def __reduce__(self) -> tuple[type["SignalFile"], tuple[Path]]:
        """To another process goes the path, which it opens itself: a descriptor's number means nothing there."""
        return SignalFile, (self._path,)

    def read(self, places: np.ndarray) -> np.ndarray:
        """Records by their place in the file, (n,) int64 to (n, 12, 1000) float32; may be called from any thread.

        Raises:
            EOFError: the file ends before one of them.
            OSError: the disk cannot be read.
        """
        signals = np.empty((len(places), *RECORD_SHAPE), DTYPE)
        offsets = (places * RECORD_BYTES).tolist()
        if hasattr(os, "posix_fadvise"):  # macOS has none
            for offset in offsets:  # all at once, so that the disk works on many: three times as fast when uncached
                os.posix_fadvise(self._descriptor, offset, RECORD_BYTES, os.POSIX_FADV_WILLNEED)
        for signal, offset in zip(signals, offsets, strict=True):
            if os.preadv(self._descriptor, [signal.data], offset) != RECORD_BYTES:
                raise EOFError
        return signals


def write_signals(path: Path, blocks: Iterable[np.ndarray], records: int, progress: Progress = silent) -> None:
    """Writes the file whole or not at all.

    It is not flushed to the disk: whoever reads compares digests, so that what a power cut leaves is found.

    Args:
        path: replaced if there; its folder exists. Only one process may write at a time.
        blocks: (n, 12, 1000) float32 each.
        records: in all blocks together.
        progress: told the records written and of how many.

    Raises:
        OSError: the disk is full, before anything is copied where the file system can tell.
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
    """Rows of a pool's array, a few chunks at a time: each is decoded once, and memory stays small.

    Args:
        array: its first dimension is the record.
        rows: (n,) int64, ascending.

    Raises:
        StoreError: the pool cannot be read.
    """
    for wanted in np.split(rows, np.flatnonzero(np.diff(rows // BLOCK)) + 1):
        if len(wanted):
            first = int(wanted[0])
            try:
                block = np.asarray(array[first : int(wanted[-1]) + 1])
            except icechunk.IcechunkError as fault:
                raise StoreError(
                    f"the pool's array '{array.basename}' cannot be read: run `artefacts verify`"
                ) from fault
            yield block[wanted - first]
