"""Stage teacher: every frame of every clip before the frozen teacher, and a Gaussian for each study."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from data_contracts import teacher as contract
from data_contracts.catalog import ECHOES
from data_contracts.conventions import Stage
from data_contracts.quarantine import QUARANTINE
from echoingecg.common import Progress, fingerprint
from echoingecg.teacher import CODE_VERSION
from echoingecg.teacher.identity import teacher_identity
from tasks.base.workers import mapper
from tasks.ingest import ingest, teacher_worker
from tasks.pages.teacher_page import show, write_sheet
from tasks.pools.pool import Pool, PoolArray, array_of, rows_of
from tasks.pools.targets import write_targets
from tasks.stage import StageWork, as_task, check_refusals
from tasks.store.artefact import Built, Inputs
from tasks.store.job import Job

if TYPE_CHECKING:
    from echoingecg.teacher.embed import Teacher

STAGE: Stage = "teacher"

_TOGETHER = 8  # files a block: what progress and commits are counted in
# What no embedding depends on by more than a rounding: the identity stands for the files that are named.
_NOT_EMBEDDED = {"model", "weights", "batch_frames", "target", "variance_epsilon", "max_refused_share"}


def _layout(dim: int) -> tuple[PoolArray, ...]:
    return (
        PoolArray(contract.KEY, (32,), 8192, 8192),
        PoolArray(contract.CLIP_START, (), 8192, 8192, starts=contract.EMBEDDING.name),
        PoolArray(contract.CLIP_FRAMES, (), 8192, 8192),
        PoolArray(contract.EMBEDDING, (dim,), 512, 65536, ragged=contract.CLIP_FRAMES.name),
        PoolArray(contract.DIGEST, (32,), 8192, 8192),
    )


def _source(job: Job) -> dict[str, str]:
    return teacher_identity(job.recipe.teacher)


def _ingest(
    pool: Pool, missing: ingest.SourceFiles, teachers: "Sequence[Teacher]", job: Job, progress: Progress
) -> int:
    if not missing:
        return 0
    execution = job.recipe.execution
    together = min(_TOGETHER, execution.commit_every)
    with mapper(execution, len(missing), execution.decode_threads) as run:
        blocks = partial(teacher_worker.embedded_blocks, run, job.recipe.teacher, teachers, together)
        return ingest.ingest_blocks(pool, missing, blocks, together, execution.commit_every, progress)


def _build(job: Job, inputs: Inputs, folder: Path, progress: Progress) -> Built:
    from echoingecg.teacher.model import load_teacher  # torch: not for a cached run
    from tasks.base.workers import replicas

    listed = ECHOES.read(inputs["catalog"].folder)
    settings, execution = job.recipe.teacher, job.recipe.execution
    teachers = [load_teacher(settings, one, execution.compile_teacher) for one in replicas(execution)]
    embedded_by = settings.model_dump(exclude=_NOT_EMBEDDED)
    key = fingerprint([contract.CONTRACT_VERSION, CODE_VERSION, embedded_by, _source(job)])
    pool = Pool(job.workspace, f"{STAGE}/{key}", _layout(teachers[0].dim), execution.pools)
    with pool.writing():
        # A study's clips side by side, so that its target is made from one read.
        missing = ingest.missing_files(pool, job, listed, "study_id")
        new = _ingest(pool, missing, teachers, job, progress)
        snapshot, refused = pool.snapshot(), pool.refused()
    group = Pool.read(job.workspace, snapshot)
    found = ingest.index_rows(group, listed, contract.DIGEST)
    quarantine = QUARANTINE.build(ingest.quarantine_rows(listed, refused))
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
    write_sheet(job, clips, listed, folder)
    studies = write_targets(pool, group, [(row, at) for row, at, _ in found], settings, folder)
    counts = {"clips": len(clips), "frames": sum(row["frames"] for row in clips), "studies": studies}
    return Built({**counts, "refused": quarantine.num_rows}, snapshot, new)


WORK = StageWork(STAGE, contract.CONTRACT_VERSION, CODE_VERSION, _build, _source, show)
teacher = as_task(WORK)
