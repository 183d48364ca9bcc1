"""Collects what is refused, for the quarantine table without names and for the private index with them."""

from collections.abc import Iterable
from dataclasses import dataclass, field

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
        self.add_rows(frame.loc[bad, "row"], detail, reason)
        return frame[~bad]

    def table(self) -> pa.Table:
        """Builds the QUARANTINE table, sorted by source."""
        refused = sorted(self._first_refusal.items())
        columns = [
            [source_id for source_id, _ in refused],
            [reason for _, (reason, _) in refused],
            [detail for _, (_, detail) in refused],
        ]
        return quarantine.QUARANTINE.check(pa.Table.from_arrays(columns, schema=quarantine.QUARANTINE.schema))

    def rows(self) -> pa.Table:
        """Builds REFUSED_ROWS, sorted by source: which row each pseudonym stands for. It must stay private."""
        names = sorted(self._row_names.items())
        columns = [[source_id for source_id, _ in names], [row for _, row in names]]
        return REFUSED_ROWS.check(pa.Table.from_arrays(columns, schema=REFUSED_ROWS.schema))
