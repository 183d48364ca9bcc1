"""Stage teacher: every frame of every clip through the frozen teacher, and a Gaussian for each study; and pictures.

The vectors may also come from a table that was made elsewhere; no clip is opened then.

No picture names anyone: frames are black outside the sector, where scanners print text.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import zarr

from data_contracts import catalog, quarantine, tables
from data_contracts import teacher as contract
from data_contracts.manifest import PoolSnapshot, checked_file
from echoingecg.common import Progress, fingerprint, hash_array, key_rows
from echoingecg.recipe import PairsSettings, TeacherSettings
from echoingecg.teacher import CODE_VERSION
from echoingecg.teacher.networks.kind import load_teacher, table_file, teacher_identity, teacher_origin
from echoingecg.teacher.study_target import study_target, with_median_variance
from tasks import pools, stage
from tasks.base.workers import mapper, replicas
from tasks.base.workspace import Workspace
from tasks.catalog import with_exact_hours
from tasks.ingest import ingest, supervised
from tasks.store import Artefact, ArtefactStore, Built, Inputs, Job

if TYPE_CHECKING:
    from echoingecg.teacher.embed import Teacher

_FILES_PER_BLOCK = 8  # progress and commits are counted in blocks
_SHEET_CLIPS = 3
_MAP_MEASUREMENT = "lvef"
_TARGET_KEY = tables.ArrayContract(
    "key", ("study", "byte"), "uint8", "", "SHA-256 of its clips' digests", (("byte", 32),)
)
_STUDIES_PER_COMMIT = 1024
# Settings on which no embedding depends by more than a rounding. The identity stands for the files that are named.
_NOT_EMBEDDED = {"model", "weights", "batch_frames", "target", "variance_epsilon", "still_study", "max_refused_share"}


def _layout(dim: int) -> tuple[pools.PoolArray, ...]:
    return (
        pools.PoolArray(contract.KEY, (32,), 8192, 8192),
        pools.PoolArray(contract.CLIP_START, (), 8192, 8192, starts=contract.EMBEDDING.name),
        pools.PoolArray(contract.CLIP_FRAMES, (), 8192, 8192),
        pools.PoolArray(contract.EMBEDDING, (dim,), 512, 65536, ragged=contract.CLIP_FRAMES.name),
        pools.PoolArray(contract.DIGEST, (32,), 8192, 8192),
        pools.PoolArray(contract.SECTOR, (), 8192, 8192),
    )


def _source(job: Job) -> dict[str, str]:
    return teacher_identity(job.recipe.teacher) | {contract.TRAINED_ON: teacher_origin(job.recipe.teacher)}


def _build(job: Job, inputs: Inputs, folder: Path, progress: Progress) -> Built:
    listed = catalog.ECHOES.read(inputs["catalog"].folder)
    settings = job.recipe.teacher
    if (path := table_file(settings)) is not None:
        filled = _from_table(job, inputs["catalog"].version, listed, path, progress)
    else:
        filled = _from_clips(job, listed, progress)
    stage.check_refusals(job, "teacher", filled.refusals, listed.num_rows, settings.max_refused_share)
    group = pools.Pool.read(job.workspace, filled.snapshot)
    for array in contract.ARRAYS:
        pools.array_of(group, array)
    frames, sectors = pools.rows_of(group, contract.CLIP_FRAMES), pools.rows_of(group, contract.SECTOR)
    indexed = ingest.index_rows(group, filled.listed)
    clips = [
        {
            "clip_id": file["clip_id"],
            "study_id": file["study_id"],
            "content_hash": file["content_hash"],
            "frames": int(frames[row]),
            "sector": contract.SECTORS[sectors[row]],
        }
        for file, row in indexed
    ]
    contract.CLIPS.write(contract.CLIPS.build(clips), folder)
    quarantine.QUARANTINE.write(filled.refusals, folder)
    if path is None:
        write_sheet(job, clips, listed, folder)
    pools.write_pool_content(folder, group, np.array([row for _, row in indexed], np.int64))
    studies = write_targets(filled.pool, group, indexed, settings, folder, "teacher" in job.redo)
    counts = {"clips": len(clips), "frames": sum(clip["frames"] for clip in clips), "studies": studies}
    if path is None:
        counts["doubtful_sectors"] = sum(clip["sector"] == "doubtful" for clip in clips)
    return Built({**counts, "refused": filled.refusals.num_rows}, filled.snapshot, filled.new)


@dataclass(frozen=True)
class _Filled:
    """A pool that holds the vectors of every clip that was not refused.

    Attributes:
        pool, snapshot: of the vectors.
        listed: what may have vectors: clips of the catalog, or one row for each study.
        refusals: quarantine table.
        new: clips or studies that were added.
    """

    pool: pools.Pool
    snapshot: PoolSnapshot
    listed: pa.Table
    refusals: pa.Table
    new: int


def _from_clips(job: Job, listed: pa.Table, progress: Progress) -> _Filled:
    """Embeds the clips that the pool lacks."""

    settings, execution = job.recipe.teacher, job.recipe.execution
    teachers = [load_teacher(settings, device, execution.compile_teacher) for device in replicas(execution)]
    embedded_by = settings.model_dump(exclude=_NOT_EMBEDDED)
    key = fingerprint([contract.POOL_VERSION, CODE_VERSION, embedded_by, teacher_identity(settings)])
    pool = pools.Pool(job.workspace, f"teacher/{key}", _layout(teachers[0].dim), execution.pools)
    with pool.writing(thorough="teacher" in job.redo):
        # The clips of a study are stored side by side, so that its target is made from one read.
        missing = ingest.missing_files(pool, job, listed, "study_id")
        new = _ingest(pool, missing, teachers, job, progress)
        snapshot, refused = pool.snapshot(), ingest.refused_files(pool)
    refusals = quarantine.QUARANTINE.build(ingest.quarantine_rows(listed, refused))
    return _Filled(pool, snapshot, listed, refusals, new)


def _from_table(job: Job, catalog_version: str, listed: pa.Table, path: Path, progress: Progress) -> _Filled:
    """Puts the vectors of a table into a pool of its own: which file a row means depends on table and catalog."""
    from tasks.ingest.embedding_table import add_vectors, match_table  # pandas: not for a cached run

    matched = match_table(path, job, listed)
    key = fingerprint([contract.POOL_VERSION, CODE_VERSION, teacher_identity(job.recipe.teacher), catalog_version])
    pool = pools.Pool(job.workspace, f"teacher/{key}", _layout(matched.dim), job.recipe.execution.pools)
    with pool.writing(thorough="teacher" in job.redo):
        new = add_vectors(pool, matched, job.recipe.execution.commit_every, progress)
        snapshot = pool.snapshot()
    return _Filled(pool, snapshot, matched.listed, quarantine.QUARANTINE.build(matched.refusals), new)


def _ingest(
    pool: pools.Pool, missing: ingest.SourceFiles, teachers: "Sequence[Teacher]", job: Job, progress: Progress
) -> int:
    if not missing:
        return 0
    from tasks.ingest.blocks import clip_blocks  # OpenCV, SciPy: not for a cached run

    execution = job.recipe.execution
    block_size = min(_FILES_PER_BLOCK, execution.commit_every)
    with mapper(execution, len(missing), execution.decode_threads) as run:
        limits = supervised.Limits.of(execution)
        decode = partial(supervised.decode_clip, job.recipe.teacher, teachers[0].image_size, limits)
        blocks = partial(clip_blocks, run, decode, teachers, block_size)
        return ingest.ingest_blocks(pool, missing, blocks, block_size, execution.commit_every, progress)


def write_targets(
    embeddings: pools.Pool,
    group: zarr.Group,
    clips: list[tuple[dict[str, Any], int]],
    settings: TeacherSettings,
    folder: Path,
    thorough: bool = False,
) -> int:
    """Writes a Gaussian for each study, over all its clips, as Zarr; returns the number of studies.

    Args:
        embeddings: the pool; the pool of targets is beside it.
        group: its arrays.
        clips: catalog row of each clip, and its row in the pool.
        settings: the estimator.
        folder: of the artefact.
        thorough: compare every byte of the pool of targets before it is trusted.
    """
    digests, lengths = pools.rows_of(group, contract.DIGEST), pools.rows_of(group, contract.CLIP_FRAMES)
    dim = pools.array_of(group, contract.EMBEDDING).shape[1]
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
        pools.PoolArray(_TARGET_KEY, (32,), _STUDIES_PER_COMMIT, _STUDIES_PER_COMMIT),
        *(pools.PoolArray(target, (dim,), 64, _STUDIES_PER_COMMIT) for target in contract.TARGETS),
    )
    pool = pools.Pool(embeddings.workspace, f"{embeddings.name}-targets-{estimator}", layout, embeddings.s3_root)
    with pool.writing(thorough):
        known = pools.rows_by_key(pools.Pool.read(pool.workspace, pool.snapshot()))
        missing = {keys[study]: clip_rows[study] for study in studies if keys[study] not in known}
        _add_targets(pool, group, missing, settings)
        made = pools.Pool.read(pool.workspace, pool.snapshot())
    row_of = pools.rows_by_key(made)
    order = np.array([row_of[keys[study]] for study in studies], dtype=np.int64)
    values = {target.name: pools.rows_of(made, target)[order] for target in contract.TARGETS}
    if settings.still_study == "median":  # not in the pool: it depends on the other studies
        log_var = values[contract.LOG_VAR.name]
        values[contract.LOG_VAR.name] = with_median_variance(log_var, settings.variance_epsilon)
    out = zarr.open_group(folder / contract.TARGETS_GROUP, mode="w")
    for target in contract.TARGETS:
        array = out.create_array(
            target.name,
            data=values[target.name],
            chunks=(1024, dim),
            dimension_names=target.dims,
            attributes={**target.attributes},
        )
        target.check(array)
    return len(rows)


def _add_targets(pool: pools.Pool, group: zarr.Group, missing: dict[str, list[int]], settings: TeacherSettings) -> None:
    """Adds the targets of studies that the pool lacks (key -> rows of the clips)."""
    starts, lengths = pools.rows_of(group, contract.CLIP_START), pools.rows_of(group, contract.CLIP_FRAMES)
    embedding = pools.array_of(group, contract.EMBEDDING)
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
        pool.append({_TARGET_KEY.name: key_rows(part), **named}, {})


def _vectors(embedding: zarr.Array, starts: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    """Embeddings of some clips. Clips side by side, as when they were processed together, are read at once."""
    first, end = int(starts.min()), int((starts + lengths).max())
    if end - first == lengths.sum():
        whole = pools.read_rows(embedding, slice(first, end))
        return [whole[start : start + length] for start, length in zip(starts - first, lengths, strict=True)]
    parts = zip(starts, lengths, strict=True)
    return [pools.read_rows(embedding, slice(start, start + length)) for start, length in parts]


def read_targets(artefact: Artefact) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    """(STUDIES table, mean, log_var). Mean and log_var are float32 (study, dim), with rows in the table's order."""
    group = zarr.open_group(checked_file(artefact.folder, contract.TARGETS_GROUP), mode="r")
    mean, log_var = (pools.rows_of(group, target) for target in contract.TARGETS)
    return contract.STUDIES.read(artefact.folder), mean, log_var


def vector_reader(workspace: Workspace, artefact: Artefact) -> Callable[[int], np.ndarray]:
    """Opens the vectors of the studies: from a row of STUDIES to all vectors of its clips, (vector, D) float16.

    Raises:
        StoreError: the pool is gone.
    """
    assert artefact.manifest.run.pool is not None
    group = pools.Pool.read(workspace, artefact.manifest.run.pool)
    starts, lengths = pools.rows_of(group, contract.CLIP_START), pools.rows_of(group, contract.CLIP_FRAMES)
    embedding, row_of = pools.array_of(group, contract.EMBEDDING), pools.rows_by_key(group)
    clips = contract.clips_contract(artefact.manifest.contract_version).read(artefact.folder)
    rows: dict[str, list[int]] = defaultdict(list)
    for study, content in zip(clips["study_id"].to_pylist(), clips["content_hash"].to_pylist(), strict=True):
        rows[study].append(row_of[content])
    studies = contract.STUDIES.read(artefact.folder)["study_id"].to_pylist()
    return lambda study: np.concatenate(
        _vectors(embedding, starts[rows[studies[study]]], lengths[rows[studies[study]]])
    )


def targets_in_chunks(artefact: Artefact, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields (mean, log_var) of `size` studies at a time, in their order, so that memory does not grow with them."""
    group = zarr.open_group(checked_file(artefact.folder, contract.TARGETS_GROUP), mode="r")
    mean, log_var = (pools.array_of(group, target) for target in contract.TARGETS)
    for start in range(0, mean.shape[0], size):
        rows = slice(start, start + size)
        yield pools.read_rows(mean, rows), pools.read_rows(log_var, rows)


def write_sheet(job: Job, clips: list[dict[str, Any]], listed: pa.Table, folder: Path) -> None:
    """Writes CONTACT_SHEET: a clip of each of some studies, doubtful sectors first. Without a mask text would show.

    Frames of an export whose key is not public are coarse: the sheet travels with the artefact, the report and Prefect.

    Args:
        job: names the export and the teacher's settings.
        clips: rows of contract.CLIPS.
        listed: ECHOES of the catalog.
        folder: of the artefact that is being built.
    """
    if not job.recipe.teacher.mask:
        return
    from echoingecg.teacher.pictures import masked_contact_sheet  # OpenCV: not for a cached run

    doubtful = [clip["content_hash"] for clip in clips if clip["sector"] == "doubtful"]
    of_study = {clip["study_id"]: clip["content_hash"] for clip in clips}
    shown = [*sorted(doubtful), *(content_hash for _, content_hash in sorted(of_study.items()))]
    shown = list(dict.fromkeys(shown))[:_SHEET_CLIPS]
    files = ingest.source_files(job, listed.filter(pc.is_in(listed["content_hash"], pa.array(shown, pa.string()))))
    paths = files.paths()
    coarse = not job.recipe.catalog.public_key
    if sheet := masked_contact_sheet([paths[content_hash] for content_hash in shown], job.recipe.teacher, coarse):
        (folder / contract.CONTACT_SHEET).write_bytes(sheet)


def contact_sheet(artefact: Artefact) -> bytes | None:
    """The PNG that `write_sheet` wrote; None where it wrote none."""
    path = checked_file(artefact.folder, contract.CONTACT_SHEET)
    return path.read_bytes() if path.is_file() else None


def embedding_map(workspace: Workspace, artefact: Artefact) -> bytes | None:
    """PNG of the study targets, coloured by LVEF or, without any, by the commonest measurement; None of few studies.

    A measurement that names no study belongs to the nearest study within the default window of stage `pairs`: the
    teacher does not know the recipe of that stage.

    Args:
        workspace: holds the catalog that the artefact was made from.
        artefact: of stage teacher, of this release's contract.
    """
    from echoingecg.pairs import labels, match  # pandas, matplotlib: not for a cached run
    from echoingecg.teacher.pictures import draw_embedding_map

    listed = ArtefactStore(workspace).find("catalog", artefact.manifest.inputs["catalog"])
    assert listed is not None
    studies, mean, _ = read_targets(artefact)
    measurements, echoes = (
        with_exact_hours(workspace, listed, table.read(listed.folder), table.name)
        for table in (catalog.MEASUREMENTS, catalog.ECHOES)
    )
    window = PairsSettings().measurement_window_hours
    measured = labels.values_of_studies(match.to_frame(measurements), match.list_studies(echoes), window)
    measured = measured[measured["study_id"].isin(studies["study_id"].to_pylist())]
    counts = Counter(measured["measurement"])
    commonest = min(counts, key=lambda name: (-counts[name], name), default="no measurement")
    measurement = _MAP_MEASUREMENT if _MAP_MEASUREMENT in counts else commonest
    chosen = measured[measured["measurement"] == measurement]
    value = dict(zip(chosen["study_id"], chosen["value"], strict=True))
    values = np.array([value.get(study, np.nan) for study in studies["study_id"].to_pylist()])
    return draw_embedding_map(mean, values, measurement, ", ".join(sorted(set(chosen["unit"]))))


def _show(job: Job, inputs: Inputs, artefact: Artefact) -> None:
    """Publishes the refusals and both pictures to Prefect."""
    pictures = {
        "clips as the teacher sees them" + ("" if job.recipe.catalog.public_key else ", coarse"): contact_sheet(
            artefact
        ),
        "map of the studies": embedding_map(job.workspace, artefact),
    }
    lines = [stage.png_in_markdown(text, png) + "\n" for text, png in pictures.items() if png is not None]
    stage.show_samples(artefact, "echo files", lines)


WORK = stage.StageWork("teacher", contract.CONTRACT_VERSION, CODE_VERSION, _build, _source, _show)
teacher = stage.as_task(WORK)
