"""Study targets from the pool of embeddings. They have a pool of their own: a grown export costs what is new.

Study targets of a teacher artefact.
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import zarr

from data_contracts import teacher as contract
from data_contracts.tables import ArrayContract
from echoingecg.common import fingerprint, hash_array
from echoingecg.recipe import TeacherSettings
from tasks.pools.pool import Pool, PoolArray, array_of, key_rows, rows_by_key, rows_of
from tasks.store.artefact import Artefact


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


_KEY = ArrayContract("key", ("study", "byte"), "uint8", "", "SHA-256 of its clips' digests", (("byte", 32),))
_COMMIT = 1024  # studies between two commits


def write_targets(
    embeddings: Pool,
    group: zarr.Group,
    found: list[tuple[dict[str, Any], int]],
    settings: TeacherSettings,
    folder: Path,
) -> int:
    """A Gaussian for each study, over all its clips, as Zarr; returns the number of studies.

    Args:
        embeddings: the pool; that of the targets stands beside it.
        group: its arrays.
        found: catalog row of each clip, and its row in the pool.
        settings: the estimator.
        folder: of the artefact.
    """
    digests, lengths = rows_of(group, contract.DIGEST), rows_of(group, contract.CLIP_FRAMES)
    dim = array_of(group, contract.EMBEDDING).shape[1]
    clips: dict[str, list[int]] = defaultdict(list)
    for row, at in sorted(found, key=lambda one: str(one[0]["content_hash"])):  # sums follow no order of the pool
        clips[row["study_id"]].append(at)
    patient = {row["study_id"]: row["patient_id"] for row, _ in found}
    studies = sorted(clips)
    keys = {study: hash_array(digests[clips[study]]) for study in studies}
    rows = [
        {
            "study_id": one,
            "patient_id": patient[one],
            "clips": len(clips[one]),
            "frames": int(lengths[clips[one]].sum()),
        }
        for one in studies
    ]
    contract.STUDIES.write(contract.STUDIES.build(rows), folder)
    estimator = fingerprint([settings.target, settings.variance_epsilon])
    layout = (
        PoolArray(_KEY, (32,), _COMMIT, _COMMIT),
        *(PoolArray(one, (dim,), 64, _COMMIT) for one in contract.TARGETS),
    )
    pool = Pool(embeddings.workspace, f"{embeddings.name}-targets-{estimator}", layout, embeddings.kept)
    with pool.writing():
        known = rows_by_key(Pool.read(pool.workspace, pool.snapshot()))
        _add(pool, group, {keys[one]: clips[one] for one in studies if keys[one] not in known}, settings)
        made = Pool.read(pool.workspace, pool.snapshot())
    row_of = rows_by_key(made)
    order = np.array([row_of[keys[study]] for study in studies], dtype=np.int64)
    out = zarr.open_group(folder / contract.TARGETS_GROUP, mode="w")
    for one in contract.TARGETS:
        array = out.create_array(
            one.name,
            data=rows_of(made, one)[order],
            chunks=(1024, dim),
            dimension_names=one.dims,
            attributes={**one.attributes},
        )
        one.check(array)
    return len(rows)


def _add(pool: Pool, group: zarr.Group, missing: dict[str, list[int]], settings: TeacherSettings) -> None:
    """Targets of studies that the pool lacks: key -> rows of the clips."""
    from echoingecg.teacher.study_target import study_target

    starts, lengths = rows_of(group, contract.CLIP_START), rows_of(group, contract.CLIP_FRAMES)
    embedding = array_of(group, contract.EMBEDDING)
    keys = list(missing)
    for first in range(0, len(keys), _COMMIT):
        part = keys[first : first + _COMMIT]
        targets = [
            study_target(
                _vectors(embedding, starts[missing[key]], lengths[missing[key]]),
                settings.target,
                settings.variance_epsilon,
            )
            for key in part
        ]
        values = (np.stack(one) for one in zip(*targets, strict=True))
        named = {one.name: value for one, value in zip(contract.TARGETS, values, strict=True)}
        pool.append({_KEY.name: key_rows(part), **named}, {})


def _vectors(embedding: zarr.Array, starts: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    """Of some clips; where they lie side by side, as those that came together do, they are read at once."""
    first, end = int(starts.min()), int((starts + lengths).max())
    if end - first == lengths.sum():
        whole = np.asarray(embedding[first:end])
        return [whole[start : start + length] for start, length in zip(starts - first, lengths, strict=True)]
    return [np.asarray(embedding[start : start + length]) for start, length in zip(starts, lengths, strict=True)]
