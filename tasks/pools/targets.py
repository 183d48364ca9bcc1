"""Study targets: Gaussians of a teacher artefact. They have a pool of their own, so a grown export costs little."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import zarr

from data_contracts import teacher as contract
from data_contracts.tables import ArrayContract
from echoingecg.common import fingerprint, hash_array, key_rows
from echoingecg.recipe import TeacherSettings
from tasks.pools import Pool, PoolArray, array_of, rows_by_key, rows_of
from tasks.store import Artefact


def read_targets(artefact: Artefact) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    """(STUDIES table, mean, log_var). Mean and log_var are float32 (study, dim), with rows in the table's order."""
    group = zarr.open_group(artefact.folder / contract.TARGETS_GROUP, mode="r")
    mean, log_var = (rows_of(group, target) for target in contract.TARGETS)
    return contract.STUDIES.read(artefact.folder), mean, log_var


def targets_in_chunks(artefact: Artefact, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields (mean, log_var) of `size` studies at a time, in their order, so that memory does not grow with them."""
    group = zarr.open_group(artefact.folder / contract.TARGETS_GROUP, mode="r")
    mean, log_var = (array_of(group, target) for target in contract.TARGETS)
    for start in range(0, mean.shape[0], size):
        yield np.asarray(mean[start : start + size]), np.asarray(log_var[start : start + size])


_KEY = ArrayContract("key", ("study", "byte"), "uint8", "", "SHA-256 of its clips' digests", (("byte", 32),))
_STUDIES_PER_COMMIT = 1024


def write_targets(
    embeddings: Pool,
    group: zarr.Group,
    clips: list[tuple[dict[str, Any], int]],
    settings: TeacherSettings,
    folder: Path,
) -> int:
    """Writes a Gaussian for each study, over all its clips, as Zarr; returns the number of studies.

    Args:
        embeddings: the pool; the pool of targets is beside it.
        group: its arrays.
        clips: catalog row of each clip, and its row in the pool.
        settings: the estimator.
        folder: of the artefact.
    """
    digests, lengths = rows_of(group, contract.DIGEST), rows_of(group, contract.CLIP_FRAMES)
    dim = array_of(group, contract.EMBEDDING).shape[1]
    clip_rows: dict[str, list[int]] = defaultdict(list)
    for clip, row in sorted(clips, key=lambda item: str(item[0]["content_hash"])):  # sums must not follow the pool
        clip_rows[clip["study_id"]].append(row)
    patient = {clip["study_id"]: clip["patient_id"] for clip, _ in clips}
    studies = sorted(clip_rows)
    keys = {study: hash_array(digests[clip_rows[study]]) for study in studies}
    rows = [
        {
            "study_id": study,
            "patient_id": patient[study],
            "clips": len(clip_rows[study]),
            "frames": int(lengths[clip_rows[study]].sum()),
        }
        for study in studies
    ]
    contract.STUDIES.write(contract.STUDIES.build(rows), folder)
    estimator = fingerprint([settings.target, settings.variance_epsilon])
    layout = (
        PoolArray(_KEY, (32,), _STUDIES_PER_COMMIT, _STUDIES_PER_COMMIT),
        *(PoolArray(target, (dim,), 64, _STUDIES_PER_COMMIT) for target in contract.TARGETS),
    )
    pool = Pool(embeddings.workspace, f"{embeddings.name}-targets-{estimator}", layout, embeddings.s3_root)
    with pool.writing():
        known = rows_by_key(Pool.read(pool.workspace, pool.snapshot()))
        _add(pool, group, {keys[study]: clip_rows[study] for study in studies if keys[study] not in known}, settings)
        made = Pool.read(pool.workspace, pool.snapshot())
    row_of = rows_by_key(made)
    order = np.array([row_of[keys[study]] for study in studies], dtype=np.int64)
    out = zarr.open_group(folder / contract.TARGETS_GROUP, mode="w")
    for target in contract.TARGETS:
        array = out.create_array(
            target.name,
            data=rows_of(made, target)[order],
            chunks=(1024, dim),
            dimension_names=target.dims,
            attributes={**target.attributes},
        )
        target.check(array)
    return len(rows)


def _add(pool: Pool, group: zarr.Group, missing: dict[str, list[int]], settings: TeacherSettings) -> None:
    """Adds the targets of studies that the pool lacks (key -> rows of the clips)."""
    from echoingecg.teacher.study_target import study_target

    starts, lengths = rows_of(group, contract.CLIP_START), rows_of(group, contract.CLIP_FRAMES)
    embedding = array_of(group, contract.EMBEDDING)
    keys = list(missing)
    for first in range(0, len(keys), _STUDIES_PER_COMMIT):
        part = keys[first : first + _STUDIES_PER_COMMIT]
        targets = [
            study_target(
                _vectors(embedding, starts[missing[key]], lengths[missing[key]]),
                settings.target,
                settings.variance_epsilon,
            )
            for key in part
        ]
        values = (np.stack(column) for column in zip(*targets, strict=True))
        named = {target.name: value for target, value in zip(contract.TARGETS, values, strict=True)}
        pool.append({_KEY.name: key_rows(part), **named}, {})


def _vectors(embedding: zarr.Array, starts: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    """Embeddings of some clips. Clips side by side, as when they were processed together, are read at once."""
    first, end = int(starts.min()), int((starts + lengths).max())
    if end - first == lengths.sum():
        whole = np.asarray(embedding[first:end])
        return [whole[start : start + length] for start, length in zip(starts - first, lengths, strict=True)]
    return [np.asarray(embedding[start : start + length]) for start, length in zip(starts, lengths, strict=True)]
