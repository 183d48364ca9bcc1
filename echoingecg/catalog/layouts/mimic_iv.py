"""Layout `mimic-iv`: MIMIC-IV-ECG 1.0, MIMIC-IV-ECHO 0.1 to 1.0.1, patients of MIMIC-IV, as PhysioNet publishes them.

MIMIC-IV-ECHO 1.0 calls its table of measurements `structured-measurement.csv.gz`, and its list of studies names the
exam of a study (`measurement_id`), up to two days apart. It has no notes. MIMIC-IV-ECHO 0.1 has notes and no exams.
"""

from collections.abc import Iterator
from functools import partial

import pandas as pd

from data_contracts.conventions import Method
from echoingecg.catalog.layouts import base, mimic_patients
from echoingecg.catalog.layouts.tables import ExportTable, Tables
from echoingecg.common import ExportError

_ECGS = "record_list.csv"
_MACHINE_MEASUREMENTS = "machine_measurements.csv"
_ECHOES = "echo-record-list.csv"
_STUDIES = "echo-study-list.csv"
_NOTES = "echo_notes.csv"
_STRUCTURED = "structured-measurement.csv"
_DEPTH = 5  # HOST/files/mimiciv/3.1/hosp, as a recursive download leaves it
_OTHER_NAMES = {"structured_measurement.csv": _STRUCTURED}
_UPPER_ENDS = {"lvef_upper": "lvef"}  # a stated range of 50-55 % is `lvef` 50 and `lvef_upper` 55 of one exam

_STATEMENTS = tuple(f"report_{number}" for number in range(18))
_RHYTHMS = ("sinus", "atrial fibrillation", "atrial flutter")  # the ECG cart's statements begin with the rhythm
_ECG: Method = "ECG"
_ECHO: Method = "ECHO"


def _file_tables(tables: Tables) -> base.FileTables:
    ecgs, echoes = base.no_rows(base.ECG_COLUMNS), base.no_rows(base.ECHO_COLUMNS)
    malformed: list[str] = []
    if table := tables.get(_ECGS):
        frame, wrong = table.read(("subject_id", "study_id", "ecg_time", "path"))
        ecgs = base.with_columns(
            table.paths_from_export(frame, "path"), base.ECG_COLUMNS,
            patient="subject_id", record="study_id", time="ecg_time",
        )  # fmt: skip
        malformed += wrong
    if table := tables.get(_ECHOES):
        frame, wrong = table.read(("subject_id", "study_id", "acquisition_datetime", "dicom_filepath"))
        echoes = base.with_columns(
            table.paths_from_export(frame, "dicom_filepath"),
            base.ECHO_COLUMNS,
            patient="subject_id",
            study="study_id",
            time="acquisition_datetime",
            path="dicom_filepath",
        )
        malformed += wrong
    return base.FileTables(ecgs, echoes, tuple(malformed))


def _clinical_tables(tables: Tables) -> base.ClinicalTables:
    ecg_reports, stated, wrong_machine = _machine_measurements(tables.get(_MACHINE_MEASUREMENTS))
    echo_reports, wrong_notes, unlinked = _echo_notes(tables)
    subgroups, refused = mimic_patients.with_sex_and_age(
        stated, tables.get(_ECGS), tables.get(mimic_patients.PATIENTS)
    )  # fmt: skip
    measurements, wrong_studies = _structured_measurements(tables)
    return base.ClinicalTables(
        pd.concat([ecg_reports, echo_reports], ignore_index=True),
        measurements,
        subgroups,
        (*wrong_machine, *wrong_notes, *wrong_studies),
        unlinked,
        refused,
    )


def _machine_measurements(table: ExportTable | None) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Returns reports, subgroups and malformed rows.

    The ECG cart's statements on one ECG become one report. Rhythm and device become its subgroup.
    """
    if table is None:
        return base.no_rows(base.REPORT_COLUMNS), base.no_rows(base.SUBGROUP_COLUMNS), []
    frame, malformed = table.read(("subject_id", "study_id", "ecg_time", "report_0"), (*_STATEMENTS[1:], "cart_id"))
    frame["text"] = pd.Series(
        [_sentences(row) for row in zip(*(frame[column] for column in _STATEMENTS), strict=True)], dtype="str"
    )
    frame["method"] = _ECG
    reports = base.with_columns(
        frame, base.REPORT_COLUMNS, patient="subject_id", subject="study_id", report="study_id", time="ecg_time"
    )  # fmt: skip
    rhythm = frame["report_0"].str.lower().str.extract(rf"^({'|'.join(_RHYTHMS)})\b", expand=False)
    stated = frame.assign(rhythm=rhythm.fillna("").astype("str"), row=frame["row"] + " subgroups")
    subgroups = base.with_columns(
        stated, base.SUBGROUP_COLUMNS, patient="subject_id", record="study_id", device="cart_id"
    )  # fmt: skip
    return reports, subgroups, malformed


def _sentences(statements: tuple[str, ...]) -> str:
    """Joins statements as `Sinus rhythm. Normal ECG.`; returns an empty text if there is no statement."""
    sentences = [plain for statement in statements if (plain := statement.strip(" ."))]
    return ". ".join(sentences) + "." if sentences else ""


def _echo_notes(tables: Tables) -> tuple[pd.DataFrame, list[str], tuple[str, ...]]:
    """Returns echo reports, malformed rows, and notes without a study. Patient and note_id link notes to studies."""
    notes, studies = tables.get(_NOTES), tables.get(_STUDIES)
    if notes is None:
        return base.no_rows(base.REPORT_COLUMNS), [], ()
    if studies is None:
        raise ExportError(f"{notes.name}: needs {_STUDIES}, which says which study a note is about")
    frame, malformed = notes.read(("note_id", "subject_id", "charttime", "text"))
    links, _ = studies.read(("subject_id", "study_id", "note_id"))
    links = links[(links["note_id"] != "") & (links["study_id"] != "")]
    links = links[["subject_id", "study_id", "note_id"]].drop_duplicates()
    joined = frame.merge(links, on=["subject_id", "note_id"], how="left", sort=False)
    unlinked = joined["study_id"].isna()
    joined["method"] = _ECHO
    # A note on two studies becomes two reports; each needs a row name of its own.
    joined["row"] = joined["row"] + joined.groupby("row").cumcount().map(lambda count: f"/{count}" if count else "")
    reports = base.with_columns(
        joined[~unlinked], base.REPORT_COLUMNS,
        patient="subject_id", subject="study_id", report="note_id", time="charttime",
    )  # fmt: skip
    return reports, malformed, tuple(joined.loc[unlinked, "row"])


def _structured_measurements(tables: Tables) -> tuple[base.MeasurementSource, list[str]]:
    """Returns the measurements with the studies of their exams, and malformed rows of the list of studies."""
    links, malformed = base.no_rows(base.LINK_COLUMNS), list[str]()
    if studies := tables.get(_STUDIES):
        frame, malformed = studies.read(("subject_id", "study_id"), ("measurement_id",))
        links = base.with_columns(
            frame, base.LINK_COLUMNS, patient="subject_id", exam="measurement_id", study="study_id"
        )  # fmt: skip
        links = links[(links[list(base.LINK_COLUMNS)] != "").all(axis=1)].drop_duplicates()
    if (table := tables.get(_STRUCTURED)) is None:
        return base.MeasurementSource(links=links), malformed
    rows = partial(_rows, table)
    return base.MeasurementSource(rows, links, with_words=True, with_gaps=True, upper_ends=_UPPER_ENDS), malformed


def _rows(table: ExportTable, malformed: list[str]) -> Iterator[base.MeasurementBatch]:
    names = {
        "patient": "subject_id", "exam": "measurement_id", "exam_type": "test_type", "time": "measurement_datetime",
        "value": "result",
    }  # fmt: skip
    needed = ("subject_id", "measurement_id", "measurement_datetime", "measurement", "result", "unit")
    return base.batches_with_columns(table, malformed, needed, ("test_type",), (), **names)


LAYOUT = base.Layout(
    "mimic-iv",
    _DEPTH,
    (_ECGS, _MACHINE_MEASUREMENTS, _ECHOES, _STUDIES, _NOTES, _STRUCTURED, mimic_patients.PATIENTS),
    (_ECGS, _ECHOES),
    _file_tables,
    _clinical_tables,
    _OTHER_NAMES,
)
