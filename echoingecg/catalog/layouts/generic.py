"""Layout `generic`: CSV tables in the root of the export. data_contracts/README.md describes it.

Where the export states sites, a patient is named by site and number, in every table. A row without a site then names
no patient.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa

from echoingecg.catalog.layouts import base
from echoingecg.catalog.layouts.tables import ExportTable, Tables
from echoingecg.common import ExportError

_ECGS = "ecgs.csv"
_ECHOES = "echoes.csv"
_REPORTS = "reports.csv"
_MEASUREMENTS = "measurements.csv"
_SITE = "site"


def _file_tables(tables: Tables) -> base.FileTables:
    ecgs, echoes = base.no_rows(base.ECG_COLUMNS), base.no_rows(base.ECHO_COLUMNS)
    malformed: list[str] = []
    has_sites = _has_sites(tables)
    if table := tables.get(_ECGS):
        frame, wrong = table.read(
            ("patient_id", "ecg_id", "time", "path"), ("unit", "sampling_frequency", "leads", _SITE)
        )
        frame = _with_site(frame, has_sites, table)
        ecgs = base.with_columns(frame, base.ECG_COLUMNS, patient="patient_id", record="ecg_id")
        malformed += wrong
    if table := tables.get(_ECHOES):
        frame, wrong = table.read(("patient_id", "study_id", "time", "path"), (_SITE,))
        frame = _with_site(frame, has_sites, table)
        echoes = base.with_columns(frame, base.ECHO_COLUMNS, patient="patient_id", study="study_id")
        malformed += wrong
    return base.FileTables(ecgs, echoes, tuple(malformed))


def _clinical_tables(tables: Tables) -> base.ClinicalTables:
    reports, subgroups = base.no_rows(base.REPORT_COLUMNS), base.no_rows(base.SUBGROUP_COLUMNS)
    measurements = base.MeasurementSource()
    malformed: list[str] = []
    has_sites = _has_sites(tables)
    if table := tables.get(_ECGS):  # its malformed rows are reported by _file_tables
        frame, _ = table.read(("patient_id", "ecg_id"), base.SUBGROUP_COLUMNS[3:])
        frame = _with_site(frame, has_sites, table)
        frame["row"] += " subgroups"  # the same row also lists an ECG: quarantine needs two names
        subgroups = base.with_columns(frame, base.SUBGROUP_COLUMNS, patient="patient_id", record="ecg_id")
    if table := tables.get(_REPORTS):
        frame, wrong = table.read(("patient_id", "report_id", "method", "subject_id", "time", "text"), (_SITE,))
        frame = _with_site(frame, has_sites, table)
        reports = base.with_columns(
            frame, base.REPORT_COLUMNS, patient="patient_id", subject="subject_id", report="report_id"
        )  # fmt: skip
        malformed += wrong
    if table := tables.get(_MEASUREMENTS):
        if has_sites and not table.has_column(_SITE):
            raise _mixed(table, has_sites)
        batches = partial(_measurements, table, has_sites)
        measurements = base.MeasurementSource(batches, with_words=True, with_letters=True)
    return base.ClinicalTables(reports, measurements, subgroups, tuple(malformed))


def _has_sites(tables: Tables) -> bool:
    """Returns whether the lists of files state a site in any row."""
    lists = [tables[name] for name in (_ECGS, _ECHOES) if name in tables]
    return any((table.read((), (_SITE,))[0][_SITE] != "").any() for table in lists if table.has_column(_SITE))


def _with_site(frame: pd.DataFrame, has_sites: bool, table: ExportTable) -> pd.DataFrame:
    """Makes `patient_id` the patient's site and number; empty in a row that lacks the site.

    Raises:
        ExportError: the table states sites and the lists of files do not, or the other way round.
    """
    site = frame[_SITE]
    if len(frame) and (site != "").any() != has_sites:
        raise _mixed(table, has_sites)
    if has_sites:
        patients = [
            base.patient_of_site(place, patient) if place else ""
            for place, patient in zip(site, frame["patient_id"], strict=True)
        ]
        frame["patient_id"] = pd.Series(pd.array(patients, dtype="str"), index=frame.index)
    return frame


def _mixed(table: ExportTable, has_sites: bool) -> ExportError:
    fault = (
        "states no site, which other tables do" if has_sites else "states sites, which ecgs.csv and echoes.csv do not"
    )
    return ExportError(f"{table.name}: {fault}: state 'site' in every table or in none, or patients would be confused")


def _measurements(table: ExportTable, has_sites: bool, malformed: list[str]) -> Iterator[base.MeasurementBatch]:
    needed = ("patient_id", "time", "measurement", "value", "unit")
    names = {"patient": "patient_id", "study": "study_id", "exam": "exam_id", "ecg": "ecg_id"}
    optional = ("study_id", "exam_id", "ecg_id", "exam_type", _SITE)
    is_stated, count = False, 0
    for batch in base.batches_with_columns(table, malformed, needed, optional, (_SITE,), **names):
        is_stated |= any(batch.columns[_SITE].dictionary.to_pylist())
        count += len(batch.records)
        if is_stated and not has_sites:
            raise _mixed(table, has_sites)
        yield _batch_with_site(batch, has_sites)
    if count and has_sites and not is_stated:
        raise _mixed(table, has_sites)


def _batch_with_site(batch: base.MeasurementBatch, has_sites: bool) -> base.MeasurementBatch:
    """Returns a batch without the column of sites, its patients named by site and number where there are sites."""
    columns = {name: batch.columns[name] for name in batch.columns.schema.names}
    site, patient = columns.pop(_SITE), columns["patient"]
    if has_sites:
        codes = np.stack([column.indices.to_numpy(zero_copy_only=False) for column in (site, patient)])
        used, positions = np.unique(codes, axis=1, return_inverse=True)
        sites, patients = site.dictionary.to_pylist(), patient.dictionary.to_pylist()
        names = [
            base.patient_of_site(sites[place], patients[number]) if sites[place] else ""
            for place, number in used.T.tolist()
        ]
        columns["patient"] = pa.DictionaryArray.from_arrays(
            pa.array(positions.reshape(-1).astype(np.int32)), pa.array(names, pa.string())
        )
    return base.MeasurementBatch(batch.table, batch.records, pa.RecordBatch.from_pydict(columns), batch.suffix)


LAYOUT = base.Layout(
    "generic", 0, (_ECGS, _ECHOES, _REPORTS, _MEASUREMENTS), (_ECGS, _ECHOES), _file_tables, _clinical_tables,
    states_sites=_has_sites,
)  # fmt: skip
