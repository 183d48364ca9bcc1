"""The plain layout: CSV manifests in the export's root. data_contracts/README.md describes it."""

from echoingecg.catalog.layouts import base

_ECGS = "ecgs.csv"
_ECHOES = "echoes.csv"
_REPORTS = "reports.csv"
_MEASUREMENTS = "measurements.csv"


def _files(tables: base.Tables) -> base.Files:
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
    return base.Files(ecgs, echoes, tuple(malformed))


def _words(tables: base.Tables) -> base.Words:
    reports, measurements = base.no_rows(base.REPORT_COLUMNS), base.no_rows(base.MEASUREMENT_COLUMNS)
    subgroups = base.no_rows(base.SUBGROUP_COLUMNS)
    malformed: list[str] = []
    if table := tables.get(_ECGS):  # its malformed rows are known
        frame, _ = table.read(("patient_id", "ecg_id"), base.SUBGROUP_COLUMNS[3:])
        frame["row"] += " subgroups"  # the same row is an ECG too
        subgroups = base.with_columns(frame, base.SUBGROUP_COLUMNS, patient="patient_id", record="ecg_id")
    if table := tables.get(_REPORTS):
        frame, wrong = table.read(("patient_id", "report_id", "method", "subject_id", "time", "text"))
        reports = base.with_columns(
            frame, base.REPORT_COLUMNS, patient="patient_id", subject="subject_id", report="report_id"
        )  # fmt: skip
        malformed += wrong
    if table := tables.get(_MEASUREMENTS):
        frame, wrong = table.read(("patient_id", "time", "measurement", "value", "unit"), ("study_id",))
        measurements = base.with_columns(frame, base.MEASUREMENT_COLUMNS, patient="patient_id", study="study_id")
        malformed += wrong
    return base.Words(reports, measurements, subgroups, tuple(malformed))


LAYOUT = base.Layout(
    "generic", 0, (_ECGS, _ECHOES, _REPORTS, _MEASUREMENTS), (_ECGS, _ECHOES), _files, _words
)  # fmt: skip
