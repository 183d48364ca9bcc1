"""ECG-echo and ECG-text pairs, labels and the patient split (EchoingECG, section 3: data).

Nearest in time, within the same patient: a sort and a merge instead of all pairs.

Counts of rows after each condition: the FILTERS table says where pairs were lost.

Echo measurements to labels: one value per study and measurement.
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


def nearest_in_time(rows: pd.DataFrame, candidates: pd.DataFrame, name: str, window_hours: float) -> pd.DataFrame:
    """Gives each row its patient's nearest candidate.

    Ties of the absolute gap go to the earlier candidate, then to the smaller `name`.

    Args:
        rows: columns `patient_id`, `hours` and others.
        candidates: columns `patient_id`, `hours` and `name`.
        name: identifier of the candidates; `rows` must not have it.
        window_hours: largest absolute gap, h.

    Returns:
        The rows that have a candidate within the window, with `name` and `gap_hours` (candidate minus row, h);
        order and index are not kept.
    """
    if rows.empty or candidates.empty:  # pandas cannot match Arrow-backed strings of two empty frames
        return rows.head(0).assign(**{name: candidates[name].head(0), "gap_hours": 0.0})
    # One candidate a moment, or the backward merge would take the last of equals and the forward one the first.
    moments = candidates.sort_values(["hours", "patient_id", name]).drop_duplicates(["patient_id", "hours"])
    moments = moments[["patient_id", "hours", name]].rename(columns={"hours": "found_hours"})
    rows = rows.sort_values("hours", kind="stable")
    sides = [
        pd.merge_asof(rows, moments, left_on="hours", right_on="found_hours", by="patient_id", direction=direction)
        for direction in ("backward", "forward")
    ]
    earlier, later = (side.assign(gap_hours=side["found_hours"] - side["hours"]) for side in sides)
    use_later = later["gap_hours"].abs().lt(earlier["gap_hours"].abs()) | earlier["gap_hours"].isna()
    found = earlier.where(~use_later, later)
    return found[found["gap_hours"].abs() <= window_hours].drop(columns="found_hours")


@dataclass(frozen=True)
class FilterSteps:
    """The conditions of one kind of pair, in the order applied.

    Attributes:
        pair: ecg_echo, ecg_text or labels.
        rows: rows of the FILTERS table so far.
    """

    pair: str
    rows: list[dict[str, Any]] = field(default_factory=list)

    def keep(self, step: str, frame: pd.DataFrame) -> pd.DataFrame:
        """Notes how many rows are left after `step`; returns the frame as it is."""
        self.rows.append({"pair": self.pair, "step": step, "kept": len(frame)})
        return frame


def study_labels(
    measurements: pd.DataFrame, listed: pd.DataFrame, targets: pd.DataFrame, window_hours: float, steps: FilterSteps
) -> pd.DataFrame:
    """Which measured value holds for which study.

    A measurement that names a study belongs to that study alone. One that names none belongs to its patient's
    nearest study in time, within the window. Of several values for one study and measurement the one that names
    the study counts, then the nearest in time, then the smallest.

    Args:
        measurements: catalog table MEASUREMENTS.
        listed: every study of the catalog, with or without a target: `study_id`, `patient_id`, `hours`. A study
            without target keeps its measurements, so that they do not go to a neighbour.
        targets: studies with a teacher target: `study_id`.
        window_hours: largest time between a study and a measurement that names none, h.
        steps: receives the counts.

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


def build(
    ecgs: pa.Table,
    echoes: pa.Table,
    reports: pa.Table,
    measurements: pa.Table,
    records: pa.Table,
    studies: pa.Table,
    settings: PairsSettings,
) -> dict[str, pa.Table]:
    """All tables of the pairs artefact; the same inputs in any row order give the same tables.

    A study's time is that of its earliest clip.

    Args:
        ecgs, echoes, reports, measurements: tables of the catalog artefact.
        records: RECORDS of the ecg artefact: the usable ECGs.
        studies: STUDIES of the teacher artefact: the studies with a target.
        settings: windows, text methods, split.

    Returns:
        Table by name: patients, ecg_echo, ecg_text, labels, filters.

    Raises:
        ContractError: a table breaks its contract, or a patient would stand on two sides of the split.
    """
    recordings = to_frame(ecgs, "record_id", "patient_id", "hours").rename(columns={"record_id": "recording_id"})
    usable = recordings.merge(to_frame(records, "recording_id", "record_id"), on="recording_id")
    listed = list_studies(echoes)
    with_target = listed.merge(to_frame(studies, "study_id", "patient_id"), on=["study_id", "patient_id"])

    steps = [FilterSteps("ecg_echo"), FilterSteps("ecg_text"), FilterSteps("labels")]
    ecg_echo = _ecg_echo(listed, with_target, usable, settings, steps[0])
    ecg_text = _ecg_text(to_frame(reports), usable, ecg_echo, settings, steps[1])
    labels = study_labels(to_frame(measurements), listed, with_target, settings.measurement_window_hours, steps[2])

    patients = pd.DataFrame({"patient_id": sorted({*usable["patient_id"], *with_target["patient_id"]})}, dtype="str")
    sides = {one: assign_split(one, settings.split_key, settings.split) for one in patients["patient_id"]}
    tables = {
        contract.name: _table(contract, frame.assign(split=frame["patient_id"].map(sides)))
        for contract, frame in ((PATIENTS, patients), (ECG_ECHO, ecg_echo), (ECG_TEXT, ecg_text), (LABELS, labels))
    }
    tables[FILTERS.name] = FILTERS.build([row for one in steps for row in one.rows])
    check_no_leakage(tables[PATIENTS.name], tables[ECG_ECHO.name], tables[ECG_TEXT.name])
    return tables


def _ecg_echo(
    listed: pd.DataFrame, with_target: pd.DataFrame, usable: pd.DataFrame, settings: PairsSettings, steps: FilterSteps
) -> pd.DataFrame:
    """Each study with its nearest usable recording, and that with each of its signals.

    Columns `study_id`, `patient_id`, `hours`, `recording_id`, `gap_hours`, `record_id`.
    """
    steps.keep("studies listed", listed)
    steps.keep("the study has a teacher target", with_target)
    known = steps.keep(
        "the patient has a usable ECG", with_target[with_target["patient_id"].isin(usable["patient_id"])]
    )
    near = nearest_in_time(known, usable, "recording_id", settings.window_hours)
    return steps.keep("an ECG is within the window", near.merge(usable[["recording_id", "record_id"]]))


def _ecg_text(
    reports: pd.DataFrame, usable: pd.DataFrame, ecg_echo: pd.DataFrame, settings: PairsSettings, steps: FilterSteps
) -> pd.DataFrame:
    """Each usable ECG with its own report, and each paired ECG with the reports of its echo study."""
    steps.keep("reports listed", reports)
    asked = steps.keep("the recipe asks for the method", reports[reports["method"].isin(settings.text_methods)])
    worded = steps.keep("the text is not blank", asked[asked["text"].str.strip() != ""])
    subjects = pd.concat(
        [
            usable.assign(method="ECG", subject_id=usable["recording_id"]),
            ecg_echo.assign(method="ECHO", subject_id=ecg_echo["study_id"]),
        ]
    )[["method", "subject_id", "patient_id", "record_id"]]
    paired = worded.merge(subjects, on=["method", "subject_id", "patient_id"])
    return steps.keep("it is about a usable ECG or a paired study of the patient", paired)


def list_studies(echoes: pa.Table) -> pd.DataFrame:
    """Every study of the catalog at the time of its earliest clip: `study_id`, `patient_id`, `hours`."""
    clips = to_frame(echoes, "study_id", "patient_id", "hours")
    return clips.groupby(["study_id", "patient_id"], as_index=False)["hours"].min()


def to_frame(table: pa.Table, *columns: str) -> pd.DataFrame:
    """Some columns of a table, or all of them."""
    return table.select(list(columns) or table.column_names).to_pandas()


def _table(contract: TableContract, frame: pd.DataFrame) -> pa.Table:
    """The contract's columns, sorted by its unique ones."""
    rows = frame.sort_values(list(contract.unique))[contract.schema.names]
    return contract.check(pa.Table.from_pandas(rows, schema=contract.schema, preserve_index=False))
