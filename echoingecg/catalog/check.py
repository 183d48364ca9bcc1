"""Says what an export holds, without reading ECGs and clips: counts, measurements, refusals, no identifiers."""

import secrets
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from data_contracts.quarantine import QUARANTINE
from echoingecg.catalog.build import build_catalog
from echoingecg.catalog.measurement_rows import Columns, MeasurementRows, joined
from echoingecg.catalog.measurements import made_usable
from echoingecg.catalog.scan import scan
from echoingecg.common import Progress, no_progress
from echoingecg.recipe import CatalogSettings

Names = tuple[str, str]  # measurement, unit


@dataclass
class MeasurementCounts:
    """Counts results by measurement and unit, and keeps the rows of some measurements.

    Attributes:
        kept: measurements whose rows are kept.
        results: rows with a result.
        words: those of them that are words.
    """

    kept: frozenset[str] = frozenset()
    results: Counter[Names] = field(default_factory=Counter)
    words: Counter[Names] = field(default_factory=Counter)

    def count(self, rows: MeasurementRows, names: tuple[str, ...]) -> Columns:
        """Counts all measurements; returns the usable rows of those that are kept, if `names` has them or is empty."""
        chosen = rows.with_both_ends(self.kept)
        chosen = chosen & rows.with_both_ends(names) if names else chosen
        return made_usable(rows, joined(self._counted(rows, chosen)))

    def _counted(self, rows: MeasurementRows, chosen: frozenset[str]) -> Iterator[Columns]:
        for columns in rows.batches(()):
            name, unit = (rows.codes[column].texts for column in ("measurement", "unit"))
            pairs = columns["measurement"].astype(np.int64) << 16 | columns["unit"]
            for counter, of_kind in ((self.results, pairs), (self.words, pairs[np.isnan(columns["value"])])):
                for pair, number in zip(*np.unique(of_kind, return_counts=True), strict=True):
                    counter[name[pair >> 16], unit[pair & 0xFFFF]] += int(number)
            is_kept = np.array([text in chosen for text in name], bool)[columns["measurement"]]
            yield {column: values[is_kept] for column, values in columns.items()}


@dataclass(frozen=True)
class ExportSummary:
    """What an export holds.

    Attributes:
        layout: how it is read.
        counts: what -> how many.
        measurements: results by measurement and unit.
        gaps: measurements without a result.
        refused: (reason, detail) -> rows and files.
        tables: of the catalog, with pseudonyms of a key that nobody keeps; of the measurements those that were kept.
    """

    layout: str
    counts: dict[str, int]
    measurements: MeasurementCounts
    gaps: int
    refused: Counter[Names]
    tables: dict[str, pa.Table]


def check_export(
    export: Path, settings: CatalogSettings, progress: Progress = no_progress, kept: Iterable[str] = ()
) -> ExportSummary:
    """Reads an export's tables and looks whether its files are there.

    The content of files is not read, so that equal content of two patients is not seen. Of measurements, rows that
    repeat others and ends of ranges that do not fit are refused only where they are kept.

    Args:
        export: root folder.
        settings: the recipe's section `catalog`; all measurements are counted, named by it or not.
        progress: called every 1000 files.
        kept: measurements whose rows are wanted, where `settings` has them.

    Raises:
        ExportError: the layout is unknown, no file is listed, or a table cannot be read.
    """
    key, counts = secrets.token_bytes(32), MeasurementCounts(frozenset(kept))
    listed = scan(export, settings, key, None, progress, only_look=True)
    catalog = build_catalog(listed, key, release=True, read_measurements=counts.count)
    tables = catalog.tables
    owners = {name: set(tables[name]["patient_id"].unique().to_pylist()) for name in ("ecgs", "echoes")}
    refused = tables[QUARANTINE.name]
    return ExportSummary(
        listed.layout.name,
        {
            "patients": len(owners["ecgs"] | owners["echoes"]),
            "patients with ECGs and echoes": len(owners["ecgs"] & owners["echoes"]),
            "ECGs": tables["ecgs"].num_rows,
            "ECGs with sex, age, site, device or rhythm": tables["subgroups"].num_rows,
            "echo studies": len(tables["echoes"]["study_id"].unique()),
            "echo clips": tables["echoes"].num_rows,
            "reports": tables["reports"].num_rows,
            "measurements": counts.results.total(),
        },
        counts,
        catalog.gaps,
        Counter(zip(refused["reason"].to_pylist(), refused["detail"].to_pylist(), strict=True)),
        tables,
    )
