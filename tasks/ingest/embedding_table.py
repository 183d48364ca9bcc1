"""Puts vectors of a table that was made elsewhere into the teacher's pool, under the catalog's files or studies."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from echoingecg.catalog.scan import listed_echoes
from echoingecg.common import Progress, UserError
from echoingecg.teacher.table import assign_vectors, read_embeddings
from tasks.ingest.blocks import Attempt, Block, clip_rows
from tasks.ingest.ingest import BlockWriter
from tasks.pools import Pool, rows_by_key
from tasks.store import Job

_CLIPS_PER_BLOCK = 256


def check_one_export(job: Job) -> None:
    """Raises UserError unless the job has one export, without a site: a table names files and studies of one folder."""
    if job.more or job.site:
        raise UserError("a table of echo embeddings is for one export, given without the name of a site")


@dataclass(frozen=True)
class MatchedTable:
    """The vectors of an export's clips or studies.

    Attributes:
        listed: clip_id, study_id, patient_id, content_hash: clips of the catalog, or a row for each study.
        vectors: content_hash -> float16 (vector, dim).
        refusals: quarantine rows of the files without a vector.
        dim: width of a vector.
    """

    listed: pa.Table
    vectors: dict[str, np.ndarray]
    refusals: list[dict[str, str]]
    dim: int


def match_table(path: Path, job: Job, listed: pa.Table) -> MatchedTable:
    """Finds the vectors of each file that the catalog lists.

    Args:
        path: of the table.
        job: names the export, whose lists the table's names come from.
        listed: ECHOES of the catalog.

    Raises:
        UserError: see `read_embeddings` and `assign_vectors`; several exports; or two files of the
            same content have different vectors.
    """
    check_one_export(job)
    table = read_embeddings(path)
    of_name = assign_vectors(table, listed_echoes(job.export, job.recipe.catalog), job.key, path)
    files = listed.select(["clip_id", "study_id", "patient_id", "content_hash", "source_id"]).to_pylist()
    is_clip = table.level == "clip"
    rows: dict[str, dict[str, str]] = {}
    vectors: dict[str, np.ndarray] = {}
    for file in files:
        name = file["source_id"] if is_clip else file["study_id"]
        row = file if is_clip else _study_row(file)
        rows[row["clip_id"]] = row
        if name not in of_name:
            continue
        known = vectors.setdefault(row["content_hash"], of_name[name])
        if not np.array_equal(known, of_name[name]):
            raise UserError(f"{path}: two clips of the same content have different vectors")
    if not vectors:
        raise UserError(f"{path}: holds no vector of a file that the catalog kept")
    refusals = [
        {"source_id": source_id, "reason": "no_embedding", "detail": "the table holds no vector of it"}
        for source_id, has_vector in _sources(files, vectors, is_clip).items()
        if not has_vector
    ]
    columns = ("clip_id", "study_id", "patient_id", "content_hash")
    kept = pa.Table.from_pylist(
        [{name: row[name] for name in columns} for row in rows.values()],
        schema=pa.schema([(name, pa.string()) for name in columns]),
    ).sort_by("clip_id")
    return MatchedTable(kept, vectors, refusals, table.vectors.shape[1])


def _study_row(file: dict[str, str]) -> dict[str, str]:
    """A row that stands for all clips of a file's study."""
    study = file["study_id"]
    return file | {"clip_id": study, "content_hash": study_key(study)}


def study_key(study_id: str) -> str:
    """Key in the pool of the vectors of a whole study."""
    return hashlib.sha256(study_id.encode()).hexdigest()


def _sources(files: list[dict[str, str]], vectors: dict[str, np.ndarray], is_clip: bool) -> dict[str, bool]:
    """Whether there is a vector, for each file."""
    contents = ((file, (file if is_clip else _study_row(file))["content_hash"]) for file in files)
    return {file["source_id"]: content_hash in vectors for file, content_hash in contents}


def add_vectors(pool: Pool, matched: MatchedTable, commit_every: int, progress: Progress) -> int:
    """Adds the vectors that the pool lacks, those of a study side by side; returns how many clips or studies.

    Args:
        pool: in its `writing` context.
        matched: from `match_table`.
        commit_every: clips or studies between two commits.
        progress: told the clips or studies done after every block.
    """
    known = rows_by_key(Pool.read(pool.workspace, pool.snapshot())).keys()
    ordered = matched.listed.sort_by([("study_id", "ascending"), ("content_hash", "ascending")])
    listed = dict.fromkeys(ordered["content_hash"].to_pylist())
    missing = [key for key in listed if key in matched.vectors and key not in known]
    writer, done = BlockWriter(pool, commit_every), 0
    for start in range(0, len(missing), _CLIPS_PER_BLOCK):
        keys = missing[start : start + _CLIPS_PER_BLOCK]
        rows = clip_rows([Attempt(key, matched.vectors[key]) for key in keys])
        done += writer.write(Block(len(keys), rows, {}))
        progress(done, len(missing))
    writer.finish()
    return done
