"""ECG signals of an artefact, read from the pool by record."""

from functools import cached_property

import numpy as np

from data_contracts.conventions import LEADS, SAMPLES
from data_contracts.ecg import RECORDS, SIGNAL
from tasks.artefacts import Artefact
from tasks.pools import Pool, array_of, rows_by_key
from tasks.workspace import Workspace

_BYTES = len(LEADS) * SAMPLES * 4


class PoolSignals:
    """Random access to the signals of one ecg artefact; row i belongs to `record_ids[i]`.

    Args:
        workspace: holds the pool.
        artefact: of stage ecg.
        memory_gb: up to this size all signals are held in memory after the first read.
    """

    def __init__(self, workspace: Workspace, artefact: Artefact, memory_gb: float) -> None:
        records = RECORDS.read(artefact.folder)
        assert artefact.manifest.run.pool is not None
        group = Pool.read(workspace, artefact.manifest.run.pool)
        rows = rows_by_key(group)
        self.record_ids: list[str] = records["record_id"].to_pylist()
        self._rows = np.array([rows[key] for key in records["content_hash"].to_pylist()], dtype=np.int64)
        self._array = array_of(group, SIGNAL)
        self._fits = len(self._rows) * _BYTES <= memory_gb * 1e9

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """float32 (row, 12, 1000), mV, in the order asked for; rows may repeat."""
        if self._fits:
            return self._everything[rows]
        return self._from_pool(self._rows[rows])

    @cached_property
    def _everything(self) -> np.ndarray:
        return self._from_pool(self._rows)

    def _from_pool(self, wanted: np.ndarray) -> np.ndarray:
        unique, back = np.unique(wanted, return_inverse=True)
        return np.asarray(self._array.oindex[unique])[back]
