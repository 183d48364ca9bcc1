"""Finds and reads the CSV tables of an export, plain or compressed with gzip, whole or batch by batch; and their times.

A row is named `table.csv#12`: the number of the record in the file. The header is record 1, a value with line breaks
does not end its record, and blank lines are not counted.

Of dates and times one form is read: local date and time of day, year first, as in ISO 8601: `2180-07-23 08:44:00` or
with `T`. Refused are a date alone, an offset from UTC, and other orders of day and month (03/04/2024 may be March or
April): each would need a guess.
"""

import csv
import gzip
import hashlib
import io
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from echoingecg.catalog.layouts.quoting import StrictCsv
from echoingecg.common import ExportError

_BOM = b"\xef\xbb\xbf"
_GZIP = ".gz"
_BLOCK_BYTES = 8 << 20  # a batch; a record must fit into one
_HEADER_RECORDS = 1
_MOST_HEADER_BYTES = 1 << 20
_FREE_BYTES, _MOST_EXPANSION = 1 << 28, 200  # of a compressed table once unpacked; tables of MIMIC-IV grow to 12 times
_LINE_END = re.compile(rb"[\r\n]")
_FOLDERS_BELOW = 5  # HOST/files/mimiciv/3.1/hosp, as a recursive download leaves them
# Below the direct subfolders only these are entered: a folder of files may hold a hundred thousand others.
_ENTERED = re.compile(r"mimic[\w.-]*|echonext|\d+(\.\d+)+|hosp|files", re.IGNORECASE)
_CODES = pa.dictionary(pa.int32(), pa.string())

FileState = tuple[int, int, int]  # size, time of change, inode


@dataclass(frozen=True)
class TableBatch:
    """Some rows of a table, as text without surrounding blanks.

    Attributes:
        records: (n,) int64, number of each row in the file.
        columns: text of each column, n values.
    """

    records: np.ndarray
    columns: pa.RecordBatch


class _Bounded:
    """A stream that gives no more than `left` bytes. Reading on raises pa.ArrowInvalid."""

    def __init__(self, stream: pa.NativeFile, left: int) -> None:
        self._stream, self._left = stream, left

    def read(self, size: int) -> bytes:
        part: bytes = self._stream.read(size)
        self._left -= len(part)
        if self._left < 0:
            raise pa.ArrowInvalid(f"over {_MOST_EXPANSION} times as large once unpacked: ")
        return part


@dataclass(frozen=True)
class ExportTable:
    """One CSV file in UTF-8, with or without byte order mark, with a header line; `.gz` if compressed.

    Attributes:
        path: path of the file.
        name: path relative to the export, with `/`.
        sha256: hash of the bytes that `find_tables` saw.
        state: size, time and inode of the file when it was hashed.
        separator: parts the values of a row.
    """

    path: Path
    name: str
    sha256: str
    state: FileState = field(compare=False)
    separator: str = ","

    @property
    def folder(self) -> str:
        """The table's folder, relative to the export; empty for the export itself."""
        return self.name.rpartition("/")[0]

    def has_column(self, name: str) -> bool:
        """Returns whether the header names a column. Raises ExportError if there is no header."""
        return name in self._header()

    def _header(self) -> list[str]:
        return _header(self.path, self.name, self.separator)

    def row_name(self, record: int) -> str:
        """Returns the name of a row, by which an operator finds it."""
        return f"{self.name}#{record}"

    def read(self, needed: Sequence[str], optional: Sequence[str] = ()) -> tuple[pd.DataFrame, list[str]]:
        """Reads columns as stripped text; an absent optional column is empty.

        Returns:
            A frame with these columns and `row`, the name of each row; and the names of rows with too many or too few
            values, with a lone quotation mark, or that are not UTF-8.

        Raises:
            ExportError: a needed column is missing, the file is not UTF-8, or it changed since `find_tables`.
        """
        header = self._header()
        wanted = self._wanted(header, needed, optional)
        malformed: list[int] = []
        parts = list(self._stream(len(header), wanted, pa.string(), malformed))
        records = np.concatenate([np.zeros(0, np.int64), *(part.records for part in parts)])
        schema = pa.schema([(name, pa.string()) for name in wanted])
        table = pa.Table.from_batches([part.columns for part in parts], schema)
        rows = pc.binary_join_element_wise(f"{self.name}#", pc.cast(pa.array(records), pa.string()), "")
        absent = {column: pa.repeat("", len(table)) for column in optional if column not in header}
        columns = {**{column: table[column] for column in wanted}, **absent, "row": rows}
        frame = pd.DataFrame({name: pd.Series(pd.array(values, dtype="str")) for name, values in columns.items()})
        return frame, [self.row_name(record) for record in malformed]

    def batches(self, needed: Sequence[str], optional: Sequence[str], malformed: list[int]) -> Iterator[TableBatch]:
        """Yields the rows in the file's order; columns are dictionary-encoded, and an absent optional one is empty.

        A batch is at most 8 MiB of the file: neither the whole file nor its other columns are ever in memory.

        Args:
            needed, optional: columns.
            malformed: receives the records with too many or too few values.

        Raises:
            ExportError: as `read`.
        """
        header = self._header()
        wanted = self._wanted(header, needed, optional)
        absent = [column for column in optional if column not in header]
        for part in self._stream(len(header), wanted, _CODES, malformed):
            empty = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(part.records), np.int32)), pa.array([""]))
            arrays = [*part.columns.columns, *([empty] * len(absent))]
            yield TableBatch(part.records, pa.RecordBatch.from_arrays(arrays, [*wanted, *absent]))

    def _wanted(self, header: list[str], needed: Sequence[str], optional: Sequence[str]) -> list[str]:
        for column in needed:
            if column not in header:
                # Never quote the columns that are present: without a header line they are a patient's data.
                raise ExportError(
                    f"{self.name}: column '{column}' is missing among its {len(header)}: is the first line a header?"
                )
        return [*needed, *(column for column in optional if column in header)]

    def _stream(self, width: int, columns: list[str], kind: pa.DataType, malformed: list[int]) -> Iterator[TableBatch]:
        """Yields batches of stripped text, of type string or dictionary, of a table of `width` columns."""

        def refuse(row: arrow_csv.InvalidRow) -> str:
            malformed.append(row.number)
            return "skip"

        done = 0
        try:
            with pa.input_stream(str(self.path), compression="gzip" if self.path.suffix == _GZIP else None) as stream:
                reader = arrow_csv.open_csv(
                    pa.PythonFile(StrictCsv(self._bounded(stream), width, _BLOCK_BYTES, self.separator), mode="r"),
                    read_options=arrow_csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
                    parse_options=arrow_csv.ParseOptions(
                        delimiter=self.separator, newlines_in_values=True, invalid_row_handler=refuse
                    ),
                    convert_options=arrow_csv.ConvertOptions(
                        include_columns=columns,
                        column_types=dict.fromkeys(columns, kind),
                        strings_can_be_null=False,
                    ),
                )
                for batch in reader:
                    records = _record_numbers(done, batch.num_rows, malformed)
                    done += batch.num_rows
                    yield TableBatch(
                        records, pa.RecordBatch.from_arrays([_stripped(column) for column in batch.columns], columns)
                    )
        except OSError as fault:
            raise ExportError(f"{self.name}: cannot be read: {_cause(fault)}") from fault
        except pa.ArrowInvalid as fault:
            raise ExportError(f"{self.name}: not a UTF-8 CSV table: {_cause(fault)}") from fault
        if _state(self.path) != self.state and _sha256(self.path, self.name) != self.sha256:
            raise ExportError(f"{self.name} changed while it was read: run again")

    def _bounded(self, stream: pa.NativeFile) -> "_Bounded":
        return _Bounded(stream, max(_FREE_BYTES, _MOST_EXPANSION * self.state[0]))

    def paths_from_export(self, frame: pd.DataFrame, column: str) -> pd.DataFrame:
        """Makes a column's paths relative to the export. In the table they are relative to the table's folder.

        Absolute paths and empty paths stay as they are; both are refused later.
        """
        if self.folder:
            paths = pa.array(frame[column])  # needs a fifth of the memory that pandas would need
            relative = pc.and_(pc.not_equal(paths, ""), pc.invert(pc.starts_with(paths, "/")))
            joined = pc.if_else(
                relative,
                pc.binary_join_element_wise(pa.scalar(self.folder, paths.type), paths, pa.scalar("/", paths.type)),
                paths,
            )
            frame[column] = pd.array(joined, dtype="str")
        return frame


Tables = Mapping[str, ExportTable]


def find_tables(
    export: Path,
    names: Sequence[str],
    depth: int,
    other_names: Mapping[str, str] | None = None,
    links: bool = False,
    separator: str = ",",
) -> Tables:
    """Returns the named CSV tables that an export holds, by name. Each may also be there as `.gz`.

    Args:
        export: root folder.
        names: names of tables.
        depth: 0 searches the root only, 1 also its direct subfolders, more also the folders of a recursive download
            below them, such as `mimic-iv-ecg/1.0`.
        other_names: another spelling of a table -> its name.
        links: whether a table may be a link out of the export.
        separator: parts the values of a row.

    Raises:
        ExportError: a table exists twice, lies outside the export, or cannot be read.
    """
    spellings = {
        name: [name, *(other for other, same in (other_names or {}).items() if same == name)] for name in names
    }
    folders = list(_folders(export, min(depth, _FOLDERS_BELOW)))
    tables: dict[str, ExportTable] = {}
    for name in names:
        files = [file for spelling in spellings[name] for file in (spelling, spelling + _GZIP)]
        paths = [folder / file for folder in folders for file in files if (folder / file).is_file()]
        if len(paths) > 1:
            places = " and ".join(path.relative_to(export).as_posix() for path in paths[:3])
            raise ExportError(f"{name} is there {len(paths)} times: {places}: leave one of them in the export")
        for path in paths:
            if not links and not path.resolve().is_relative_to(export.resolve()):
                raise ExportError(
                    f"{name} is a link out of the export: copy it into the export, or set catalog.allow_links: true"
                )
            state = _state(path)
            shown = path.relative_to(export).as_posix()
            tables[name] = ExportTable(path, shown, _sha256(path, name), state, separator)
    return tables


def _folders(folder: Path, depth: int, level: int = 0) -> Iterator[Path]:
    """Yields a folder and those below it that may hold tables, by name."""
    yield folder
    if level >= depth:
        return
    try:
        below = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    except OSError:
        return  # a folder that cannot be listed holds no table that could be read
    for name in below:
        if level == 0 or _ENTERED.fullmatch(name):
            yield from _folders(folder / name, depth, level + 1)


def _record_numbers(first: int, count: int, malformed: list[int]) -> np.ndarray:
    """Returns the numbers in the file of `count` good rows, of which `first` came before: (count,) int64."""
    good = np.arange(first, first + count, dtype=np.int64)
    skipped = np.array(malformed, np.int64)
    good_before = skipped - np.arange(len(skipped)) - 1 - _HEADER_RECORDS  # good rows before each malformed one
    return good + 1 + _HEADER_RECORDS + np.searchsorted(good_before, good, side="right")


def _stripped(values: pa.Array) -> pa.Array:
    if isinstance(values, pa.DictionaryArray):
        return pa.DictionaryArray.from_arrays(values.indices, pc.utf8_trim_whitespace(values.dictionary))
    return pc.utf8_trim_whitespace(values)


def _state(path: Path) -> FileState:
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return status.st_size, status.st_mtime_ns, status.st_ino


def _sha256(path: Path, name: str) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as fault:
        raise ExportError(f"{name}: cannot be read: {_cause(fault)}") from fault


def _cause(fault: Exception) -> str:
    """Returns one line that quotes no row: Arrow's may end with the row's text."""
    if isinstance(fault, OSError) and fault.strerror:
        return fault.strerror
    return str(fault).splitlines()[0].partition(": ")[0] if str(fault) else type(fault).__name__


def _header(path: Path, name: str, separator: str) -> list[str]:
    """Reads the column names. Raises ExportError if there is no first line, or if a name occurs twice."""
    try:
        with gzip.open(path) if path.suffix == _GZIP else path.open("rb") as file:
            line = _LINE_END.split(file.read(_MOST_HEADER_BYTES).removeprefix(_BOM), maxsplit=1)[0]
    except (OSError, EOFError, zlib.error) as fault:
        raise ExportError(f"{name}: cannot be read: {_cause(fault)}") from fault
    try:
        header = next(csv.reader(io.StringIO(line.decode("utf-8")), delimiter=separator), [])
    except (UnicodeDecodeError, csv.Error) as fault:
        raise ExportError(f"{name}: not a UTF-8 CSV table") from fault
    if not header:
        raise ExportError(f"{name}: empty, not even a header line")
    if len(set(header)) < len(header):
        index = next(number for number, column in enumerate(header) if column in header[:number])
        raise ExportError(f"{name}: columns {header.index(header[index]) + 1} and {index + 1} have the same name")
    return header


# De-identified dates lie in the future; 0001, 1753 and 9999 are markers of software for "unknown".
_YEARS = (1800, 2499)
TIME_RULE = (
    f"no date and time of the form 2180-07-23 08:44:00, year {_YEARS[0]} to {_YEARS[1]}; "
    "an offset from UTC, a bare date and another order of day and month are refused, since reading them needs a guess"
)
_TWO = "[0-9]{2}"
_TIME = rf"([0-9]{{4}})-{_TWO}-{_TWO}[ T]{_TWO}:{_TWO}(?::{_TWO}(?:\.[0-9]{{1,6}})?)?"
_MICROSECONDS = 1e6


def seconds(times: pd.Series) -> pd.Series:
    """Converts text such as `2180-07-23 08:44:00` to float64 seconds since 1970; other text becomes NaN."""
    year = pd.to_numeric(times.str.extract(rf"\A{_TIME}\Z", expand=False)).astype("float64")
    plain = times.where(year.between(*_YEARS))
    parsed = pd.to_datetime(plain, errors="coerce", format="ISO8601").astype("datetime64[us]")
    return (parsed.astype("int64") / _MICROSECONDS).where(parsed.notna(), np.nan).astype("float64")


def first_events(frames: list[pd.DataFrame], other: pd.Series | None = None) -> pd.Series:
    """Returns the earliest `seconds` of each `patient` over all frames, and over `other` earliest ones by patient."""
    events = [frame[["patient", "seconds"]] for frame in frames]
    if other is not None:
        events.append(pd.DataFrame({"patient": other.index.astype("str"), "seconds": other.to_numpy()}))
    return pd.concat(events, ignore_index=True).groupby("patient")["seconds"].min()


def hours_since(seconds_: pd.Series, first: pd.Series) -> np.ndarray:
    """Returns the hours from each row's `first` to its `seconds_`: float64, whole multiples of 1/3600 h."""
    return np.round((seconds_ - first).to_numpy(dtype=np.float64)) / 3600
