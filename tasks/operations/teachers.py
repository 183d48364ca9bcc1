"""What is done with a teacher: train a small one on a catalogued export; write a published one's vectors as a table."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_contracts import catalog as catalog_contract
from data_contracts import teacher as contract
from data_contracts.conventions import NOT_STATED
from echoingecg.common import Progress, StoreError, UserError, no_progress, replace_atomically, write_origin
from echoingecg.recipe import TeacherSettings
from echoingecg.recipe.stages import SplitShares
from tasks.all_stages import plans
from tasks.base import progress, workers
from tasks.base.workspace import writing_to
from tasks.catalog import read_exact
from tasks.ingest.embedding_table import check_one_export
from tasks.ingest.ingest import source_files
from tasks.pools import Pool, array_of, read_rows, rows_by_key, rows_of
from tasks.store import Artefact, Job

_SCHEMA = pa.schema([("path", pa.string()), ("frame", pa.int64()), ("embedding", pa.list_(pa.float32()))])
_VECTORS_AT_ONCE = 65_536


def _teaching(job: Job, catalog: Artefact, folder: str) -> progress.Outcome:
    """Trains the teacher, measures it on held-out patients, and puts its folder in place when it is complete."""
    message = teach_into(Path(folder), job, catalog, progress.Reporter("teaching"))
    return progress.Outcome(f"{folder}: {message}", message)


teaching = progress.as_task("teaching", _teaching)


def teach_into(folder: Path, job: Job, catalog: Artefact, report: Progress) -> str:
    """Writes weights, configuration and model card; returns what was measured, as a sentence.

    Args:
        folder: receives the files; files of the same names are replaced.
        job: recipe with a teaching section, export, workspace.
        catalog: of the job's export.
        report: told the files read, then the steps done.

    Raises:
        UserError: too few studies, a loss that is not finite, a disk that is full.
    """
    from echoingecg.pairs.split import assign_split  # torch and pandas: not for a cached run
    from echoingecg.teacher.demo_training.evaluate_and_save import evaluate, save_card, save_teacher
    from echoingecg.teacher.demo_training.examples import load_examples
    from echoingecg.teacher.demo_training.train import train_teacher
    from echoingecg.teacher.networks.kind import load_teacher
    from echoingecg.teacher.networks.open_clip import demo_config

    recipe, config = job.recipe, demo_config()
    assert recipe.teaching is not None
    tables = (catalog_contract.ECHOES, catalog_contract.MEASUREMENTS, catalog_contract.REPORTS)
    echoes, measurements, reports = (read_exact(job, catalog, table) for table in tables)
    paths = source_files(job, echoes).paths()
    size = config["model_cfg"]["vision_cfg"]["image_size"]
    try:
        examples = load_examples(echoes, measurements, reports, paths, recipe, size, report)
    except OSError as fault:
        raise StoreError(f"a file of the export cannot be read ({fault.strerror}): is it still mounted?") from fault
    shares = SplitShares(train=1 - recipe.teaching.held_out, validation=0.0, test=recipe.teaching.held_out)
    sides = [assign_split(str(patient), recipe.pairs.split_key, shares) for patient in examples.patient]
    known = examples.select([index for index, side in enumerate(sides) if side == "train"])
    unseen = examples.select([index for index, side in enumerate(sides) if side == "test"])
    where = workers.device(recipe.execution)
    model = train_teacher(known, config, recipe, where, report)
    temporary = folder.with_name(folder.name + ".partial")
    with writing_to(folder):
        shutil.rmtree(temporary, ignore_errors=True)
        save_teacher(temporary, model, config)
        evaluation = evaluate(load_teacher(TeacherSettings(model=f"local-dir:{temporary}"), where), unseen)
        save_card(temporary, model, config, recipe, known, evaluation)
        write_origin(temporary, catalog.manifest.source.get("origin", NOT_STATED))
        folder.mkdir(parents=True, exist_ok=True)
        for file in temporary.iterdir():
            file.replace(folder / file.name)
        temporary.rmdir()
    return f"LVEF by ranked prompts within {evaluation.mae:.1f} points on {evaluation.studies} unseen studies"


def write_embeddings(job: Job, out: Path, report: Progress = no_progress) -> int:
    """Writes path, frame and embedding of every vector; returns their number.

    The paths are those of the export's list, relative to the export, so that the file must stay in the hospital: only
    its owner can read it. Float32 holds the float16 numbers of the pool without a change. `frame` counts the frames
    that were embedded, from 0.

    Args:
        job: recipe, export and workspace of the teacher stage.
        out: a Parquet file, replaced if it is there.
        report: told the clips done.

    Raises:
        UserError: several exports, the stage was not run, its vectors are those of studies, or the file cannot be
            written.
    """
    if out.suffix != ".parquet":
        raise UserError(f"{out}: name a file that ends in .parquet")
    check_one_export(job)
    plan = next(plan for plan in plans(job) if plan.stage == "teacher")
    artefact = job.store.find("teacher", plan.version)
    listed = job.store.find("catalog", plan.inputs["catalog"])
    if artefact is None or listed is None or artefact.manifest.run.pool is None:
        raise StoreError(f"teacher-{plan.version} is not there: run the recipe with --only catalog --only teacher")
    paths = dict(zip(*(job.sources()[name].to_pylist() for name in ("source_id", "path")), strict=True))
    echoes = catalog_contract.ECHOES.read(listed.folder)
    source = dict(zip(echoes["clip_id"].to_pylist(), echoes["source_id"].to_pylist(), strict=True))
    group = Pool.read(job.workspace, artefact.manifest.run.pool)
    row_of, starts, lengths = (
        rows_by_key(group),
        rows_of(group, contract.CLIP_START),
        rows_of(group, contract.CLIP_FRAMES),
    )
    embedding = array_of(group, contract.EMBEDDING)
    clips = contract.clips_contract(artefact.manifest.contract_version).read(artefact.folder).to_pylist()
    if any(clip["clip_id"] not in source for clip in clips):
        raise UserError(f"{artefact}: its vectors are those of whole studies, which have no file: use their own table")
    vectors, waiting, waiting_vectors = 0, [], 0
    with writing_to(out.parent), replace_atomically(out, 0o600) as beside, pq.ParquetWriter(beside, _SCHEMA) as writer:
        for done, clip in enumerate(clips, start=1):
            row = row_of[clip["content_hash"]]
            values = read_rows(embedding, slice(starts[row], starts[row] + lengths[row])).astype(np.float32)
            waiting.append(_rows(paths[source[clip["clip_id"]]], values))
            waiting_vectors += len(values)
            if waiting_vectors >= _VECTORS_AT_ONCE or done == len(clips):
                writer.write_table(pa.concat_tables(waiting))
                vectors, waiting, waiting_vectors = vectors + waiting_vectors, [], 0
                report(done, len(clips))
    return vectors


def _rows(path: str, values: np.ndarray) -> pa.Table:
    """Rows of one clip; values float32 (vector, dim)."""
    offsets = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
    lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.reshape(-1)))
    return pa.Table.from_arrays([pa.repeat(path, len(values)), pa.array(np.arange(len(values))), lists], schema=_SCHEMA)
