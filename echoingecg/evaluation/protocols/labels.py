"""Labels of studies: checks the unit and the range of each measurement, then makes the endpoint's comparison."""

import operator
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from echoingecg.recipe import Endpoint
from echoingecg.recipe.evaluation import MeasurementEndpoint, ThresholdBySex

NO_LABEL = -1
COMPARISONS: dict[str, Callable[[np.ndarray, float | np.ndarray], np.ndarray]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class StudyValues:
    """Measured values of s studies, and how many were left out.

    Attributes:
        value: (s,) float64 in the endpoint's unit, NaN where there is none.
        absent: studies without the measurement.
        unit_mismatch: studies whose value has another unit than the endpoint's.
        impossible: studies whose value is not a number within valid_range, ends included.
    """

    value: np.ndarray
    absent: int
    unit_mismatch: int
    impossible: int

    @property
    def known(self) -> np.ndarray:
        """Whether each study has a value, (s,) bool."""
        return np.isfinite(self.value)


@dataclass(frozen=True)
class StudyLabels(StudyValues):
    """Measured values of s studies with labels.

    Attributes:
        label: (s,) int8, 1, 0, or NO_LABEL.
        sex_unknown: studies without a value only because the threshold depends on sex, which is not known.
    """

    label: np.ndarray
    sex_unknown: int


def study_values(endpoint: MeasurementEndpoint, labels: pa.Table, study_id: np.ndarray) -> StudyValues:
    """Looks up the measurement of each study; a value in another unit is counted and left out, never converted.

    Args:
        endpoint: what is measured.
        labels: pairs.LABELS.
        study_id: (s,) str, the studies to look up.
    """
    chosen = labels.filter(pc.equal(labels["measurement"], endpoint.measurement))
    rows = {row["study_id"]: row for row in chosen.select(["study_id", "value", "unit"]).to_pylist()}
    low, high = endpoint.valid_range
    value = np.full(len(study_id), np.nan)
    absent = unit_mismatch = impossible = 0
    for index, study in enumerate(study_id.tolist()):
        row = rows.get(study)
        if row is None:
            absent += 1
        elif row["unit"] != endpoint.unit:
            unit_mismatch += 1
        elif not low <= row["value"] <= high:
            impossible += 1
        else:
            value[index] = row["value"]
    return StudyValues(value, absent, unit_mismatch, impossible)


def label_studies(
    endpoint: Endpoint, labels: pa.Table, study_id: np.ndarray, sex: np.ndarray | None = None
) -> StudyLabels:
    """Labels each study: 1 where its value meets the endpoint's comparison.

    Args:
        endpoint, labels, study_id: as in `study_values`.
        sex: (s,) str, F or M of the study's patient, anything else where it is not known; None for none known.
    """
    studies = study_values(endpoint, labels, study_id)
    threshold = endpoint.threshold
    limit: float | np.ndarray = np.nan
    if isinstance(threshold, ThresholdBySex):
        if sex is not None:
            limit = np.select([sex == "F", sex == "M"], [threshold.F, threshold.M], np.nan)
    else:
        limit = threshold
    value = np.where(np.isnan(limit), np.nan, studies.value)
    meets = COMPARISONS[endpoint.comparison](value, limit)
    label = np.where(np.isfinite(value), meets, NO_LABEL).astype(np.int8)
    return StudyLabels(
        **vars(studies) | {"value": value}, label=label, sex_unknown=int((studies.known & np.isnan(value)).sum())
    )


def sex_of_patients(patient: np.ndarray, sex: np.ndarray) -> dict[str, str]:
    """Sex, F or M, of each patient whose ECGs state one of them and nothing else.

    Args:
        patient: (r,) str, of the ECGs.
        sex: (r,) str, as the export states it for each ECG; empty where it does not.
    """
    stated = np.unique(np.stack([patient, sex], axis=1)[sex != ""], axis=0)
    names, count = np.unique(stated[:, 0], return_counts=True)
    once = set(names[count == 1].tolist())
    return {name: stated_sex for name, stated_sex in stated.tolist() if name in once and stated_sex in ("F", "M")}
