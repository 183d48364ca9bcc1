"""Study targets of a teacher artefact: made from the pool, read by later stages."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import zarr

from data_contracts import teacher as contract
from echoingecg.recipe import TeacherSettings
from tasks.artefacts import Artefact
from tasks.pools import array_of, rows_of


def read_targets(artefact: Artefact) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    """(STUDIES table, mean, log_var); mean and log_var are float32 (study, dim), row i of both of study i."""
    group = zarr.open_group(artefact.folder / contract.TARGETS_GROUP, mode="r")
    mean, log_var = (rows_of(group, one) for one in contract.TARGETS)
    return contract.STUDIES.read(artefact.folder), mean, log_var


def write_targets(
    group: zarr.Group, found: list[tuple[dict[str, Any], int]], settings: TeacherSettings, folder: Path
) -> int:
    """A Gaussian for each study, over all its clips, as Zarr; returns the number of studies.

    Args:
        group: the pool.
        found: catalog row of each clip, and its row in the pool.
        settings: the estimator.
        folder: of the artefact.
    """
    from echoingecg.teacher.targets import study_target

    starts, frames = rows_of(group, contract.CLIP_START), rows_of(group, contract.CLIP_FRAMES)
    embedding = array_of(group, contract.EMBEDDING)
    of_study: dict[str, list[int]] = defaultdict(list)
    patient = {row["study_id"]: row["patient_id"] for row, _ in found}
    for row, at in found:
        of_study[row["study_id"]].append(at)
    rows, targets = [], []
    for study, at_rows in sorted(of_study.items()):
        clips = [np.asarray(embedding[starts[at] : starts[at] + frames[at]]) for at in at_rows]
        targets.append(study_target(clips, settings.target, settings.variance_epsilon))
        sizes = {"clips": len(clips), "frames": sum(len(clip) for clip in clips)}
        rows.append({"study_id": study, "patient_id": patient[study], **sizes})
    contract.STUDIES.write(contract.STUDIES.build(rows), folder)
    out = zarr.open_group(folder / contract.TARGETS_GROUP, mode="w")
    dim = embedding.shape[1]
    for one, values in zip(contract.TARGETS, zip(*targets, strict=True) if targets else ((), ()), strict=True):
        array = out.create_array(
            one.name,
            data=np.asarray(values, dtype=one.dtype).reshape(-1, dim),
            chunks=(1024, dim),
            dimension_names=one.dims,
            attributes={**one.attributes},
        )
        one.check(array)
    return len(rows)
