"""Labels: which measured value belongs to which ECG.

A value that the export states for one ECG belongs to it. Every other value belongs to an exam: the echo study that it
names, or its patient's nearest study in time, or an exam without clips. An exam is an event in time, and a rule of the
recipe says which ECG it labels.
"""

import numpy as np
import pandas as pd

from echoingecg.pairs.split import FilterSteps
from echoingecg.recipe.stages import LabelSettings

COLUMNS = ("record_id", "patient_id", "study_id", "measurement", "value", "upper", "words", "unit", "gap_hours")
_STATED, _NAMED, _NEAR = range(3)  # how a row comes to its ECG or exam; the first is the surest


def label_ecgs(
    measurements: pd.DataFrame,
    studies: pd.DataFrame,
    signals: pd.DataFrame,
    window_hours: float,
    settings: LabelSettings,
    steps: FilterSteps,
) -> pd.DataFrame:
    """Assigns measured values to ECGs: one value per ECG and measurement.

    Of several values for one ECG and measurement, one stated for the ECG is preferred, then that of the exam nearest to
    the ECG in time, in it one that names the study, then the nearest to the study, then the smallest.

    Args:
        measurements: catalog table MEASUREMENTS.
        studies: every study of the catalog: `study_id`, `patient_id`, `hours`.
        signals: usable signals: `recording_id`, `record_id`, `patient_id`, `hours`.
        window_hours: largest time between a study and a measurement that names none, h.
        settings: which exams count, and which ECG an exam labels.
        steps: records the number of rows after each condition.

    Returns:
        COLUMNS; `gap_hours` is the ECG time minus the exam time, NaN for a value stated for the ECG; `study_id` is
        null for an exam without clips.
    """
    steps.keep("measurements listed", measurements)
    is_known = np.isfinite(measurements["value"]) | measurements["words"].notna()
    known = steps.keep("it has a value or a finding in words", measurements[is_known])
    is_typed = known["exam_type"].isna() | known["study_id"].notna() | known["recording_id"].notna()
    if settings.exam_types:
        is_typed |= known["exam_type"].isin(settings.exam_types)
        known = known[is_typed]
    known = steps.keep("the recipe asks for exams of this type, or it names a study or an ECG", known)
    stated = _stated(known, signals)
    values = _values_of_exams(known[known["recording_id"].isna()].drop(columns="recording_id"), studies, window_hours)
    chosen = _ECGS_OF_EXAMS[settings.rule](values, signals, settings.window_hours)
    of_exams = chosen.merge(signals[["recording_id", "record_id"]], on="recording_id")
    joined = steps.keep(
        "it is stated for a usable ECG, or the recipe's rule gives its exam one",
        pd.concat([part for part in (stated, of_exams) if len(part)] or [of_exams], ignore_index=True),
    )
    joined = joined.assign(gap_size=joined["gap_hours"].abs())
    joined = joined.sort_values(
        ["record_id", "measurement", "is_of_exam", "gap_size", "exam", "origin", "distance", "value", "words", "unit"]
    )
    return steps.keep("one value per ECG and measurement", joined.drop_duplicates(["record_id", "measurement"]))


def values_of_studies(measurements: pd.DataFrame, studies: pd.DataFrame, window_hours: float) -> pd.DataFrame:
    """The number of each study and measurement, chosen as in `label_ecgs`: `study_id`, `measurement`, `value`, `unit`.

    Args:
        measurements: catalog table MEASUREMENTS.
        studies: every study of the catalog: `study_id`, `patient_id`, `hours`.
        window_hours: largest time between a study and a measurement that names none, h.
    """
    numbers = measurements[np.isfinite(measurements["value"])]
    values = _values_of_exams(numbers, studies, window_hours)
    values = values[values["study_id"].notna()]
    values = values.sort_values(["study_id", "measurement", "origin", "distance", "value", "unit"])
    return values.drop_duplicates(["study_id", "measurement"])


def _stated(known: pd.DataFrame, signals: pd.DataFrame) -> pd.DataFrame:
    """Values that the export states for one ECG."""
    own = known[known["recording_id"].notna()]
    own = own.merge(signals.drop(columns="hours"), on=["recording_id", "patient_id"])
    return own.assign(gap_hours=np.nan, exam="", is_of_exam=False, origin=_STATED, distance=0.0)


def _values_of_exams(known: pd.DataFrame, studies: pd.DataFrame, window_hours: float) -> pd.DataFrame:
    """Values with the exam that they belong to, and its time: the columns `exam`, `exam_hours`, `origin`, `distance`.

    A study whose exam is named by its number takes no value by its date.
    """
    named = known[known["study_id"].notna()].merge(studies, on=["study_id", "patient_id"], suffixes=("", "_study"))
    named = named.assign(origin=_NAMED, exam_hours=named["hours_study"], distance=0.0).drop(columns="hours_study")
    named["distance"] = (named["exam_hours"] - named["hours"]).abs()
    by_number = named.loc[named["exam_id"].notna(), "study_id"]
    free = known[known["study_id"].isna()].drop(columns="study_id")
    near = nearest_in_time(free, studies[~studies["study_id"].isin(by_number)], "study_id", window_hours)
    alone = free[~free.index.isin(near.index)].assign(study_id=None, distance=0.0, origin=_NAMED)
    near = near.assign(exam_hours=near["hours"] + near["gap_hours"], distance=near["gap_hours"].abs(), origin=_NEAR)
    own_exam = alone["exam_id"].where(alone["exam_id"].notna(), alone["hours"].map("{:.6f}".format))
    alone = alone.assign(exam_hours=alone["hours"], exam=own_exam)
    parts = [part.assign(exam=part["study_id"]) for part in (named, near.drop(columns="gap_hours"))]
    parts = [part for part in (*parts, alone) if len(part)] or [alone]
    return pd.concat(parts, ignore_index=True).assign(is_of_exam=True)


def _nearest(values: pd.DataFrame, signals: pd.DataFrame, window_hours: float) -> pd.DataFrame:
    """Each exam labels the recording nearest to it."""
    exams = values[["patient_id", "exam", "exam_hours"]].drop_duplicates(["patient_id", "exam"])
    near = nearest_in_time(exams.rename(columns={"exam_hours": "hours"}), signals, "recording_id", window_hours)
    return values.merge(near[["patient_id", "exam", "recording_id", "gap_hours"]], on=["patient_id", "exam"])


def _every(values: pd.DataFrame, signals: pd.DataFrame, window_hours: float, is_before: bool = False) -> pd.DataFrame:
    """Each recording has the value of the exam nearest to it, for each measurement; or of the next exam."""
    recordings = signals[["patient_id", "recording_id", "hours"]].drop_duplicates("recording_id")
    parts = []
    for measurement, of_measurement in values.groupby("measurement", sort=True):
        exams = of_measurement[["patient_id", "exam", "exam_hours"]].drop_duplicates(["patient_id", "exam"])
        exams = exams.rename(columns={"exam_hours": "hours"})
        near = nearest_in_time(recordings, exams, "exam", window_hours, only_later=is_before)
        near = near.assign(gap_hours=-near["gap_hours"], measurement=measurement)
        columns = ["patient_id", "exam", "recording_id", "gap_hours", "measurement"]
        parts.append(of_measurement.merge(near[columns], on=["patient_id", "exam", "measurement"]))
    return pd.concat(parts, ignore_index=True) if parts else _nearest(values, signals, window_hours)


def _before(values: pd.DataFrame, signals: pd.DataFrame, window_hours: float) -> pd.DataFrame:
    """Each recording has the value of the next exam: the ECG comes first, as where it is to predict the echo."""
    return _every(values, signals, window_hours, is_before=True)


def _first(values: pd.DataFrame, signals: pd.DataFrame, window_hours: float) -> pd.DataFrame:
    """The first recording of each patient that has a signal gets its values by `_every`."""
    ordered = signals.sort_values(["patient_id", "hours", "recording_id"])
    first = ordered.drop_duplicates("patient_id")["recording_id"]
    return _every(values, signals[signals["recording_id"].isin(first)], window_hours)


_ECGS_OF_EXAMS = {"nearest": _nearest, "every": _every, "before": _before, "first": _first}


def nearest_in_time(
    rows: pd.DataFrame, candidates: pd.DataFrame, name: str, window_hours: float, only_later: bool = False
) -> pd.DataFrame:
    """Matches each row with its patient's nearest candidate in time.

    It sorts and merges, so it never builds all pairs.
    Of two equally near candidates the earlier one is taken, then the smaller `name`.

    Args:
        rows: columns `patient_id`, `hours` and others.
        candidates: columns `patient_id`, `hours` and `name`.
        name: column that identifies candidates; `rows` must not have it.
        window_hours: largest absolute gap, h.
        only_later: candidates before the row do not count; one at the same time does.

    Returns:
        The rows with a candidate within the window, with their index, `name` and `gap_hours` (candidate minus row, h).
        The order may change.
    """
    if rows.empty or candidates.empty:  # pandas cannot match Arrow-backed strings of two empty frames
        return rows.head(0).assign(**{name: candidates[name].head(0), "gap_hours": 0.0})
    # One candidate per moment. Of equal times, the backward merge would take the last and the forward merge the first.
    moments = candidates.sort_values(["hours", "patient_id", name]).drop_duplicates(["patient_id", "hours"])
    moments = moments[["patient_id", "hours", name]].rename(columns={"hours": "candidate_hours"})
    rows = rows.sort_values("hours", kind="stable")
    index = rows.index
    matches = [
        pd.merge_asof(rows, moments, left_on="hours", right_on="candidate_hours", by="patient_id", direction=direction)
        for direction in ("backward", "forward")
    ]
    earlier, later = (
        match.assign(gap_hours=match["candidate_hours"] - match["hours"]).set_axis(index) for match in matches
    )
    use_later = later["gap_hours"].abs().lt(earlier["gap_hours"].abs()) | earlier["gap_hours"].isna() | only_later
    nearest = earlier.where(~use_later, later)
    return nearest[nearest["gap_hours"].abs() <= window_hours].drop(columns="candidate_hours")
