"""Layout `mimic-iv`: MIMIC-IV-ECG 1.0, MIMIC-IV-ECHO 0.1 to 1.0.1, patients of MIMIC-IV, as PhysioNet publishes them.

MIMIC-IV-ECHO 1.0 calls its table of measurements `structured-measurement.csv.gz`, and its list of studies names the
exam of a study (`measurement_id`), up to two days apart. It has no notes. MIMIC-IV-ECHO 0.1 has notes and no exams.

Sex and age come from `hosp/patients.csv.gz` of MIMIC-IV 2 and 3, which shifts the dates of each patient. `anchor_age`
is the age in the shifted year `anchor_year`, so that the age in another year is anchor_age + (year - anchor_year). Ages
over 89 are published as 91; here, 90 stands for 90 and over.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd

from data_contracts.catalog import SEXES
from data_contracts.conventions import Method
from echoingecg.catalog.layouts import base
from echoingecg.catalog.layouts.quoting import MALFORMED
from echoingecg.catalog.layouts.tables import ExportTable, Tables, seconds
from echoingecg.common import ExportError

_ECGS = "record_list.csv"
_MACHINE_MEASUREMENTS = "machine_measurements.csv"
_ECHOES = "echo-record-list.csv"
_STUDIES = "echo-study-list.csv"
_NOTES = "echo_notes.csv"
_STRUCTURED = "structured-measurement.csv"
_DEPTH = 5  # HOST/files/mimiciv/3.1/hosp, as a recursive download leaves it
_OTHER_NAMES = {"structured_measurement.csv": _STRUCTURED}
_PATIENTS = "patients.csv"
_MAX_AGE_YEARS = 120  # no person is older: such a row is a mistake
_CONTENT = ["sex", "age", "site", "device", "rhythm"]
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
    subgroups, refused = _with_sex_and_age(
        stated, tables.get(_ECGS), tables.get(_PATIENTS)
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
    counts = joined.groupby("row").cumcount()
    joined["row"] = joined["row"] + counts.map(lambda count: f"/{count}" if count else "").astype("str")
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


def _with_sex_and_age(
    stated: pd.DataFrame, ecgs: ExportTable | None, patients: ExportTable | None
) -> tuple[pd.DataFrame, tuple[tuple[str, str], ...]]:
    """Adds sex and age to what is stated about ECGs.

    Args:
        stated: SUBGROUP_COLUMNS of the ECGs of which something else is known.
        ecgs: the list of ECGs, with their times.
        patients: the table of patients.

    Returns:
        SUBGROUP_COLUMNS, one row for each ECG of `ecgs` or row of `stated`; and refused rows with a reason.
    """
    if patients is None or ecgs is None:
        return stated, ()
    people, refused = _people(patients)
    listed, _ = ecgs.read(("subject_id", "study_id", "ecg_time"))
    year = pd.to_datetime(seconds(listed["ecg_time"]), unit="s", errors="coerce").dt.year
    listed = listed.assign(year=year, row=listed["row"] + " subgroups").rename(
        columns={"subject_id": "patient", "study_id": "record"}
    )
    listed = listed.merge(people, on="patient", how="left")
    years = listed["anchor_age"] + (listed["year"] - listed["anchor_year"])
    impossible = years < 0
    refused += [
        (row, "by the patient's age, the ECG is from before the birth") for row in listed.loc[impossible, "row"]
    ]
    listed["age"] = years.mask(impossible).map(lambda value: f"{value:g}", na_action="ignore").fillna("").astype("str")
    listed["sex"] = listed["sex"].fillna("").astype("str")
    known = listed.loc[(listed["sex"] != "") | (listed["age"] != ""), ["patient", "record", "row", "sex", "age"]]
    known = known.drop_duplicates(["patient", "record", "sex", "age"])
    joined = stated.drop(columns=["sex", "age"]).merge(known, on=["patient", "record"], how="outer", suffixes=("", "_"))
    joined["row"] = joined["row"].fillna(joined["row_"])
    joined[_CONTENT] = joined[_CONTENT].fillna("").astype("str")
    return joined[list(base.SUBGROUP_COLUMNS)].reset_index(drop=True), tuple(refused)


def _people(table: ExportTable) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """Returns `patient`, `sex`, `anchor_age`, `anchor_year` of the patients, and refused rows with a reason."""
    frame, malformed = table.read(("subject_id", "gender", "anchor_age", "anchor_year"))
    refused = [(row, MALFORMED) for row in malformed]
    age, year = (
        pd.to_numeric(frame[name], errors="coerce").astype("float64") for name in ("anchor_age", "anchor_year")
    )
    bad_age = (frame["anchor_age"] != "") & ~(np.isfinite(age) & np.isfinite(year) & age.between(0, _MAX_AGE_YEARS))
    sex = frame["gender"].str.upper()
    faults = {
        "no patient": frame["subject_id"] == "",
        "the patient stands in two rows": frame["subject_id"].duplicated(keep=False) & (frame["subject_id"] != ""),
        "the stated sex is not F, M or X": ~sex.isin(["", *SEXES]),
        "the anchor age is not a number of years with an anchor year": bad_age,
    }
    is_bad = pd.Series(False, index=frame.index)
    for detail, bad in faults.items():
        refused += [(row, detail) for row in frame.loc[bad, "row"]]
        is_bad |= bad
    people = pd.DataFrame({"patient": frame["subject_id"], "sex": sex, "anchor_age": age, "anchor_year": year})
    return people[~is_bad], refused


LAYOUT = base.Layout(
    "mimic-iv",
    _DEPTH,
    (_ECGS, _MACHINE_MEASUREMENTS, _ECHOES, _STUDIES, _NOTES, _STRUCTURED, _PATIENTS),
    (_ECGS, _ECHOES),
    _file_tables,
    _clinical_tables,
    _OTHER_NAMES,
)
