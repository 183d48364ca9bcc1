"""Echo measurements to labels: one value per study and measurement."""

import numpy as np
import pandas as pd

from echoingecg.pairs.nearest import nearest_in_time
from echoingecg.pairs.steps import Steps


def study_labels(
    measurements: pd.DataFrame, listed: pd.DataFrame, targets: pd.DataFrame, window_hours: float, steps: Steps
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
