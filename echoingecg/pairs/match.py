"""Builds ECG-echo pairs, ECG-text pairs and labels, each with the patient's side of the split.

Source: EchoingECG, section 3 (data). The FILTERS table counts the rows that are left after each condition.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from data_contracts.pairs import ECG_ECHO, ECG_TEXT, FILTERS, LABELS, PATIENTS, check_no_leakage
from data_contracts.tables import TableContract
from echoingecg.pairs.split import assign_split
from echoingecg.recipe.stages import PairsSettings

WANTED = "no finding leaves the ECG out, or the patient is on the test side"


@dataclass(frozen=True)
class FilterSteps:
    """Counts the rows that are left after each condition on one kind of pair.

    Attributes:
        pair: ecg_echo, ecg_text or labels.
        rows: rows of the FILTERS table, in the order of the conditions.
    """

    pair: str
    rows: list[dict[str, Any]] = field(default_factory=list)

    def keep(self, step: str, frame: pd.DataFrame) -> pd.DataFrame:
        """Records how many rows are left after `step`; returns the frame unchanged."""
        self.rows.append({"pair": self.pair, "step": step, "kept": len(frame)})
        return frame


def build(
    ecgs: pa.Table,
    echoes: pa.Table,
    reports: pa.Table,
    measurements: pa.Table,
    records: pa.Table,
    studies: pa.Table,
    settings: PairsSettings,
) -> dict[str, pa.Table]:
    """Builds all tables of the pairs artefact. The same inputs in any row order give the same tables.

    The time of a study is the time of its earliest clip.

    Args:
        ecgs, echoes, reports, measurements: tables of the catalog artefact.
        records: RECORDS of the ecg artefact: the usable ECGs; those whose `use` is not `keep` are paired on the test
            side only.
        studies: STUDIES of the teacher artefact: the studies with a target.
        settings: the recipe's section `pairs`: time windows, text methods, split.

    Returns:
        Tables by name: patients, ecg_echo, ecg_text, labels, filters.

    Raises:
        ContractError: a table breaks its contract, or a patient would be on two sides of the split.
    """
    recordings = to_frame(ecgs, "record_id", "patient_id", "hours").rename(columns={"record_id": "recording_id"})
    usable = recordings.merge(to_frame(records, "recording_id", "record_id", "use"), on="recording_id")
    listed = list_studies(echoes)
    with_target = listed.merge(to_frame(studies, "study_id", "patient_id"), on=["study_id", "patient_id"])

    patients = pd.DataFrame({"patient_id": sorted({*usable["patient_id"], *with_target["patient_id"]})}, dtype="str")
    splits = {patient: assign_split(patient, settings.split_key, settings.split) for patient in patients["patient_id"]}
    is_wanted = (usable["use"] == "keep") | (usable["patient_id"].map(splits) == "test")
    usable = usable.drop(columns="use").assign(is_wanted=is_wanted.astype(bool))

    steps = [FilterSteps("ecg_echo"), FilterSteps("ecg_text"), FilterSteps("labels")]
    ecg_echo = _ecg_echo(listed, with_target, usable, settings, steps[0])
    ecg_text = _ecg_text(to_frame(reports), usable, ecg_echo, settings, steps[1])
    labels = study_labels(to_frame(measurements), listed, with_target, settings.measurement_window_hours, steps[2])

    tables = {
        contract.name: _table(contract, frame.assign(split=frame["patient_id"].map(splits)))
        for contract, frame in ((PATIENTS, patients), (ECG_ECHO, ecg_echo), (ECG_TEXT, ecg_text), (LABELS, labels))
    }
    tables[FILTERS.name] = FILTERS.build([row for pair_steps in steps for row in pair_steps.rows])
    check_no_leakage(tables[PATIENTS.name], tables[ECG_ECHO.name], tables[ECG_TEXT.name])
    return tables


def _ecg_echo(
    listed: pd.DataFrame, with_target: pd.DataFrame, usable: pd.DataFrame, settings: PairsSettings, steps: FilterSteps
) -> pd.DataFrame:
    """Pairs each study with its nearest wanted recording, and with each of that recording's wanted signals.

    A study whose nearest recording is left out gets the next one. The columns are `study_id`, `patient_id`, `hours`,
    `recording_id`, `gap_hours`, `record_id`.
    """
    steps.keep("studies listed", listed)
    steps.keep("the study has a teacher target", with_target)
    known = steps.keep(
        "the patient has a usable ECG", with_target[with_target["patient_id"].isin(usable["patient_id"])]
    )
    near = steps.keep("an ECG is within the window", _paired(known, usable, settings.window_hours))
    wanted = usable[usable["is_wanted"]]
    return steps.keep(WANTED, near if len(wanted) == len(usable) else _paired(known, wanted, settings.window_hours))


def _paired(studies: pd.DataFrame, signals: pd.DataFrame, window_hours: float) -> pd.DataFrame:
    """Each study with the nearest recording that has a signal, and with each of its signals."""
    near = nearest_in_time(studies, signals, "recording_id", window_hours)
    return near.merge(signals[["recording_id", "record_id"]])


def _ecg_text(
    reports: pd.DataFrame, usable: pd.DataFrame, ecg_echo: pd.DataFrame, settings: PairsSettings, steps: FilterSteps
) -> pd.DataFrame:
    """Pairs each usable ECG with its own reports, and each paired ECG with the reports of its echo study."""
    steps.keep("reports listed", reports)
    wanted = steps.keep("the recipe asks for the method", reports[reports["method"].isin(settings.text_methods)])
    with_text = steps.keep("the text is not blank", wanted[wanted["text"].str.strip() != ""])
    subjects = pd.concat(
        [
            usable.assign(method="ECG", subject_id=usable["recording_id"]),
            ecg_echo.assign(method="ECHO", subject_id=ecg_echo["study_id"]),
        ]
    )[["method", "subject_id", "patient_id", "record_id"]]
    paired = with_text.merge(subjects, on=["method", "subject_id", "patient_id"])
    paired = steps.keep("it is about a usable ECG or a paired study of the patient", paired)
    return steps.keep(WANTED, paired[paired["record_id"].isin(usable.loc[usable["is_wanted"], "record_id"])])


def study_labels(
    measurements: pd.DataFrame, listed: pd.DataFrame, targets: pd.DataFrame, window_hours: float, steps: FilterSteps
) -> pd.DataFrame:
    """Assigns measured values to studies: one value per study and measurement.

    A measurement that names a study belongs only to that study. A measurement that names none belongs to its
    patient's nearest study in time, within the window. Of several values for one study and measurement, one that
    names the study is preferred, then the nearest in time, then the smallest.

    Args:
        measurements: catalog table MEASUREMENTS.
        listed: every study of the catalog, with or without a target: `study_id`, `patient_id`, `hours`. A study
            without a target keeps its measurements, so that no other study gets them.
        targets: studies with a teacher target: `study_id`.
        window_hours: largest time between a study and a measurement that names none, h.
        steps: records the number of rows after each condition.

    Returns:
        `study_id`, `patient_id`, `measurement`, `value`, `unit`.
    """
    steps.keep("measurements listed", measurements)
    finite = steps.keep("value is finite", measurements[np.isfinite(measurements["value"])])
    named = finite[finite["study_id"].notna()].merge(listed, on=["study_id", "patient_id"], suffixes=("", "_study"))
    named = named.assign(gap_hours=named["hours_study"] - named["hours"])
    unnamed = finite[finite["study_id"].isna()].drop(columns="study_id")
    near = nearest_in_time(unnamed, listed, "study_id", window_hours)
    joined = pd.concat([named.assign(order=0), near.assign(order=1)], ignore_index=True)
    steps.keep("names a study of the patient, or is within the window of one", joined)
    joined = steps.keep("the study has a teacher target", joined[joined["study_id"].isin(targets["study_id"])])
    joined = joined.assign(distance=joined["gap_hours"].abs())
    joined = joined.sort_values(["study_id", "measurement", "order", "distance", "value", "unit"])
    return steps.keep("one value per study and measurement", joined.drop_duplicates(["study_id", "measurement"]))


def nearest_in_time(rows: pd.DataFrame, candidates: pd.DataFrame, name: str, window_hours: float) -> pd.DataFrame:
    """Matches each row with its patient's nearest candidate in time.

    It sorts and merges, so it never builds all pairs.
    Of two equally near candidates the earlier one is taken, then the smaller `name`.

    Args:
        rows: columns `patient_id`, `hours` and others.
        candidates: columns `patient_id`, `hours` and `name`.
        name: column that identifies candidates; `rows` must not have it.
        window_hours: largest absolute gap, h.

    Returns:
        The rows with a candidate within the window, with `name` and `gap_hours` (candidate minus row, h). Order and
        index may change.
    """
    if rows.empty or candidates.empty:  # pandas cannot match Arrow-backed strings of two empty frames
        return rows.head(0).assign(**{name: candidates[name].head(0), "gap_hours": 0.0})
    # One candidate per moment. Of equal times, the backward merge would take the last and the forward merge the first.
    moments = candidates.sort_values(["hours", "patient_id", name]).drop_duplicates(["patient_id", "hours"])
    moments = moments[["patient_id", "hours", name]].rename(columns={"hours": "candidate_hours"})
    rows = rows.sort_values("hours", kind="stable")
    matches = [
        pd.merge_asof(rows, moments, left_on="hours", right_on="candidate_hours", by="patient_id", direction=direction)
        for direction in ("backward", "forward")
    ]
    earlier, later = (match.assign(gap_hours=match["candidate_hours"] - match["hours"]) for match in matches)
    use_later = later["gap_hours"].abs().lt(earlier["gap_hours"].abs()) | earlier["gap_hours"].isna()
    nearest = earlier.where(~use_later, later)
    return nearest[nearest["gap_hours"].abs() <= window_hours].drop(columns="candidate_hours")


def list_studies(echoes: pa.Table) -> pd.DataFrame:
    """Lists every study of the catalog with the time of its earliest clip: `study_id`, `patient_id`, `hours`."""
    clips = to_frame(echoes, "study_id", "patient_id", "hours")
    return clips.groupby(["study_id", "patient_id"], as_index=False)["hours"].min()


def to_frame(table: pa.Table, *columns: str) -> pd.DataFrame:
    """Converts columns of a table, or the whole table, to pandas."""
    return table.select(list(columns) or table.column_names).to_pandas()


def _table(contract: TableContract, frame: pd.DataFrame) -> pa.Table:
    """Returns the contract's columns as a checked table, sorted by the columns that are unique."""
    rows = frame.sort_values(list(contract.unique))[contract.schema.names]
    return contract.check(pa.Table.from_pandas(rows, schema=contract.schema, preserve_index=False))
