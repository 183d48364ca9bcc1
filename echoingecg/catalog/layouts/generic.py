"""Layout `generic`: CSV tables in the root of the export. data_contracts/README.md describes it."""

from collections.abc import Iterator
from functools import partial

from echoingecg.catalog.layouts import base
from echoingecg.catalog.layouts.tables import ExportTable, Tables

_ECGS = "ecgs.csv"
_ECHOES = "echoes.csv"
_REPORTS = "reports.csv"
_MEASUREMENTS = "measurements.csv"


def _file_tables(tables: Tables) -> base.FileTables:
    ecgs, echoes = base.no_rows(base.ECG_COLUMNS), base.no_rows(base.ECHO_COLUMNS)
    malformed: list[str] = []
    if table := tables.get(_ECGS):
        frame, wrong = table.read(("patient_id", "ecg_id", "time", "path"), ("unit", "sampling_frequency", "leads"))
        ecgs = base.with_columns(frame, base.ECG_COLUMNS, patient="patient_id", record="ecg_id")
        malformed += wrong
    if table := tables.get(_ECHOES):
        frame, wrong = table.read(("patient_id", "study_id", "time", "path"))
        echoes = base.with_columns(frame, base.ECHO_COLUMNS, patient="patient_id", study="study_id")
        malformed += wrong
    return base.FileTables(ecgs, echoes, tuple(malformed))


def _clinical_tables(tables: Tables) -> base.ClinicalTables:
    reports, subgroups = base.no_rows(base.REPORT_COLUMNS), base.no_rows(base.SUBGROUP_COLUMNS)
    measurements = base.MeasurementSource()
    malformed: list[str] = []
    if table := tables.get(_ECGS):  # its malformed rows are reported by _file_tables
        frame, _ = table.read(("patient_id", "ecg_id"), base.SUBGROUP_COLUMNS[3:])
        frame["row"] += " subgroups"  # the same row also lists an ECG: quarantine needs two names
        subgroups = base.with_columns(frame, base.SUBGROUP_COLUMNS, patient="patient_id", record="ecg_id")
    if table := tables.get(_REPORTS):
        frame, wrong = table.read(("patient_id", "report_id", "method", "subject_id", "time", "text"))
        reports = base.with_columns(
            frame, base.REPORT_COLUMNS, patient="patient_id", subject="subject_id", report="report_id"
        )  # fmt: skip
        malformed += wrong
    if table := tables.get(_MEASUREMENTS):
        measurements = base.MeasurementSource(partial(_measurements, table))
    return base.ClinicalTables(reports, measurements, subgroups, tuple(malformed))


def _measurements(table: ExportTable, malformed: list[str]) -> Iterator[base.MeasurementBatch]:
    needed = ("patient_id", "time", "measurement", "value", "unit")
    names = {"patient": "patient_id", "study": "study_id", "exam": "exam_id", "ecg": "ecg_id"}
    return base.batches_with_columns(table, malformed, needed, ("study_id", "exam_id", "ecg_id", "exam_type"), **names)


LAYOUT = base.Layout(
    "generic", 0, (_ECGS, _ECHOES, _REPORTS, _MEASUREMENTS), (_ECGS, _ECHOES), _file_tables, _clinical_tables
)  # fmt: skip
