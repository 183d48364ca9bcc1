"""Sex and age at each ECG of MIMIC-IV, out of its table of patients (`hosp/patients.csv.gz` of MIMIC-IV 2 and 3).

MIMIC-IV shifts the dates of each patient. `anchor_age` is the age in the shifted year `anchor_year`, so that the age in
another year is anchor_age + (year - anchor_year). Ages over 89 are published as 91; here, 90 stands for 90 and over.
"""

import numpy as np
import pandas as pd

from data_contracts.catalog import SEXES
from echoingecg.catalog.layouts import base
from echoingecg.catalog.layouts.tables import ExportTable
from echoingecg.catalog.layouts.times import seconds

PATIENTS = "patients.csv"

_MAX_AGE_YEARS = 120  # no person is older: such a row is a mistake
_CONTENT = ["sex", "age", "site", "device", "rhythm"]


def with_sex_and_age(
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
    refused = [(row, "more or fewer values than the header has columns") for row in malformed]
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
