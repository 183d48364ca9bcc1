"""Values and labels from measurements: is the unit right, is it possible, does it meet the comparison?"""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from echoingecg.recipe import Endpoint
from echoingecg.recipe.evaluation import Measured

NO_LABEL: Final = -1
COMPARISONS: Final[dict[str, Callable[[np.ndarray, float], np.ndarray]]] = {
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
        """(s,) bool."""
        return np.isfinite(self.value)


@dataclass(frozen=True)
class StudyLabels(StudyValues):
    """The same with labels: (s,) int8, 1, 0, or NO_LABEL."""

    label: np.ndarray


def study_values(endpoint: Measured, labels: pa.Table, study_id: np.ndarray) -> StudyValues:
    """Compares units, never converts: a value in another unit is counted and left out.

    Args:
        endpoint: what is measured.
        labels: pairs.LABELS.
        study_id: (s,) str, the studies to look up.
    """
    chosen = labels.filter(pc.equal(labels["measurement"], endpoint.measurement))
    found = {row["study_id"]: row for row in chosen.select(["study_id", "value", "unit"]).to_pylist()}
    low, high = endpoint.valid_range
    value = np.full(len(study_id), np.nan)
    absent = unit_mismatch = impossible = 0
    for at, study in enumerate(study_id.tolist()):
        row = found.get(study)
        if row is None:
            absent += 1
        elif row["unit"] != endpoint.unit:
            unit_mismatch += 1
        elif not low <= row["value"] <= high:
            impossible += 1
        else:
            value[at] = row["value"]
    return StudyValues(value, absent, unit_mismatch, impossible)


def label_studies(endpoint: Endpoint, labels: pa.Table, study_id: np.ndarray) -> StudyLabels:
    """Does each study's value meet the endpoint's comparison? Arguments as `study_values`."""
    found = study_values(endpoint, labels, study_id)
    meets = COMPARISONS[endpoint.comparison](found.value, endpoint.threshold)
    return StudyLabels(**vars(found), label=np.where(found.known, meets, NO_LABEL).astype(np.int8))
