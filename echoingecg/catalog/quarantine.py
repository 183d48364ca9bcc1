"""What the catalog refuses, collected while rows are sifted."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import pandas as pd
import pyarrow as pa

from data_contracts.quarantine import QUARANTINE
from echoingecg.catalog.pseudonyms import Pseudonyms


@dataclass
class Refusals:
    """Refused files and rows; each source appears once, with the first reason found.

    Attributes:
        names: makes the pseudonyms of rows.
    """

    names: Pseudonyms
    _found: dict[str, tuple[str, str]] = field(default_factory=dict)

    def add_sources(self, source_ids: Iterable[str], reason: str, detail: str) -> None:
        """Refuses files."""
        for source_id in source_ids:
            self._found.setdefault(source_id, (reason, detail))

    def add_rows(self, rows: Iterable[str], detail: str, reason: str = "bad_row") -> None:
        """Refuses rows by their `row` name."""
        self.add_sources((self.names.source(row) for row in rows), reason, detail)

    def sift(self, frame: pd.DataFrame, bad: pd.Series, detail: str, reason: str = "bad_row") -> pd.DataFrame:
        """The frame without its bad rows, which are refused."""
        self.add_rows(frame.loc[bad, "row"], detail, reason)
        return frame[~bad]

    def table(self) -> pa.Table:
        """QUARANTINE table, sorted by source."""
        return QUARANTINE.build(
            [
                {"source_id": source_id, "reason": reason, "detail": detail}
                for source_id, (reason, detail) in sorted(self._found.items())
            ]
        )
