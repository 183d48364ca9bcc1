"""Stage teacher: every frame of every clip before the frozen teacher, and a Gaussian for each study."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from data_contracts import teacher as contract
from data_contracts.catalog import ECHOES
from data_contracts.conventions import Stage
from data_contracts.quarantine import QUARANTINE
from echoingecg.fingerprint import fingerprint, hash_array
from echoingecg.progress import Progress
from echoingecg.teacher import CODE_VERSION
from echoingecg.teacher.identity import teacher_identity
from tasks.artefacts import Built
from tasks.ingest import Attempt, Rows, SourceFile, attempt, index_rows, ingest, quarantine_rows, source_files
from tasks.job import Job
from tasks.pools import Pool, PoolArray, array_of, key_rows, rows_of
from tasks.stage import Inputs, StageWork, as_task, check_refusals
from tasks.teacher_page import show, write_sheet

STAGE: Stage = "teacher"


def _layout(dim: int) -> tuple[PoolArray, ...]:
    return (
        PoolArray(contract.KEY, (32,), 8192, 8192),
        PoolArray(contract.CLIP_START, (), 8192, 8192),
        PoolArray(contract.CLIP_FRAMES, (), 8192, 8192),
        PoolArray(contract.EMBEDDING, (dim,), 64, 65536),
        PoolArray(contract.DIGEST, (32,), 8192, 8192),
    )


def _source(job: Job) -> dict[str, str]:
    return teacher_identity(job.recipe.teacher)


def _build(job: Job, inputs: Inputs, folder: Path, progress: Progress) -> Built:
    from echoingecg.teacher.model import load_teacher  # torch: not for a cached run
    from echoingecg.teacher.process import embed_clip
    from tasks.device import device

    listed = ECHOES.read(inputs["catalog"].folder)
    settings, identity = job.recipe.teacher, _source(job)
    teacher = load_teacher(settings, device(job.recipe.execution))
    made_by = [contract.CONTRACT_VERSION, CODE_VERSION, settings.model_dump(exclude={"max_refused_share"}), identity]
    pool = Pool(job.workspace, f"{STAGE}/{fingerprint(made_by)}", _layout(teacher.dim))

    def process(file: SourceFile) -> np.ndarray:
        return embed_clip(file.path, teacher, settings)

    def attempts(files: Iterable[SourceFile]) -> Iterator[Attempt]:
        return map(partial(attempt, process), files)

    def rows(batch: list[Attempt]) -> Rows:
        return _rows(batch, array_of(Pool.read(job.workspace, pool.snapshot()), contract.EMBEDDING).shape[0])

    files = source_files(job, listed)
    with pool.writing():
        new = ingest(pool, files, attempts, rows, job.recipe.execution.commit_every, progress)
        snapshot, refused = pool.snapshot(), pool.refused()
    group = Pool.read(job.workspace, snapshot)
    found = index_rows(group, listed, contract.DIGEST)
    quarantine = QUARANTINE.build(quarantine_rows(listed, refused))
    check_refusals(job, STAGE, quarantine, listed.num_rows, settings.max_refused_share)
    for array in contract.ARRAYS:
        array_of(group, array)
    frames = rows_of(group, contract.CLIP_FRAMES)
    clips = [
        {
            "clip_id": row["clip_id"],
            "study_id": row["study_id"],
            "content_hash": row["content_hash"],
            "frames": int(frames[at]),
            "embedding_sha256": digest,
        }
        for row, at, digest in found
    ]
    contract.CLIPS.write(contract.CLIPS.build(clips), folder)
    QUARANTINE.write(quarantine, folder)
    write_sheet(clips, files, settings, folder)
    studies = _write_targets(group, [(row, at) for row, at, _ in found], settings.variance_epsilon, folder)
    counts = {"clips": len(clips), "frames": sum(row["frames"] for row in clips), "studies": studies}
    return Built({**counts, "refused": quarantine.num_rows}, snapshot, new)


def _rows(batch: list[Attempt], before: int) -> Rows:
    """Rows of the contiguous ragged array; `before` frames are in the pool already."""
    lengths = np.array([len(one.value) for one in batch], dtype=np.int64)
    return {
        contract.KEY.name: key_rows([one.content_hash for one in batch]),
        contract.CLIP_START.name: before + np.concatenate([[0], np.cumsum(lengths)[:-1]]),
        contract.CLIP_FRAMES.name: lengths,
        contract.EMBEDDING.name: np.concatenate([one.value for one in batch]),
        contract.DIGEST.name: key_rows([hash_array(one.value) for one in batch]),
    }


def _write_targets(group: zarr.Group, found: list[tuple[dict[str, Any], int]], epsilon: float, folder: Path) -> int:
    """A Gaussian for each study, over all frames of all its clips, as Zarr; returns the number of studies."""
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
        targets.append(study_target(np.concatenate(clips), epsilon))
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


WORK = StageWork(STAGE, contract.CONTRACT_VERSION, CODE_VERSION, _build, _source, show)
teacher = as_task(WORK)
