"""Builds ECG-echo pairs, ECG-text pairs and labels, each with the patient's side of the split.

Source: EchoingECG, section 3 (data). The FILTERS table counts the rows that are left after each condition.
"""

import numpy as np
import pandas as pd
import pyarrow as pa

from data_contracts.pairs import ECG_ECHO, ECG_TEXT, FILTERS, LABELS, PATIENTS, check_no_leakage
from data_contracts.tables import TableContract
from echoingecg.pairs.labels import label_ecgs, nearest_in_time
from echoingecg.pairs.split import FilterSteps, split_patients
from echoingecg.recipe.stages import PairsSettings

WANTED = "no finding leaves the ECG out, or the patient is on the test side"


def build(
    ecgs: pa.Table,
    echoes: pa.Table,
    reports: pa.Table,
    measurements: pa.Table,
    records: pa.Table,
    studies: pa.Table,
    settings: PairsSettings,
    step_hours: float = 0.0,
) -> dict[str, pa.Table]:
    """Builds all tables of the pairs artefact. The same inputs in any row order give the same tables.

    The time of a study is the time of its earliest clip.

    Args:
        ecgs, echoes, reports, measurements: tables of the catalog artefact, with exact hours.
        records: RECORDS of the ecg artefact: the usable ECGs; those whose `use` is not `keep` are paired on the test
            side only.
        studies: STUDIES of the teacher artefact: the studies with a target.
        settings: the recipe's section `pairs`: time windows, text methods, split.
        step_hours: gaps are given as the middle of a step of so many hours; 0 gives them as they are. Of an ECG's
            studies the nearest comes first all the same.

    Returns:
        Tables by name: patients, ecg_echo, ecg_text, labels, filters.

    Raises:
        ContractError: a table breaks its contract, or a patient would be on two sides of the split.
        UserError: no ECG states a side that `settings.split_by` asks for.
    """
    recordings = to_frame(ecgs, "record_id", "patient_id", "hours").rename(columns={"record_id": "recording_id"})
    usable = recordings.merge(to_frame(records, "recording_id", "record_id", "use"), on="recording_id")
    listed = list_studies(echoes)
    with_target = listed.merge(to_frame(studies, "study_id", "patient_id"), on=["study_id", "patient_id"])

    patients = pd.DataFrame({"patient_id": sorted({*usable["patient_id"], *with_target["patient_id"]})}, dtype="str")
    of_split = FilterSteps("split")
    splits = split_patients(patients["patient_id"].to_list(), measurements, settings, of_split)
    is_wanted = (usable["use"] == "keep") | (usable["patient_id"].map(splits) == "test")
    usable = usable.drop(columns="use").assign(is_wanted=is_wanted.astype(bool))

    steps = [FilterSteps("ecg_echo"), FilterSteps("ecg_text"), FilterSteps("labels")]
    ecg_echo = _ecg_echo(listed, with_target, usable, settings, steps[0])
    ecg_text = _ecg_text(to_frame(reports), usable, ecg_echo, settings, steps[1])
    measured = to_frame(measurements).rename(columns={"record_id": "recording_id"})
    wanted = usable[usable["is_wanted"]]
    labels = label_ecgs(measured, listed, wanted, settings.measurement_window_hours, settings.labels, steps[2])

    ecg_echo = ecg_echo.assign(distance=ecg_echo["gap_hours"].abs())
    ecg_echo, labels = (
        frame.assign(gap_hours=coarse_gaps(frame["gap_hours"], step_hours)) for frame in (ecg_echo, labels)
    )
    tables = {
        contract.name: _table(contract, frame.assign(split=frame["patient_id"].map(splits)))
        for contract, frame in ((PATIENTS, patients), (ECG_ECHO, ecg_echo), (ECG_TEXT, ecg_text), (LABELS, labels))
    }
    tables[FILTERS.name] = FILTERS.build([row for pair_steps in (of_split, *steps) for row in pair_steps.rows])
    check_no_leakage(tables[PATIENTS.name], tables[ECG_ECHO.name], tables[ECG_TEXT.name], tables[LABELS.name])
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


def list_studies(echoes: pa.Table) -> pd.DataFrame:
    """Lists every study of the catalog with the time of its earliest clip: `study_id`, `patient_id`, `hours`."""
    clips = to_frame(echoes, "study_id", "patient_id", "hours")
    return clips.groupby(["study_id", "patient_id"], as_index=False)["hours"].min()


def to_frame(table: pa.Table, *columns: str) -> pd.DataFrame:
    """Converts columns of a table, or the whole table, to pandas."""
    return table.select(list(columns) or table.column_names).to_pandas()


def coarse_gaps(gaps: pd.Series, step_hours: float) -> pd.Series:
    """Returns the middle of each gap's step: a smaller gap stays smaller or becomes equal, and the side of 0 stays.

    Steps are [0, step), [step, 2 step), ... and [-step, 0), [-2 step, -step), ..., as the strata of the evaluation.
    """
    return (np.floor(gaps / step_hours) + 0.5) * step_hours if step_hours else gaps


def _table(contract: TableContract, frame: pd.DataFrame) -> pa.Table:
    """Returns the contract's columns as a checked table, sorted by the columns that are unique, the nearest first."""
    first, *others = contract.unique
    order = [first, "distance", *others] if contract is ECG_ECHO else list(contract.unique)
    rows = frame.sort_values(order)[contract.schema.names]
    return contract.check(pa.Table.from_pandas(rows, schema=contract.schema, preserve_index=False))
