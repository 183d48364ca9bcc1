"""Says what an export holds, without reading ECGs and clips: counts, measurements, refusals, no identifiers."""

import secrets
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data_contracts.quarantine import QUARANTINE
from echoingecg.catalog.build import build_catalog
from echoingecg.catalog.measurement_rows import Columns, MeasurementRows, no_rows
from echoingecg.catalog.scan import scan
from echoingecg.common import Progress, no_progress
from echoingecg.recipe import CatalogSettings

Names = tuple[str, str]  # measurement, unit


@dataclass
class MeasurementCounts:
    """Counts results by measurement and unit.

    Attributes:
        results: rows with a result.
        words: those of them that are words.
    """

    results: Counter[Names] = field(default_factory=Counter)
    words: Counter[Names] = field(default_factory=Counter)

    def count(self, rows: MeasurementRows, names: tuple[str, ...]) -> Columns:
        """Counts all measurements, named by the recipe or not; returns no row."""
        for columns in rows.batches(()):
            name, unit = (rows.codes[column].texts for column in ("measurement", "unit"))
            pairs = columns["measurement"].astype(np.int64) << 16 | columns["unit"]
            for counter, chosen in ((self.results, pairs), (self.words, pairs[np.isnan(columns["value"])])):
                for pair, number in zip(*np.unique(chosen, return_counts=True), strict=True):
                    counter[name[pair >> 16], unit[pair & 0xFFFF]] += int(number)
        return no_rows() | {"upper": np.zeros(0)}


@dataclass(frozen=True)
class ExportSummary:
    """What an export holds.

    Attributes:
        layout: how it is read.
        counts: what -> how many.
        measurements: results by measurement and unit.
        gaps: measurements without a result.
        refused: (reason, detail) -> rows and files.
    """

    layout: str
    counts: dict[str, int]
    measurements: MeasurementCounts
    gaps: int
    refused: Counter[Names]


def check_export(export: Path, settings: CatalogSettings, progress: Progress = no_progress) -> ExportSummary:
    """Reads an export's tables and looks whether its files are there.

    The content of files is not read, so that equal content of two patients is not seen; nor are repeated measurements.

    Args:
        export: root folder.
        settings: the recipe's section `catalog`; which measurements it names does not matter.
        progress: called every 1000 files.

    Raises:
        ExportError: the layout is unknown, no file is listed, or a table cannot be read.
    """
    key, counts = secrets.token_bytes(32), MeasurementCounts()
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
    )
