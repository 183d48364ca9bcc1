"""The files that an export lists, by column: an export has a million of them, and objects need a kilobyte for each."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from data_contracts.tables import TableContract, column
from echoingecg.catalog.layouts.base import ECG, ECHO
from echoingecg.catalog.pseudonyms import Pseudonyms, labelled

_FILES_AT_ONCE = 20_000  # as objects


def _checks(check: Any) -> Mapping[str, Any]:
    return {
        "kind": check.isin((ECG, ECHO)),
        "content_hash": check.str_matches(r"^([0-9a-f]{64})?$"),
        "bytes": check.ge(0),
    }


SOURCES = TableContract(
    "sources",
    (
        column("source_id", pa.string(), "keyed pseudonym of kind and path"),
        column("path", pa.string(), "relative to the export, as listed; of a WFDB record without its ending"),
        column("kind", pa.string(), "ecg or echo"),
        column("bytes", pa.int64(), "size of all its files together; 0 when one is missing", "B"),
        column("mtime_ns", pa.int64(), "latest change of its files, since 1970", "ns"),
        column("content_hash", pa.string(), "SHA-256 of its files' bytes, one after another; empty if not read"),
        column("parts", pa.list_(pa.string()), "names of its files, beside each other in one folder"),
    ),
    _checks,
    unique=("source_id",),
)

_TEXT_CODES = pa.dictionary(pa.int32(), pa.string())
_FILES = pa.schema([*SOURCES.columns, pa.field("reason", _TEXT_CODES), pa.field("detail", _TEXT_CODES)])
_REFUSAL = ["reason", "detail"]


@dataclass(frozen=True, slots=True)
class ScannedFile:
    """One listed file, or one WFDB record. `refusal` holds (reason, detail) if it cannot be used."""

    source_id: str
    content_hash: str = ""
    bytes: int = 0
    mtime_ns: int = 0
    parts: tuple[str, ...] = ()
    refusal: tuple[str, str] | None = None

    @property
    def state(self) -> tuple[int, int]:
        """Size in bytes and time of change in ns."""
        return self.bytes, self.mtime_ns


class ScannedFiles:
    """Collects files in the order of their kinds and paths; iterates over kind, path and ScannedFile."""

    def __init__(self) -> None:
        self._tables: list[pa.Table] = []
        self._latest: list[tuple[str, str, ScannedFile]] = []

    def __iter__(self) -> Iterator[tuple[str, str, ScannedFile]]:
        for batch in self._table().to_batches(_FILES_AT_ONCE):
            columns = (column.to_pylist() for column in batch.columns)
            for source_id, path, kind, size, mtime_ns, content_hash, parts, reason, detail in zip(
                *columns, strict=True
            ):
                refusal = None if reason is None else (reason, detail)
                yield kind, path, ScannedFile(source_id, content_hash, size, mtime_ns, tuple(parts), refusal)

    @classmethod
    def joined(cls, parts: Sequence[tuple[str, Self]]) -> Self:
        """Returns the files of several exports; each path begins with its export's label."""
        whole = cls()
        for label, files in parts:
            table = files._table()
            prefix = labelled(label, "")
            paths = pc.binary_join_element_wise(prefix, table["path"], "") if prefix else table["path"]
            place = table.schema.get_field_index("path")
            whole._tables.append(table.set_column(place, _FILES.field("path"), paths))
        return whole

    def add(self, kind: str, path: str, file: ScannedFile) -> None:
        """Adds a file."""
        self._latest.append((kind, path, file))
        if len(self._latest) == _FILES_AT_ONCE:
            self._pack()

    def sources(self) -> pa.Table:
        """Returns the SOURCES table, without files that are outside the export."""
        table = self._table()
        reason = table["reason"].cast(pa.string())
        inside = pc.fill_null(pc.not_equal(reason, "outside_export"), True)
        table = table.select(SOURCES.schema.names)
        return SOURCES.check(table if pc.all(inside).as_py() else table.filter(inside))

    def of_paths(self, kind: str, paths: pd.Series) -> pd.DataFrame:
        """Returns `source_id`, `content_hash`, and `reason` and `detail`, NaN if there is none, with the paths' index.

        Args:
            kind: of the files.
            paths: of files that were added.
        """
        table = self._table()
        table = table.filter(pc.equal(table["kind"], kind))
        position = pc.index_in(pa.array(paths).cast(pa.string()), table["path"])
        columns = table.select(["source_id", "content_hash", *_REFUSAL]).take(position)
        texts = {name: pd.array(columns[name].cast(pa.string()), dtype="str") for name in ("source_id", "content_hash")}
        codes = {name: columns[name].to_pandas() for name in _REFUSAL}
        return pd.DataFrame(texts | codes).set_axis(paths.index)

    def _table(self) -> pa.Table:
        self._pack()
        if len(self._tables) != 1:
            self._tables = [pa.concat_tables([_FILES.empty_table(), *self._tables]).unify_dictionaries()]
        return self._tables[0]

    def _pack(self) -> None:
        if not self._latest:
            return
        kinds, paths, files = zip(*self._latest, strict=True)
        refusals = [file.refusal or (None, None) for file in files]
        columns = {
            "source_id": [file.source_id for file in files],
            "path": paths,
            "kind": kinds,
            "bytes": [file.bytes for file in files],
            "mtime_ns": [file.mtime_ns for file in files],
            "content_hash": [file.content_hash for file in files],
            "parts": [file.parts for file in files],
            "reason": [reason for reason, _ in refusals],
            "detail": [detail for _, detail in refusals],
        }
        arrays = [_array(columns[field.name], field.type) for field in _FILES]
        self._tables.append(pa.Table.from_arrays(arrays, schema=_FILES))
        self._latest = []


def _array(values: Any, kind: pa.DataType) -> pa.Array:
    return pa.array(values, pa.string()).dictionary_encode() if kind == _TEXT_CODES else pa.array(values, kind)


def with_earlier(
    previous: pa.Table | None, kind: str, paths: pa.Array, pseudonyms: Pseudonyms
) -> Iterator[tuple[str, ScannedFile | None]]:
    """Yields each path with its file as an earlier scan read it, None where that did not read it.

    Args:
        previous: `sources` of the earlier scan.
        kind: of the files.
        paths: pa.string().
        pseudonyms: of the workspace; those of the earlier scan may have had another key.
    """
    if previous is None or not set(SOURCES.schema.names) <= set(previous.schema.names):
        yield from ((path, None) for part in _parts(paths) for path in part.to_pylist())
        return
    previous = previous.select(SOURCES.schema.names)
    previous = previous.filter(pc.and_(pc.equal(previous["kind"], kind), pc.not_equal(previous["content_hash"], "")))
    first = previous.slice(0, 1).to_pylist()
    has_same_key = all(pseudonyms.source(kind, row["path"]) == row["source_id"] for row in first)
    for part in _parts(paths):
        rows = previous.take(pc.index_in(part, previous["path"])).drop(["path", "kind"])
        columns = [column.to_pylist() for column in rows.columns]
        for path, source_id, size, mtime_ns, content_hash, parts in zip(part.to_pylist(), *columns, strict=True):
            if source_id is None:
                yield path, None
                continue
            file = ScannedFile(source_id, content_hash, size, mtime_ns, tuple(parts))
            yield path, file if has_same_key else replace(file, source_id=pseudonyms.source(kind, path))


def _parts(paths: pa.Array) -> Iterator[pa.Array]:
    return (paths.slice(start, _FILES_AT_ONCE) for start in range(0, len(paths), _FILES_AT_ONCE))
