"""ECG signals of an artefact by record, in any order, with memory that does not grow with their number."""

import hashlib
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import zarr
from filelock import FileLock

from data_contracts.ecg import KEY, SIGNAL, records_of
from echoingecg.common.errors import StoreError
from tasks.base.progress import Reporter, logger
from tasks.pools.pool import Pool, array_of, key_rows, rows_of
from tasks.signal_cache import RECORD_BYTES, SignalFile, pool_blocks, write_signals
from tasks.store.artefacts import Artefact
from tasks.workspace import Workspace, writing_to


class PoolSignals:
    """Random access to the signals of one ecg artefact; row i belongs to `record_ids[i]` and `content_hashes[i]`.

    The first read copies the artefact's signals from the pool into `scratch/ecg/<version>/signals.f32`;
    later runs find the file there. Every record is held against the artefact's SHA-256 when it is first
    read; a file that is cut short or differs is made again.

    Args:
        workspace: holds the pool and the file.
        artefact: of stage ecg.

    Raises:
        StoreError: the pool is gone or lacks a signal.
    """

    def __init__(self, workspace: Workspace, artefact: Artefact) -> None:
        records = records_of(artefact.manifest.contract_version).read(artefact.folder)
        self.record_ids: list[str] = records["record_id"].to_pylist()
        self.content_hashes: list[str] = records["content_hash"].to_pylist()
        self._workspace = workspace
        self._artefact = artefact
        self._path = workspace.scratch(artefact.stage, artefact.version) / "signals.f32"
        rows = rows_in_pool(_open_pool(workspace, artefact), self.content_hashes)
        self._rows, self._place = np.unique(rows, return_inverse=True)
        self._sha256 = key_rows(records["signal_sha256"].to_pylist())
        self._proven = np.zeros(len(self.record_ids), dtype=bool)

    def __len__(self) -> int:
        return len(self.record_ids)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Signals in the order asked for; rows may repeat. May be called from any thread.

        Args:
            rows: (n,) int64.

        Returns:
            (n, 12, 1000) float32, mV.

        Raises:
            StoreError: no room for the file, or the pool no longer holds what the artefact published.
        """
        signals = self._sound(rows)
        if signals is None:
            logger().warning(f"{self._path} is damaged: making it again")
            self._file = self._made(anew=True)
            signals = self._sound(rows)
        if signals is None:
            raise StoreError(
                f"{self._artefact}: its pool no longer holds the signals that were published: run "
                f"`echoingecg artefacts verify`, then delete the pool and run --from ecg"
            )
        return signals

    @cached_property
    def _file(self) -> SignalFile:
        return self._made()

    def _made(self, anew: bool = False) -> SignalFile:
        """The open file, copied from the pool if it is absent, of the wrong size, or wanted anew."""
        with writing_to(self._workspace.root):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self._path.with_suffix(".lock")):
                if anew or not self._path.is_file() or self._path.stat().st_size != len(self._rows) * RECORD_BYTES:
                    array = array_of(_open_pool(self._workspace, self._artefact), SIGNAL)
                    write_signals(self._path, pool_blocks(array, self._rows), len(self._rows), Reporter("signals"))
                return SignalFile(self._path)

    def _sound(self, rows: np.ndarray) -> np.ndarray | None:
        """The signals, or None if the file cannot give them as they were published."""
        try:
            signals = self._file.read(self._place[rows])
        except (EOFError, OSError):
            return None
        for at in np.flatnonzero(~self._proven[rows]):
            if hashlib.sha256(signals[at]).digest() != self._sha256[rows[at]].tobytes():
                return None
        self._proven[rows] = True
        return signals


def _open_pool(workspace: Workspace, artefact: Artefact) -> zarr.Group:
    assert artefact.manifest.run.pool is not None
    return Pool.read(workspace, artefact.manifest.run.pool)


def rows_in_pool(group: zarr.Group, content_hashes: list[str]) -> np.ndarray:
    """Row of each content hash, (n,) int64."""
    found = pc.index_in(_binary(key_rows(content_hashes)), value_set=_binary(rows_of(group, KEY)))
    if found.null_count:
        raise StoreError(f"the pool lacks {found.null_count} signals of its artefact: run again with --from ecg")
    return found.to_numpy().astype(np.int64)


def _binary(digests: np.ndarray) -> pa.Array:
    """uint8 (n, 32) as n binary values."""
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(32), len(digests), [None, pa.py_buffer(digests.tobytes())])
