"""Layout `mimic-iv`: MIMIC-IV-ECG 1.0 and MIMIC-IV-ECHO 0.1 as PhysioNet publishes them, together or one of them."""

import pandas as pd

from data_contracts.conventions import Method
from echoingecg.catalog.layouts import base
from echoingecg.common import ExportError

_ECGS = "record_list.csv"
_MACHINE_MEASUREMENTS = "machine_measurements.csv"
_ECHOES = "echo-record-list.csv"
_STUDIES = "echo-study-list.csv"
_NOTES = "echo_notes.csv"
_STRUCTURED = "structured_measurement.csv"

_STATEMENTS = tuple(f"report_{number}" for number in range(18))
_RHYTHMS = ("sinus", "atrial fibrillation", "atrial flutter")  # the ECG cart's statements begin with the rhythm
_ECG: Method = "ECG"
_ECHO: Method = "ECHO"


def _file_tables(tables: base.Tables) -> base.FileTables:
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


def _clinical_tables(tables: base.Tables) -> base.ClinicalTables:
    ecg_reports, subgroups, wrong_machine = _machine_measurements(tables.get(_MACHINE_MEASUREMENTS))
    echo_reports, wrong_notes, unlinked = _echo_notes(tables)
    measurements, wrong_measurements = _structured_measurements(tables.get(_STRUCTURED))
    return base.ClinicalTables(
        pd.concat([ecg_reports, echo_reports], ignore_index=True),
        measurements,
        subgroups,
        (*wrong_machine, *wrong_notes, *wrong_measurements),
        unlinked,
    )


def _machine_measurements(table: base.ExportTable | None) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
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


def _echo_notes(tables: base.Tables) -> tuple[pd.DataFrame, list[str], tuple[str, ...]]:
    """Returns echo reports, malformed rows, and notes without a study. Patient and note_id link notes to studies."""
    notes, studies = tables.get(_NOTES), tables.get(_STUDIES)
    if notes is None:
        return base.no_rows(base.REPORT_COLUMNS), [], ()
    if studies is None:
        raise ExportError(f"{notes.name}: needs {_STUDIES}, which says which study a note is about")
    frame, malformed = notes.read(("note_id", "subject_id", "charttime", "text"))
    links, wrong = studies.read(("subject_id", "study_id", "note_id"))
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
    return reports, malformed + wrong, tuple(joined.loc[unlinked, "row"])


def _structured_measurements(table: base.ExportTable | None) -> tuple[pd.DataFrame, list[str]]:
    """Returns measurements and malformed rows."""
    if table is None:
        return base.no_rows(base.MEASUREMENT_COLUMNS), []
    frame, malformed = table.read(
        ("subject_id", "measurement_id", "measurement_datetime", "measurement", "result", "unit")
    )
    measurements = base.with_columns(
        frame,
        base.MEASUREMENT_COLUMNS,
        patient="subject_id",
        identifier="measurement_id",
        time="measurement_datetime",
        value="result",
    )
    return measurements, malformed


LAYOUT = base.Layout(
    "mimic-iv",
    1,
    (_ECGS, _MACHINE_MEASUREMENTS, _ECHOES, _STUDIES, _NOTES, _STRUCTURED),
    (_ECGS, _ECHOES),
    _file_tables,
    _clinical_tables,
)
