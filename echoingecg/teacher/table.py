"""Reads a table of precomputed echo embeddings, and says which clip or study of the export each vector belongs to.

A row is a vector of a study, of a clip, or of a frame. It names the study or the clip as the export's lists do.
"""

import json
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv as arrow_csv

from data_contracts.conventions import UserError
from echoingecg.catalog.layouts.base import ECHO, patient_of_site
from echoingecg.catalog.pseudonyms import Pseudonyms

Level = Literal["clip", "study"]

# Columns, by the names that the export's lists give them: those of the layouts `generic` and `mimic-iv`.
_PATHS, _STUDIES, _PATIENTS = ("path", "dicom_filepath"), ("study_id",), ("patient_id", "subject_id")
_SITE, _FRAME, _EMBEDDING = "site", "frame", "embedding"
_NAMES = (*_PATHS, *_STUDIES, *_PATIENTS, _SITE, _FRAME, _EMBEDDING)
_UNIT_TOLERANCE = 1e-3  # of the length: what rounding of each number to float16 can change
_ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class EmbeddingTable:
    """A checked table of n vectors.

    Attributes:
        level: what a row names, a clip or a study.
        names: n rows; text columns `path`, or `study` and, where the table states it, `patient`; and `frame`, int64.
        vectors: float16 (n, dim), of unit length.
    """

    level: Level
    names: pd.DataFrame
    vectors: np.ndarray


def read_embeddings(path: Path) -> EmbeddingTable:
    """Reads a Parquet or CSV table with `embedding`, or e0, e1 ... eN, beside the names of clips or studies.

    Vectors whose length is 1 but for roundings to float16 are taken as they are, others are divided by their length.
    All vectors are in memory, 2 bytes a number.

    Raises:
        UserError: the table cannot be read, lacks a column, or a vector is not finite, 0, of another length than the
            first, or there twice. No row's content is quoted.
    """
    names: list[pd.DataFrame] = []
    vectors: list[np.ndarray] = []
    dim, count = 0, 0
    try:
        for batch in _batches(path):
            values = _numbers(batch, path, count, dim)
            dim = values.shape[1]
            vectors.append(_unit(values, path, count))
            names.append(_names(batch, path, count))
            count += len(values)
    except (OSError, pa.ArrowInvalid, pa.ArrowKeyError, pa.ArrowNotImplementedError) as fault:
        raise UserError(f"{path}: not a table of vectors in Parquet or UTF-8 CSV: {_cause(fault)}") from fault
    if not count:
        raise UserError(f"{path}: holds no vector")
    rows = pd.concat(names, ignore_index=True)
    _refuse_rows(path, 0, rows.duplicated().to_numpy(), "a vector of the same name for the second time")
    return EmbeddingTable("clip" if "path" in rows else "study", rows, np.concatenate(vectors))


def assign_vectors(table: EmbeddingTable, listed: pd.DataFrame, key: bytes, path: Path) -> dict[str, np.ndarray]:
    """Finds the vectors of each listed clip or study.

    Args:
        table: of the teacher.
        listed: the export's list of echo files: base.ECHO_COLUMNS, with normalised paths. A clip may be named as in
            this list, from the list's own folder, or from the export's.
        key: of the pseudonyms.
        path: of the table, for error messages.

    Returns:
        `source_id` of a clip, or `study_id` -> float16 (vector, dim), in the order of the frames.

    Raises:
        UserError: the export lists none of the names, a study's name is that of two patients, or two spellings of a
            name have a vector of the same frame.
    """
    pseudonyms = Pseudonyms(key)
    owner = _clips(table, listed, pseudonyms) if table.level == "clip" else _studies(table, listed, pseudonyms, path)
    if (owner == "").all():
        raise UserError(f"{path}: the export lists none of its {len(owner)} rows: name them as the export's list does")
    named = pd.DataFrame({"owner": owner, "frame": table.names["frame"]})
    named = named[named["owner"] != ""]
    repeated = named.duplicated().reindex(table.names.index, fill_value=False)
    _refuse_rows(path, 0, repeated.to_numpy(), "a vector of the same name for the second time")
    ordered = named.sort_values(["owner", "frame"])
    return {
        str(name): table.vectors[rows] for name, rows in ordered.groupby("owner", sort=True).groups.items()
    }  # fmt: skip


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    if path.suffix == ".parquet":
        with pq.ParquetFile(path) as file:
            wanted = [name for name in file.schema_arrow.names if _is_wanted(name)]
            yield from file.iter_batches(_ROWS_AT_ONCE, columns=wanted)
        return
    with arrow_csv.open_csv(path) as reader:
        wanted = [name for name in reader.schema.names if _is_wanted(name)]
    # Types are stated: 007 is a name, not a number, and a column may begin with whole numbers.
    types = {name: pa.float64() if _is_number_column(name) else pa.string() for name in wanted}
    options = arrow_csv.ConvertOptions(column_types=types, include_columns=wanted)
    with arrow_csv.open_csv(path, convert_options=options) as reader:
        yield from reader


def _is_wanted(name: str) -> bool:
    return name in _NAMES or _is_number_column(name)


def _is_number_column(name: str) -> bool:
    return name[:1] == "e" and name[1:].isdecimal()


def _numbers(batch: pa.RecordBatch, path: Path, first: int, dim: int) -> np.ndarray:
    """The numbers of a batch, float64 (n, dim); `dim` is that of the rows before, 0 for the first batch."""
    names = batch.schema.names
    columns = sorted((name for name in names if _is_number_column(name)), key=lambda name: int(name[1:]))
    if _EMBEDDING in names and not columns:
        rows = _lists(batch[_EMBEDDING], path)
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        width = dim or (int(lengths[0]) if len(lengths) else 0)
        if not width and len(lengths):
            raise UserError(f"{path}: the vector of row 1 holds no number")
        _refuse_rows(path, first, lengths != width, f"another number of values than the {width} of the first row")
        return np.stack(rows) if rows else np.empty((0, width))
    if columns != [f"e{index}" for index in range(len(columns))] or not columns or _EMBEDDING in names:
        raise UserError(f"{path}: needs the column '{_EMBEDDING}', a list of numbers, or e0, e1 ... without a gap")
    try:
        return np.stack([_floats(batch[name]) for name in columns], axis=1)
    except pa.ArrowInvalid as fault:
        raise UserError(f"{path}: a column of e0 to {columns[-1]} holds text that is no number") from fault


def _floats(column: pa.Array) -> np.ndarray:
    return pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False)


def _lists(column: pa.Array, path: Path) -> list[np.ndarray]:
    """Vectors of a column of lists, or of lists as JSON text. A vector that is absent is empty."""
    try:
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            column = pa.array([json.loads(text) if text else [] for text in column.to_pylist()], pa.list_(pa.float64()))
        if pa.types.is_fixed_size_list(column.type):
            column = column.cast(pa.list_(column.type.value_type))
        offsets, values = column.offsets.to_numpy(), _floats(column.values)
    except (AttributeError, ValueError, TypeError, pa.ArrowInvalid, pa.ArrowTypeError) as fault:
        raise UserError(f"{path}: '{_EMBEDDING}' is no list of numbers in every row") from fault
    return [values[start:end] for start, end in pairwise(offsets)]


def _unit(values: np.ndarray, path: Path, first: int) -> np.ndarray:
    """The vectors as float16 of unit length."""
    _refuse_rows(path, first, ~np.isfinite(values).all(axis=1), "a vector that is not finite")
    largest = np.abs(values).max(axis=1)
    _refuse_rows(path, first, largest == 0, "a vector of zeros, which has no direction")
    scaled = values / largest[:, None]  # squares of very large and very small numbers leave the range of a float
    length = np.linalg.norm(scaled, axis=1) * largest
    is_unit = np.abs(length - 1) <= _UNIT_TOLERANCE
    unit = np.where(is_unit[:, None], values, scaled / np.linalg.norm(scaled, axis=1)[:, None])
    return unit.astype(np.float16)


def _names(batch: pa.RecordBatch, path: Path, first: int) -> pd.DataFrame:
    """What each row of a batch names: `path`, or `study` and perhaps `patient`; and `frame`, 0 where none is stated."""
    columns = {}
    for name, spellings in (("path", _PATHS), ("study", _STUDIES), ("patient", _PATIENTS)):
        if present := [column for column in spellings if column in batch.schema.names]:
            if len(present) > 1:
                raise UserError(f"{path}: has the columns {' and '.join(present)}: leave one of them")
            columns[name] = _texts(batch[present[0]], path, first, present[0])
    if "path" not in columns and "study" not in columns:
        raise UserError(f"{path}: needs the column {', '.join((*_PATHS, *_STUDIES))}: which clip or study is a row of?")
    if "path" in columns:
        columns = {"path": columns["path"]}
    elif _SITE in batch.schema.names:
        if "patient" not in columns:
            raise UserError(f"{path}: has the column site, and needs patient_id: a site's patients are named by both")
        sites = _texts(batch[_SITE], path, first, _SITE).to_pylist()
        pairs = zip(sites, columns["patient"].to_pylist(), strict=True)
        columns["patient"] = pa.array([patient_of_site(*pair) for pair in pairs], pa.string())
    frame = np.zeros(batch.num_rows, np.int64)
    if _FRAME in batch.schema.names:
        try:
            frame = pc.cast(batch[_FRAME], pa.int64()).to_numpy(zero_copy_only=True)
        except pa.ArrowInvalid as fault:
            raise UserError(f"{path}: '{_FRAME}' is no whole number in every row") from fault
    return pd.DataFrame({name: pd.Series(pd.array(values, dtype="str")) for name, values in columns.items()}).assign(
        frame=frame
    )


def _texts(column: pa.Array, path: Path, first: int, name: str) -> pa.Array:
    if not (
        pa.types.is_integer(column.type) or pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    ):
        raise UserError(f"{path}: '{name}' is of type {column.type}: text or whole numbers name a clip or a study")
    texts = pc.utf8_trim_whitespace(pc.cast(column, pa.string()))
    _refuse_rows(path, first, pc.fill_null(pc.equal(texts, ""), True).to_numpy(zero_copy_only=False), f"no {name}")
    return texts


def _clips(table: EmbeddingTable, listed: pd.DataFrame, pseudonyms: Pseudonyms) -> pd.Series:
    """`source_id` of the clip that each row names; empty where the export lists none."""
    known = [path for path in listed["path"].unique() if path]
    folder = listed["row"].iloc[0].rpartition("#")[0].rpartition("/")[0] if len(listed) else ""
    spelled = {path.removeprefix(f"{folder}/"): path for path in known} | {path: path for path in known}
    source = {spelling: pseudonyms.source(ECHO, path) for spelling, path in spelled.items()}
    return table.names["path"].map(lambda text: source.get(posixpath.normpath(text), ""))


def _studies(table: EmbeddingTable, listed: pd.DataFrame, pseudonyms: Pseudonyms, path: Path) -> pd.Series:
    """`study_id` of the study that each row names; empty where the export lists none."""
    pairs = listed[["patient", "study"]].drop_duplicates()
    pairs = pairs[(pairs["patient"] != "") & (pairs["study"] != "")]
    names = table.names
    if "patient" in names:
        known = {pair: pseudonyms.study(*pair) for pair in zip(pairs["patient"], pairs["study"], strict=True)}
        named = zip(names["patient"], names["study"], strict=True)
        return pd.Series([known.get(pair, "") for pair in named], index=names.index)
    shared = pairs.loc[pairs["study"].duplicated(keep=False), "study"]
    if names["study"].isin(shared).any():
        raise UserError(f"{path}: two patients have a study of the same name: add the column patient_id or subject_id")
    by_study = {study: pseudonyms.study(patient, study) for patient, study in zip(*pairs.T.to_numpy(), strict=True)}
    return names["study"].map(lambda text: by_study.get(text, ""))


def _refuse_rows(path: Path, first: int, bad: np.ndarray, what: str) -> None:
    """Raises UserError for the first bad row, (n,) bool, of rows of which `first` came before."""
    if bad.any():
        raise UserError(f"{path}: row {first + int(bad.argmax()) + 1} (of {int(bad.sum())}) holds {what}")


def _cause(fault: Exception) -> str:
    """One line that quotes no row: Arrow's may end with the row's text."""
    if isinstance(fault, OSError) and fault.strerror:
        return fault.strerror
    return str(fault).splitlines()[0].partition(": ")[0] if str(fault) else type(fault).__name__
