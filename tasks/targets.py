"""Study targets of a teacher artefact."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import zarr

from data_contracts import teacher as contract
from tasks.pools.pool import array_of, rows_of
from tasks.store.artefacts import Artefact


def read_targets(artefact: Artefact) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    """(STUDIES table, mean, log_var); mean and log_var are float32 (study, dim), row i of both of study i."""
    group = zarr.open_group(artefact.folder / contract.TARGETS_GROUP, mode="r")
    mean, log_var = (rows_of(group, one) for one in contract.TARGETS)
    return contract.STUDIES.read(artefact.folder), mean, log_var


def targets_in_chunks(artefact: Artefact, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(mean, log_var) of `size` studies at a time, in their order, so that memory does not grow with them."""
    group = zarr.open_group(artefact.folder / contract.TARGETS_GROUP, mode="r")
    mean, log_var = (array_of(group, one) for one in contract.TARGETS)
    for start in range(0, mean.shape[0], size):
        yield np.asarray(mean[start : start + size]), np.asarray(log_var[start : start + size])
