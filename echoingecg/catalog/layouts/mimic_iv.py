"""MIMIC-IV-ECG 1.0 and MIMIC-IV-ECHO 0.1, side by side or one of them (PhysioNet; columns as published)."""

import pandas as pd

from data_contracts.conventions import Method
from echoingecg.catalog.layouts import base
from echoingecg.common import ExportError

_ECGS = "record_list.csv"
_MACHINE = "machine_measurements.csv"
_ECHOES = "echo-record-list.csv"
_STUDIES = "echo-study-list.csv"
_NOTES = "echo_notes.csv"
_STRUCTURED = "structured_measurement.csv"

_STATEMENTS = tuple(f"report_{number}" for number in range(18))
_RHYTHMS = ("sinus", "atrial fibrillation", "atrial flutter")  # the cart's statements begin with their rhythm
_ECG: Method = "ECG"
_ECHO: Method = "ECHO"


def _files(tables: base.Tables) -> base.Files:
    ecgs, echoes = base.no_rows(base.ECG_COLUMNS), base.no_rows(base.ECHO_COLUMNS)
    malformed: list[str] = []
    if table := tables.get(_ECGS):
        frame, wrong = table.read(("subject_id", "study_id", "ecg_time", "path"))
        ecgs = base.with_columns(
            table.below(frame, "path"), base.ECG_COLUMNS, patient="subject_id", record="study_id", time="ecg_time"
        )  # fmt: skip
        malformed += wrong
    if table := tables.get(_ECHOES):
        frame, wrong = table.read(("subject_id", "study_id", "acquisition_datetime", "dicom_filepath"))
        echoes = base.with_columns(
            table.below(frame, "dicom_filepath"),
            base.ECHO_COLUMNS,
            patient="subject_id",
            study="study_id",
            time="acquisition_datetime",
            path="dicom_filepath",
        )
        malformed += wrong
    return base.Files(ecgs, echoes, tuple(malformed))


def _words(tables: base.Tables) -> base.Words:
    machine, subgroups, wrong_machine = _machine(tables.get(_MACHINE))
    notes, wrong_notes, unlinked = _echo_notes(tables)
    measurements, wrong_measurements = _structured(tables.get(_STRUCTURED))
    return base.Words(
        pd.concat([machine, notes], ignore_index=True),
        measurements,
        subgroups,
        (*wrong_machine, *wrong_notes, *wrong_measurements),
        unlinked,
    )


def _machine(table: base.ExportTable | None) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """The cart's statements of each ECG as one text, and what they and the cart say of its subgroup."""
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
    begins = frame["report_0"].str.lower().str.extract(rf"^({'|'.join(_RHYTHMS)})\b", expand=False)
    stated = frame.assign(rhythm=begins.fillna("").astype("str"), row=frame["row"] + " subgroups")
    subgroups = base.with_columns(
        stated, base.SUBGROUP_COLUMNS, patient="subject_id", record="study_id", device="cart_id"
    )  # fmt: skip
    return reports, subgroups, malformed


def _sentences(statements: tuple[str, ...]) -> str:
    """`Sinus rhythm. Normal ECG.`; empty when no statement was made."""
    made = [plain for one in statements if (plain := one.strip(" ."))]
    return ". ".join(made) + "." if made else ""


def _echo_notes(tables: base.Tables) -> tuple[pd.DataFrame, list[str], tuple[str, ...]]:
    """Echo reports, linked to their studies by patient and note_id; and the notes that no study names."""
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
    alone = joined["study_id"].isna()
    joined["method"] = _ECHO
    # A note on two studies is two reports; the row's name must stay one of a kind.
    joined["row"] = joined["row"] + joined.groupby("row").cumcount().map(lambda at: f"/{at}" if at else "")
    reports = base.with_columns(
        joined[~alone], base.REPORT_COLUMNS,
        patient="subject_id", subject="study_id", report="note_id", time="charttime",
    )  # fmt: skip
    return reports, malformed + wrong, tuple(joined.loc[alone, "row"])


def _structured(table: base.ExportTable | None) -> tuple[pd.DataFrame, list[str]]:
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
    (_ECGS, _MACHINE, _ECHOES, _STUDIES, _NOTES, _STRUCTURED),
    (_ECGS, _ECHOES),
    _files,
    _words,
)
