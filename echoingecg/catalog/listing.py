"""The small form between a layout and the catalog: raw text, one frame a kind of row."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import pandas as pd

from echoingecg.catalog.layouts.base import Tables

# Columns, all text. `row` names the row of the export's table for quarantine.
ECG_COLUMNS: Final = ("row", "patient", "record", "time", "path", "unit", "sampling_frequency", "leads")
ECHO_COLUMNS: Final = ("row", "patient", "study", "time", "path")
REPORT_COLUMNS: Final = ("row", "patient", "method", "subject", "report", "time", "text")
SUBGROUP_COLUMNS: Final = ("row", "patient", "record", "sex", "age", "site", "device", "rhythm")
MEASUREMENT_COLUMNS: Final = ("row", "patient", "study", "identifier", "time", "measurement", "value", "unit")


def no_rows(columns: tuple[str, ...]) -> pd.DataFrame:
    """An empty frame of text columns."""
    return pd.DataFrame({column: pd.Series(dtype="str") for column in columns})


@dataclass(frozen=True)
class Files:
    """What the export lists as files.

    Attributes:
        ecgs: ECG_COLUMNS; `path` relative to the export.
        echoes: ECHO_COLUMNS; `path` relative to the export.
        malformed: names of rows that do not fit their table's header.
    """

    ecgs: pd.DataFrame = field(default_factory=lambda: no_rows(ECG_COLUMNS))
    echoes: pd.DataFrame = field(default_factory=lambda: no_rows(ECHO_COLUMNS))
    malformed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Words:
    """What the export says about them.

    Attributes:
        reports: REPORT_COLUMNS.
        measurements: MEASUREMENT_COLUMNS.
        subgroups: SUBGROUP_COLUMNS; what is stated of an ECG: sex as F, M or X, age in years.
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
        name: as in the recipe.
        depth: 1 when tables may stand in direct subfolders of the export.
        tables: file names it knows.
        lists: those of `tables` that list files: with none of them, the export is not of this layout.
        files: reads the lists of files.
        words: reads reports and measurements.
    """

    name: str
    depth: int
    tables: tuple[str, ...]
    lists: tuple[str, ...]
    files: Callable[[Tables], Files]
    words: Callable[[Tables], Words]


def with_columns(frame: pd.DataFrame, columns: tuple[str, ...], **renamed: str) -> pd.DataFrame:
    """The frame in a listing's columns: `renamed` maps them to the export's, absent ones are empty."""
    source = {column: renamed.get(column, column) for column in columns}
    return pd.DataFrame(
        {
            column: frame[name] if name in frame else pd.Series("", index=frame.index, dtype="str")
            for column, name in source.items()
        }
    ).reset_index(drop=True)
