"""Several exports as one: each is scanned alone, its patients are named by its site, then the lists are joined.

An export is given with the name of its site, or states sites itself. Equal numbers at two sites are two patients,
whatever else is in the run, so that a patient keeps pseudonym and split as exports are added.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from echoingecg.catalog.exports import SitedExport
from echoingecg.catalog.layouts import base
from echoingecg.catalog.pseudonyms import NOBODY, Withdrawn, labelled
from echoingecg.catalog.scan import Scan, scan
from echoingecg.catalog.scanned_files import ScannedFiles
from echoingecg.common import ExportError, Progress, fingerprint, no_progress
from echoingecg.recipe import CatalogSettings


def labels_of(exports: Sequence[SitedExport]) -> list[str]:
    """A label for each export, by which its files and rows are told from others; empty for the first without a site."""
    sites = [export.site for export in exports]
    return [
        site + (f"#{before + 1}" if (before := sites[:place].count(site)) else "") for place, site in enumerate(sites)
    ]


def scan_exports(
    exports: Sequence[SitedExport],
    settings: CatalogSettings,
    key: bytes,
    previous: Sequence[pa.Table | None],
    progress: Progress = no_progress,
    withdrawn: Withdrawn = NOBODY,
) -> tuple[Scan, list[pa.Table]]:
    """Scans each export, and joins what they list.

    Args:
        exports: one or more.
        settings: the recipe's section `catalog`, for all of them.
        key: secret key of the pseudonyms.
        previous: private index of an earlier scan of each, if there is one.
        progress: see `scan`.
        withdrawn: see `scan`.

    Returns:
        The scan of all, and the private index of each, SOURCES with paths relative to its own folder.

    Raises:
        ExportError: an export cannot be scanned; one of several has no site; one with a name states sites itself.
    """
    parts = []
    for export, label, earlier in zip(exports, labels_of(exports), previous, strict=True):
        part = scan(export.folder, settings, key, earlier, progress, False, label, export.site, withdrawn)
        _check_sites(part, export, len(exports))
        parts.append(_Part(part, export.site, label))
    indexes = [part.scan.sources for part in parts]
    if len(parts) == 1 and not parts[0].label:
        return parts[0].scan, indexes
    return _joined(parts), indexes


def _check_sites(part: Scan, export: SitedExport, exports: int) -> None:
    states_sites = part.layout.states_sites(part.tables)
    if export.site and states_sites:
        raise ExportError(
            f"export {export.folder}: states its patients' sites itself: give it without '{export.site}='"
        )
    if exports > 1 and not export.site and not states_sites:
        raise ExportError(
            f"export {export.folder}: of several exports each needs the name of its site, as NORTH={export.folder}, "
            "since equal numbers at two sites are two patients"
        )


@dataclass(frozen=True)
class _Part:
    """The scan of one export, and how its patients, files and rows are named."""

    scan: Scan
    site: str
    label: str

    def rows(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame with its patients named by site, and its rows and paths by label."""
        changed = {"patient": base.patients_of_site(self.site, frame["patient"])} if self.site else {}
        for column in ("row", "path"):
            if column in frame:
                changed[column] = self._labelled(frame[column])
        return frame.assign(**changed)

    def _labelled(self, texts: pd.Series) -> pd.Series:
        if not self.label:
            return texts
        given = pa.array(texts, pa.string())
        prefixed = pc.binary_join_element_wise(labelled(self.label, ""), given, "")
        return pd.Series(pd.array(pc.if_else(pc.equal(given, ""), given, prefixed), dtype="str"), index=texts.index)

    def names(self, names: Sequence[str]) -> tuple[str, ...]:
        return tuple(labelled(self.label, name) for name in names)

    def subgroups(self, stated: pd.DataFrame, ecgs: pd.DataFrame) -> pd.DataFrame:
        """What is stated about ECGs, with the export's site for every ECG that it lists.

        Args:
            stated: base.SUBGROUP_COLUMNS, of this export.
            ecgs: base.ECG_COLUMNS of this export, named by `rows`.
        """
        stated = self.rows(stated)
        if not self.site:
            return stated
        known = pd.MultiIndex.from_frame(stated[["patient", "record"]])
        others = ecgs[~pd.MultiIndex.from_frame(ecgs[["patient", "record"]]).isin(known)]
        others = base.with_columns(others.assign(row=others["row"] + " site"), base.SUBGROUP_COLUMNS)
        return pd.concat([stated, others], ignore_index=True).assign(site=self.site)

    def batches(self, source: base.MeasurementSource, malformed: list[str]) -> Iterator[base.MeasurementBatch]:
        """The export's measurements, named by site and label; `malformed` receives names of rows."""
        wrong: list[str] = []
        for batch in source.batches(wrong):
            columns = {name: batch.columns[name] for name in batch.columns.schema.names}
            patient = columns["patient"]
            names = [base.patient_of_site(self.site, text) for text in patient.dictionary.to_pylist()]
            columns["patient"] = pa.DictionaryArray.from_arrays(patient.indices, pa.array(names, pa.string()))
            yield base.MeasurementBatch(
                labelled(self.label, batch.table),
                batch.records,
                pa.RecordBatch.from_pydict(columns),
                batch.suffix,
                source,
            )
        malformed += self.names(wrong)


def _joined(parts: list[_Part]) -> Scan:
    """One scan of all parts. Their own lists are freed."""
    ecgs, echoes = ([part.rows(getattr(part.scan.file_tables, kind)) for part in parts] for kind in ("ecgs", "echoes"))
    malformed = tuple(name for part in parts for name in part.names(part.scan.file_tables.malformed))
    refused = tuple(
        (labelled(part.label, name), reason, detail)
        for part in parts
        for name, reason, detail in part.scan.file_tables.refused
    )
    listed = base.FileTables(_concatenated(ecgs), _concatenated(echoes), malformed, refused)
    names = sorted({part.scan.layout.name for part in parts})
    layout = base.Layout(
        " and ".join(names), 0, (), (), lambda _: listed, lambda _: _clinical_tables(parts, ecgs)
    )  # fmt: skip
    joined = Scan(
        layout,
        parts[0].scan.settings,
        {},
        fingerprint(sorted([part.label, part.scan.digest] for part in parts)),
        pa.concat_tables([part.scan.sources for part in parts]),
        sum(part.scan.read_files for part in parts),
        listed,
        ScannedFiles.joined([(part.label, part.scan.files) for part in parts]),
        parts[0].scan.withdrawn,
        tuple(name for part in parts for name in part.scan.left_out),
    )
    for part in parts:
        part.scan.release()
    return joined


def _clinical_tables(parts: list[_Part], ecgs: list[pd.DataFrame]) -> base.ClinicalTables:
    """Reports, measurements and subgroups of all exports."""
    tables = [part.scan.layout.clinical_tables(part.scan.tables) for part in parts]
    sources = [clinical.measurements for clinical in tables]

    def batches(malformed: list[str]) -> Iterator[base.MeasurementBatch]:
        for part, source in zip(parts, sources, strict=True):
            yield from part.batches(source, malformed)

    pairs = list(zip(parts, tables, strict=True))
    return base.ClinicalTables(
        reports=_concatenated([part.rows(clinical.reports) for part, clinical in pairs]),
        measurements=base.MeasurementSource(
            batches,
            _concatenated([part.rows(clinical.measurements.links) for part, clinical in pairs]),
            upper_ends={upper: lower for source in sources for upper, lower in source.upper_ends.items()},
        ),
        subgroups=_concatenated(
            [part.subgroups(clinical.subgroups, listed) for (part, clinical), listed in zip(pairs, ecgs, strict=True)]
        ),
        malformed=tuple(name for part, clinical in pairs for name in part.names(clinical.malformed)),
        unlinked=tuple(name for part, clinical in pairs for name in part.names(clinical.unlinked)),
        refused=tuple((labelled(part.label, row), why) for part, clinical in pairs for row, why in clinical.refused),
    )


def _concatenated(frames: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(frames, ignore_index=True)
