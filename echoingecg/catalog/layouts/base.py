"""What every layout uses: reading an export's CSV tables as text, and the frames that a layout returns."""

import csv
import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from echoingecg.common import ExportError

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class ExportTable:
    """One CSV file in UTF-8, with or without byte order mark, with a header line.

    Attributes:
        path: path of the file.
        name: path relative to the export, with `/`.
        sha256: hash of the bytes that `find_tables` saw.
    """

    path: Path
    name: str
    sha256: str

    @property
    def folder(self) -> str:
        """The table's folder, relative to the export; empty for the export itself."""
        return self.name.rpartition("/")[0]

    def read(self, needed: Sequence[str], optional: Sequence[str] = ()) -> tuple[pd.DataFrame, list[str]]:
        """Reads columns as stripped text; an absent optional column is empty.

        Returns:
            A frame with these columns and `row`, a name of each row for quarantine; and the names of rows with
            too many or too few values.

        Raises:
            ExportError: a needed column is missing, the file is not UTF-8, or it changed since `find_tables`.
        """
        header = _header(self.path, self.name)
        for column in needed:
            if column not in header:
                # Never quote the columns that are present: without a header line they are a patient's data.
                raise ExportError(
                    f"{self.name}: column '{column}' is missing among its {len(header)}: is the first line a header?"
                )
        wanted = [*needed, *(column for column in optional if column in header)]
        malformed: list[str] = []

        def refuse(row: arrow_csv.InvalidRow) -> str:
            malformed.append(f"{self.name}#malformed {len(malformed)}")
            return "skip"

        try:
            # Read in blocks: neither the whole file nor its other columns are ever in memory.
            table = arrow_csv.read_csv(
                pa.OSFile(str(self.path)),
                read_options=arrow_csv.ReadOptions(use_threads=False),
                parse_options=arrow_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=refuse),
                convert_options=arrow_csv.ConvertOptions(
                    include_columns=wanted,
                    column_types=dict.fromkeys(wanted, pa.string()),
                    strings_can_be_null=False,
                ),
            )
        except OSError as fault:
            raise ExportError(f"{self.name}: cannot be read: {fault.strerror}") from fault
        except pa.ArrowInvalid as fault:
            raise ExportError(f"{self.name}: not a UTF-8 CSV table: {str(fault).splitlines()[0]}") from fault
        if _sha256(self.path, self.name) != self.sha256:
            raise ExportError(f"{self.name} changed while it was read: run again")
        rows = pc.binary_join_element_wise(f"{self.name}#", pc.cast(pa.array(range(len(table))), pa.string()), "")
        stripped = {column: pc.utf8_trim_whitespace(table[column]) for column in wanted}
        absent = {column: pa.repeat("", len(table)) for column in optional if column not in header}
        frame = pd.DataFrame(
            {
                name: pd.Series(pd.array(values, dtype="str"))
                for name, values in {**stripped, **absent, "row": rows}.items()
            }
        )
        return frame, malformed

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


def find_tables(export: Path, names: Sequence[str], depth: int) -> Tables:
    """Returns the named CSV tables that an export holds, by file name.

    Args:
        export: root folder.
        names: file names.
        depth: 0 searches the root only, 1 also its direct subfolders.

    Raises:
        ExportError: a table exists twice, lies outside the export, or cannot be read.
    """
    folders = [export]
    if depth:
        folders += sorted(folder for folder in export.iterdir() if folder.is_dir())
    tables: dict[str, ExportTable] = {}
    for name in names:
        paths = [folder / name for folder in folders if (folder / name).is_file()]
        if len(paths) > 1:
            raise ExportError(f"{name} is there {len(paths)} times: leave one in the export or a direct subfolder")
        for path in paths:
            if not path.resolve().is_relative_to(export.resolve()):
                raise ExportError(f"{name} is a link out of the export: copy it into the export")
            tables[name] = ExportTable(path, path.relative_to(export).as_posix(), _sha256(path, name))
    return tables


def _sha256(path: Path, name: str) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as fault:
        raise ExportError(f"{name}: cannot be read: {fault.strerror}") from fault


def _header(path: Path, name: str) -> list[str]:
    """Reads the column names. Raises ExportError if there is no first line, or if a name occurs twice."""
    try:
        with path.open("rb") as file:
            line = file.readline().removeprefix(_BOM)
    except OSError as fault:
        raise ExportError(f"{name}: cannot be read: {fault.strerror}") from fault
    try:
        header = next(csv.reader(io.StringIO(line.decode("utf-8"))), [])
    except UnicodeDecodeError as fault:
        raise ExportError(f"{name}: not a UTF-8 CSV table") from fault
    if not header:
        raise ExportError(f"{name}: empty, not even a header line")
    if len(set(header)) < len(header):
        index = next(number for number, column in enumerate(header) if column in header[:number])
        raise ExportError(f"{name}: columns {header.index(header[index]) + 1} and {index + 1} have the same name")
    return header


# Columns that a layout returns, all text. `row` names the row of the export's table for quarantine.
ECG_COLUMNS = ("row", "patient", "record", "time", "path", "unit", "sampling_frequency", "leads")
ECHO_COLUMNS = ("row", "patient", "study", "time", "path")
REPORT_COLUMNS = ("row", "patient", "method", "subject", "report", "time", "text")
SUBGROUP_COLUMNS = ("row", "patient", "record", "sex", "age", "site", "device", "rhythm")
MEASUREMENT_COLUMNS = ("row", "patient", "study", "identifier", "time", "measurement", "value", "unit")


def no_rows(columns: tuple[str, ...]) -> pd.DataFrame:
    """Returns an empty frame of text columns."""
    return pd.DataFrame({column: pd.Series(dtype="str") for column in columns})


@dataclass(frozen=True)
class FileTables:
    """The files that an export lists.

    Attributes:
        ecgs: ECG_COLUMNS; `path` relative to the export.
        echoes: ECHO_COLUMNS; `path` relative to the export.
        malformed: names of rows that do not fit their table's header.
    """

    ecgs: pd.DataFrame = field(default_factory=lambda: no_rows(ECG_COLUMNS))
    echoes: pd.DataFrame = field(default_factory=lambda: no_rows(ECHO_COLUMNS))
    malformed: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClinicalTables:
    """Reports, measurements and subgroups of an export.

    Attributes:
        reports: REPORT_COLUMNS.
        measurements: MEASUREMENT_COLUMNS.
        subgroups: SUBGROUP_COLUMNS; what the export states about an ECG: sex as F, M or X, age in years.
        malformed: names of rows that do not fit their table's header.
        unlinked: names of report rows whose study is not listed.
    """

    reports: pd.DataFrame = field(default_factory=lambda: no_rows(REPORT_COLUMNS))
    measurements: pd.DataFrame = field(default_factory=lambda: no_rows(MEASUREMENT_COLUMNS))
    subgroups: pd.DataFrame = field(default_factory=lambda: no_rows(SUBGROUP_COLUMNS))
    malformed: tuple[str, ...] = ()
    unlinked: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """How one kind of export is read.

    Attributes:
        name: the layout's name in the recipe.
        depth: 1 if tables may be in direct subfolders of the export, else 0.
        tables: file names of all tables that the layout knows.
        lists: the `tables` that list files; an export without any of them does not have this layout.
        file_tables: reads the lists of files.
        clinical_tables: reads reports, measurements and subgroups.
    """

    name: str
    depth: int
    tables: tuple[str, ...]
    lists: tuple[str, ...]
    file_tables: Callable[[Tables], FileTables]
    clinical_tables: Callable[[Tables], ClinicalTables]


def with_columns(frame: pd.DataFrame, columns: tuple[str, ...], **renamed: str) -> pd.DataFrame:
    """Returns the frame with the given columns.

    Args:
        frame: columns of the export.
        columns: columns to return; a column that the frame lacks is empty.
        renamed: for a column, its name in `frame` where that differs.
    """
    source = {column: renamed.get(column, column) for column in columns}
    return pd.DataFrame(
        {
            column: frame[name] if name in frame else pd.Series("", index=frame.index, dtype="str")
            for column, name in source.items()
        }
    ).reset_index(drop=True)
