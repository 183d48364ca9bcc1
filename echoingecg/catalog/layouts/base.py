"""What every layout returns: the export's lists of files, its reports, measurements and subgroups, as text."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa

from echoingecg.catalog.layouts.tables import ExportTable, Tables

ECG = "ecg"  # kinds of files
ECHO = "echo"

# Columns that a layout returns, all text. `row` names the row of the export's table for quarantine.
ECG_COLUMNS = ("row", "patient", "record", "time", "path", "unit", "sampling_frequency", "leads")
ECHO_COLUMNS = ("row", "patient", "study", "time", "path")
REPORT_COLUMNS = ("row", "patient", "method", "subject", "report", "time", "text")
SUBGROUP_COLUMNS = ("row", "patient", "record", "sex", "age", "site", "device", "rhythm")
MEASUREMENT_COLUMNS = ("patient", "study", "exam", "ecg", "exam_type", "time", "measurement", "value", "unit")
LINK_COLUMNS = ("patient", "exam", "study")

NO_DATE = "1970-01-01 00:00:00"  # of all rows of a data set without dates: each patient's events are then at 0 h


CLINICAL_LEADS = "I;II;III;aVR;aVL;aVF;V1;V2;V3;V4;V5;V6"  # stored order of arrays, as a column `leads` states it


def flags(mask: pd.Series) -> pd.Series:
    """Returns the text `1` where the mask is True, else `0`."""
    return mask.map({True: "1", False: "0"}).astype("str")


def patient_of_site(site: str, patient: str) -> str:
    """Names a patient by site and number, so that equal numbers of two sites are two patients.

    Returns:
        The patient's own number where no site is stated; empty where the number is.
    """
    return f"{len(site)}:{site}\x1f{patient}" if site and patient else patient


def patients_of_site(site: str, patients: pd.Series) -> pd.Series:
    """Names each patient by site and number: see `patient_of_site`."""
    return pd.Series(pd.array([patient_of_site(site, patient) for patient in patients], dtype="str"), patients.index)


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
        refused: name of a row whose file cannot be used whatever it holds, reason, detail; no file is opened.
    """

    ecgs: pd.DataFrame = field(default_factory=lambda: no_rows(ECG_COLUMNS))
    echoes: pd.DataFrame = field(default_factory=lambda: no_rows(ECHO_COLUMNS))
    malformed: tuple[str, ...] = ()
    refused: tuple[tuple[str, str, str], ...] = ()

    @property
    def by_kind(self) -> tuple[tuple[str, pd.DataFrame], tuple[str, pd.DataFrame]]:
        """Both lists, each with the kind of its files."""
        return (ECG, self.ecgs), (ECHO, self.echoes)


@dataclass(frozen=True)
class MeasurementBatch:
    """Some rows of an export's measurements.

    Attributes:
        table: name of the table, relative to the export.
        records: (n,) int64, number of each row in the table.
        columns: MEASUREMENT_COLUMNS, dictionary-encoded text, n values each.
        suffix: tells apart measurements that stand in one row of the table.
        source: whose rules hold for it, where exports of several layouts are read; None for the one that yields it.
    """

    table: str
    records: np.ndarray
    columns: pa.RecordBatch
    suffix: str = ""
    source: "MeasurementSource | None" = None


def row_name(table: str, suffix: str, record: int) -> str:
    """Returns the name of a row of measurements: see MeasurementBatch."""
    return f"{table}#{record}{suffix}"


def no_batches(malformed: list[str]) -> Iterator[MeasurementBatch]:
    """Yields nothing: for a layout without measurements."""
    return iter(())


@dataclass(frozen=True)
class MeasurementSource:
    """The measurements of an export, which may have tens of millions of rows.

    Attributes:
        batches: yields the rows; its list receives the names of rows that do not fit their table's header.
        links: LINK_COLUMNS, text: the studies whose exam is known. An exam may be that of two studies.
        with_words: whether a result may be words; otherwise it must be a number.
        with_letters: whether words need a letter; otherwise `35,5` and `> 55`, too, are words.
        with_gaps: whether a row without a result is left out and counted; otherwise it is refused.
        upper_ends: measurement that is the upper end of another one's range -> that one.
    """

    batches: Callable[[list[str]], Iterator[MeasurementBatch]] = no_batches
    links: pd.DataFrame = field(default_factory=lambda: no_rows(LINK_COLUMNS))
    with_words: bool = False
    with_letters: bool = False
    with_gaps: bool = False
    upper_ends: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ClinicalTables:
    """Reports, measurements and subgroups of an export.

    Attributes:
        reports: REPORT_COLUMNS.
        measurements: measurements, read when they are asked for.
        subgroups: SUBGROUP_COLUMNS; what the export states about an ECG: sex as F, M or X, age in years.
        malformed: names of rows that do not fit their table's header.
        unlinked: names of report rows whose study is not listed.
        refused: names of other rows that cannot be used, and why.
    """

    reports: pd.DataFrame = field(default_factory=lambda: no_rows(REPORT_COLUMNS))
    measurements: MeasurementSource = field(default_factory=MeasurementSource)
    subgroups: pd.DataFrame = field(default_factory=lambda: no_rows(SUBGROUP_COLUMNS))
    malformed: tuple[str, ...] = ()
    unlinked: tuple[str, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Layout:
    """How one kind of export is read.

    Attributes:
        name: the layout's name in the recipe.
        depth: 1 if tables may be in direct subfolders of the export, 0 if not; more: see `tables.find_tables`.
        tables: file names of all tables that the layout knows; each may end in `.gz`, too.
        lists: the `tables` that list files; an export without any of them does not have this layout.
        file_tables: reads the lists of files.
        clinical_tables: reads reports, measurements and subgroups.
        other_names: other file names of its tables.
        is_unit_open: whether the recipe may state another unit of the ECGs than the one that this layout states.
        other_layouts: names of layouts whose lists it also has; an export of this layout has none of those.
        separator: what parts the values of its tables.
        states_sites: returns whether the export names its patients by sites that it states.
    """

    name: str
    depth: int
    tables: tuple[str, ...]
    lists: tuple[str, ...]
    file_tables: Callable[[Tables], FileTables]
    clinical_tables: Callable[[Tables], ClinicalTables]
    other_names: Mapping[str, str] = field(default_factory=dict)
    other_layouts: tuple[str, ...] = ()
    is_unit_open: bool = False
    separator: str = ","
    states_sites: Callable[[Tables], bool] = lambda tables: False


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


def batches_with_columns(
    table: ExportTable,
    malformed: list[str],
    needed: tuple[str, ...],
    optional: tuple[str, ...],
    others: tuple[str, ...] = (),
    **renamed: str,
) -> Iterator[MeasurementBatch]:
    """Yields a table's measurements batch by batch.

    Args:
        table: holds one measurement in each row.
        malformed: receives the names of rows with too many or too few values.
        needed, optional: the table's columns; an absent optional one is empty.
        others: columns of the table to yield beside MEASUREMENT_COLUMNS.
        renamed: for a column of MEASUREMENT_COLUMNS, its name in the table where that differs.
    """
    skipped: list[int] = []
    for part in table.batches(needed, optional, skipped):
        arrays = [
            part.columns[name] if (name := renamed.get(column, column)) in part.columns.schema.names
            else _empty_texts(len(part.records))
            for column in (*MEASUREMENT_COLUMNS, *others)
        ]  # fmt: skip
        columns = pa.RecordBatch.from_arrays(arrays, [*MEASUREMENT_COLUMNS, *others])
        yield MeasurementBatch(table.name, part.records, columns)
    malformed += [table.row_name(record) for record in skipped]


def batch_of_frame(frame: pd.DataFrame, table: ExportTable, suffix: str = "") -> MeasurementBatch:
    """Returns a frame's measurements as one batch; a column of MEASUREMENT_COLUMNS that the frame lacks is empty.

    Args:
        frame: text; `row` as ExportTable.read names it.
        table: that the frame was read from.
        suffix: see MeasurementBatch.
    """
    records = frame["row"].str.split("#").str[-1].astype("int64").to_numpy()
    plain = with_columns(frame, MEASUREMENT_COLUMNS)
    arrays = [_coded(plain[column]) for column in MEASUREMENT_COLUMNS]
    return MeasurementBatch(table.name, records, pa.RecordBatch.from_arrays(arrays, list(MEASUREMENT_COLUMNS)), suffix)


def _coded(texts: pd.Series) -> pa.DictionaryArray:
    return pa.array(texts.to_numpy(dtype=object), pa.string()).dictionary_encode()


def _empty_texts(count: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([""]))
