"""Writes the vectors of a published teacher stage as a table, which `teacher.model: table:FILE` reads."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_contracts import catalog
from data_contracts import teacher as contract
from echoingecg.common import Progress, StoreError, UserError, no_progress, replace_atomically
from tasks.all_stages import plans
from tasks.base.workspace import writing_to
from tasks.ingest.embedding_table import check_one_export
from tasks.pools import Pool, array_of, read_rows, rows_by_key, rows_of
from tasks.store import Job

_SCHEMA = pa.schema([("path", pa.string()), ("frame", pa.int64()), ("embedding", pa.list_(pa.float32()))])
_VECTORS_AT_ONCE = 65_536


def write_embeddings(job: Job, out: Path, progress: Progress = no_progress) -> int:
    """Writes path, frame and embedding of every vector; returns their number.

    The paths are those of the export's list, relative to the export, so that the file must stay in the hospital: only
    its owner can read it. Float32 holds the float16 numbers of the pool without a change. `frame` counts the frames
    that were embedded, from 0.

    Args:
        job: recipe, export and workspace of the teacher stage.
        out: a Parquet file, replaced if it is there.
        progress: told the clips done.

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
    echoes = catalog.ECHOES.read(listed.folder)
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
                progress(done, len(clips))
    return vectors


def _rows(path: str, values: np.ndarray) -> pa.Table:
    """Rows of one clip; values float32 (vector, dim)."""
    offsets = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
    lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.reshape(-1)))
    return pa.Table.from_arrays([pa.repeat(path, len(values)), pa.array(np.arange(len(values))), lists], schema=_SCHEMA)
