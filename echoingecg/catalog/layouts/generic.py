"""The plain layout: CSV manifests in the export's root. data_contracts/README.md describes it."""

from typing import Final

from echoingecg.catalog.layouts.base import (
    ECG_COLUMNS,
    ECHO_COLUMNS,
    MEASUREMENT_COLUMNS,
    REPORT_COLUMNS,
    SUBGROUP_COLUMNS,
    Files,
    Layout,
    Tables,
    Words,
    no_rows,
    with_columns,
)

_ECGS: Final = "ecgs.csv"
_ECHOES: Final = "echoes.csv"
_REPORTS: Final = "reports.csv"
_MEASUREMENTS: Final = "measurements.csv"


def _files(tables: Tables) -> Files:
    ecgs, echoes = no_rows(ECG_COLUMNS), no_rows(ECHO_COLUMNS)
    malformed: list[str] = []
    if table := tables.get(_ECGS):
        frame, wrong = table.read(("patient_id", "ecg_id", "time", "path"), ("unit", "sampling_frequency", "leads"))
        ecgs = with_columns(frame, ECG_COLUMNS, patient="patient_id", record="ecg_id")
        malformed += wrong
    if table := tables.get(_ECHOES):
        frame, wrong = table.read(("patient_id", "study_id", "time", "path"))
        echoes = with_columns(frame, ECHO_COLUMNS, patient="patient_id", study="study_id")
        malformed += wrong
    return Files(ecgs, echoes, tuple(malformed))


def _words(tables: Tables) -> Words:
    reports, measurements = no_rows(REPORT_COLUMNS), no_rows(MEASUREMENT_COLUMNS)
    subgroups = no_rows(SUBGROUP_COLUMNS)
    malformed: list[str] = []
    if table := tables.get(_ECGS):  # its malformed rows are known
        frame, _ = table.read(("patient_id", "ecg_id"), SUBGROUP_COLUMNS[3:])
        frame["row"] += " subgroups"  # the same row is an ECG too
        subgroups = with_columns(frame, SUBGROUP_COLUMNS, patient="patient_id", record="ecg_id")
    if table := tables.get(_REPORTS):
        frame, wrong = table.read(("patient_id", "report_id", "method", "subject_id", "time", "text"))
        reports = with_columns(
            frame, REPORT_COLUMNS, patient="patient_id", subject="subject_id", report="report_id"
        )  # fmt: skip
        malformed += wrong
    if table := tables.get(_MEASUREMENTS):
        frame, wrong = table.read(("patient_id", "time", "measurement", "value", "unit"), ("study_id",))
        measurements = with_columns(frame, MEASUREMENT_COLUMNS, patient="patient_id", study="study_id")
        malformed += wrong
    return Words(reports, measurements, subgroups, tuple(malformed))


LAYOUT: Final = Layout(
    "generic", 0, (_ECGS, _ECHOES, _REPORTS, _MEASUREMENTS), (_ECGS, _ECHOES), _files, _words
)  # fmt: skip
