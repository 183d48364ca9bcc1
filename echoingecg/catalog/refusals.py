"""Collects what is refused, for the quarantine table without names and for the private index with them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa

from data_contracts import quarantine, tables
from echoingecg.catalog.pseudonyms import Pseudonyms

REFUSED_ROWS = tables.TableContract(
    "refused_rows",
    (
        tables.column("source_id", pa.string(), "keyed pseudonym of the row, as in the quarantine table"),
        tables.column("path", pa.string(), "table, relative to the export, and number of the record in it"),
    ),
    unique=("source_id",),
)


_ROWS_AT_ONCE = 100_000


@dataclass(frozen=True)
class _Records:
    """Rows of one table that are refused for one reason."""

    table: str
    suffix: str
    records: np.ndarray
    refusal: tuple[str, str]

    def names(self) -> Iterator[list[str]]:
        for start in range(0, len(self.records), _ROWS_AT_ONCE):
            part = self.records[start : start + _ROWS_AT_ONCE]
            yield [f"{self.table}#{record}{self.suffix}" for record in part.tolist()]


@dataclass
class Refusals:
    """Collects refused files and rows; each source appears once, with the first reason.

    Attributes:
        pseudonyms: makes the pseudonyms of rows.
    """

    pseudonyms: Pseudonyms
    _first_refusal: dict[str, tuple[str, str]] = field(default_factory=dict)
    _row_names: dict[str, str] = field(default_factory=dict)
    _refusals: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)  # one object for equal refusals
    _records: list[_Records] = field(default_factory=list)

    def add_sources(self, source_ids: Iterable[str], reason: str, detail: str) -> None:
        """Refuses files by their `source_id`."""
        refusal = self._refusals.setdefault((reason, detail), (reason, detail))
        for source_id in source_ids:
            self._first_refusal.setdefault(source_id, refusal)

    def add_rows(self, rows: Iterable[str], detail: str, reason: str = "bad_row") -> None:
        """Refuses rows by their `row` name."""
        names = {self.pseudonyms.source(row): row for row in rows}
        self._row_names |= names
        self.add_sources(names, reason, detail)

    def drop(self, frame: pd.DataFrame, bad: pd.Series, detail: str, reason: str = "bad_row") -> pd.DataFrame:
        """Returns the frame without its bad rows, and refuses these."""
        if not bad.any():
            return frame
        self.add_rows(frame.loc[bad, "row"], detail, reason)
        return frame[~bad]

    def add_records(self, table: str, suffix: str, records: np.ndarray, detail: str) -> None:
        """Refuses rows that nothing else refuses, by table, record and suffix. Until the end they take 4 B each."""
        if len(records):
            self._records.append(_Records(table, suffix, records.astype(np.uint32), ("bad_row", detail)))

    def tables(self) -> tuple[pa.Table, pa.Table]:
        """Builds QUARANTINE and REFUSED_ROWS, which says what its pseudonyms of rows stand for; sorted by source."""
        refused, rows = quarantine.QUARANTINE, REFUSED_ROWS
        source_of = list(self._first_refusal)
        reasons, details = ([refusal[index] for refusal in self._first_refusal.values()] for index in (0, 1))
        parts = [_columns(refused, source_of, reasons, details)]
        named = [_columns(rows, list(self._row_names), list(self._row_names.values()))]
        for records in self._records:
            for names in records.names():
                source_ids = pa.array([self.pseudonyms.source(name) for name in names], pa.string())
                reason, detail = (pa.repeat(text, len(names)) for text in records.refusal)
                parts.append(_columns(refused, source_ids, reason, detail))
                named.append(_columns(rows, source_ids, names))
        return refused.check(_by_source(parts)), rows.check(_by_source(named))


def _columns(contract: tables.TableContract, *columns: object) -> pa.Table:
    return pa.Table.from_arrays([pa.array(column, pa.string()) for column in columns], schema=contract.schema)


def _by_source(parts: list[pa.Table]) -> pa.Table:
    return pa.concat_tables(parts).sort_by("source_id").combine_chunks()
