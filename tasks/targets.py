"""Study targets of a teacher artefact."""

import numpy as np
import pyarrow as pa
import zarr

from data_contracts import teacher as contract
from tasks.artefacts import Artefact
from tasks.pools import rows_of


def read_targets(artefact: Artefact) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    """(STUDIES table, mean, log_var); mean and log_var are float32 (study, dim), row i of both of study i."""
    group = zarr.open_group(artefact.folder / contract.TARGETS_GROUP, mode="r")
    mean, log_var = (rows_of(group, one) for one in contract.TARGETS)
    return contract.STUDIES.read(artefact.folder), mean, log_var
