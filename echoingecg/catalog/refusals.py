"""Collects what is refused, for the quarantine table without names and for the private index with them.

An export of a million missing files or rows must not take a gigabyte: refusals are kept by column, a pseudonym as its
64 bits and a reason as a number.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa

from data_contracts import quarantine, tables
from echoingecg.catalog.pseudonyms import Pseudonyms, source_ids, source_numbers

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
    refusal: int

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
    _refusals: dict[tuple[str, str], int] = field(default_factory=dict)  # reason and detail -> number
    _sources: list[tuple[np.ndarray, int]] = field(default_factory=list)  # bits of pseudonyms, number of refusal
    _names: list[tuple[np.ndarray, pa.Array]] = field(default_factory=list)  # bits of pseudonyms, names of rows
    _records: list[_Records] = field(default_factory=list)

    def add_sources(self, sources: Iterable[str], reason: str, detail: str) -> None:
        """Refuses files by their `source_id`."""
        self._add(source_numbers(sources), self._number(reason, detail))

    def add_rows(self, rows: Iterable[str], detail: str, reason: str = "bad_row") -> None:
        """Refuses rows by their `row` name."""
        self._add_names(list(rows), self._number(reason, detail))

    def drop(self, frame: pd.DataFrame, bad: pd.Series, detail: str, reason: str = "bad_row") -> pd.DataFrame:
        """Returns the frame without its bad rows, and refuses these."""
        if not bad.any():
            return frame
        self.add_rows(frame.loc[bad, "row"], detail, reason)
        return frame[~bad]

    def add_records(self, table: str, suffix: str, records: np.ndarray, detail: str) -> None:
        """Refuses rows that nothing else refuses, by table, record and suffix. Until the end they take 4 B each."""
        if len(records):
            self._records.append(_Records(table, suffix, records.astype(np.uint32), self._number("bad_row", detail)))

    def tables(self) -> tuple[pa.Table, pa.Table]:
        """Builds QUARANTINE and REFUSED_ROWS, which says what its pseudonyms of rows stand for; sorted by source.

        What was collected is freed on the way.
        """
        for records in self._records:
            for names in records.names():
                self._add_names(names, records.refusal)
        self._records.clear()
        return self._quarantine(), self._refused_rows()

    def _number(self, reason: str, detail: str) -> int:
        return self._refusals.setdefault((reason, detail), len(self._refusals))

    def _add(self, numbers: np.ndarray, refusal: int) -> None:
        if len(numbers):
            self._sources.append((numbers, refusal))

    def _add_names(self, names: list[str], refusal: int) -> None:
        if names:
            numbers = source_numbers(self.pseudonyms.source(name) for name in names)
            self._add(numbers, refusal)
            self._names.append((numbers, pa.array(names, pa.string())))

    def _quarantine(self) -> pa.Table:
        refusals = [np.full(len(numbers), refusal, np.int32) for numbers, refusal in self._sources]
        numbers, order = _first_by_source([numbers for numbers, _ in self._sources])
        self._sources.clear()
        refusal = pa.array(np.concatenate([np.zeros(0, np.int32), *refusals])[order])
        texts = [
            pa.DictionaryArray.from_arrays(refusal, pa.array([pair[index] for pair in self._refusals], pa.string()))
            for index in (0, 1)
        ]
        return _checked(quarantine.QUARANTINE, source_ids(numbers), *texts)

    def _refused_rows(self) -> pa.Table:
        names = pa.chunked_array([names for _, names in self._names], pa.string())
        numbers, order = _first_by_source([numbers for numbers, _ in self._names])
        self._names.clear()
        return _checked(REFUSED_ROWS, source_ids(numbers), names.take(pa.array(order)))


def _first_by_source(parts: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the different numbers in order, and the position of the first of each; both (n,)."""
    return np.unique(np.concatenate([np.zeros(0, np.uint64), *parts]), return_index=True)


def _checked(contract: tables.TableContract, *columns: pa.Array | pa.ChunkedArray) -> pa.Table:
    arrays = [column.cast(pa.string()) for column in columns]
    return contract.check(pa.Table.from_arrays(arrays, schema=contract.schema).combine_chunks())
