"""Labels from measurements: does the study's value meet the endpoint's comparison?"""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from echoingecg.recipe import Endpoint

NO_LABEL: Final = -1
COMPARISONS: Final[dict[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class StudyLabels:
    """Labels of s studies, and how many were left out.

    Attributes:
        label: (s,) int8: 1, 0, or NO_LABEL.
        absent: studies without the measurement.
        unit_mismatch: studies whose value has another unit than the endpoint's.
        impossible: studies whose value is not a number within valid_range, ends included.
    """

    label: np.ndarray
    absent: int
    unit_mismatch: int
    impossible: int

    @property
    def labelled(self) -> int:
        return int((self.label != NO_LABEL).sum())


def label_studies(endpoint: Endpoint, labels: pa.Table, study_id: np.ndarray) -> StudyLabels:
    """Compares, never converts: a value in another unit is counted and left out.

    Args:
        endpoint: the question.
        labels: pairs.LABELS.
        study_id: (s,) str, the studies to label.
    """
    chosen = labels.filter(pc.equal(labels["measurement"], endpoint.measurement))
    found = {row["study_id"]: row for row in chosen.select(["study_id", "value", "unit"]).to_pylist()}
    low, high = endpoint.valid_range
    meets = COMPARISONS[endpoint.comparison]
    label = np.full(len(study_id), NO_LABEL, np.int8)
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
            label[at] = meets(row["value"], endpoint.threshold)
    return StudyLabels(label, absent, unit_mismatch, impossible)
