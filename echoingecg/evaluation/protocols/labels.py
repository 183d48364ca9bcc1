"""Labels of ECGs: the measurement's unit and range are checked, then the endpoint's comparison is made."""

import operator
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_contracts.units import factor
from echoingecg.recipe import Endpoint
from echoingecg.recipe.evaluation import MeasurementEndpoint, ThresholdBySex

NO_LABEL = -1
_DECIMALS = 9  # of a converted value: 1.1 cm are 11 mm, not 11.000000000000002
COMPARISONS: dict[str, Callable[[np.ndarray, float | np.ndarray], np.ndarray]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
# What becomes of an ECG's measurement: the first keeps it furthest from a label.
OUTCOMES = ("absent", "unit_mismatch", "impossible", "other_words", "sex_unknown", "between", "labelled")
ABSENT, UNIT_MISMATCH, IMPOSSIBLE, OTHER_WORDS, SEX_UNKNOWN, BETWEEN, LABELLED = range(len(OUTCOMES))


@dataclass(frozen=True)
class MeasuredValues:
    """A measurement of r ECGs, or of r rows of measurements.

    Attributes:
        value: (r,) float64 in the endpoint's unit, the middle of a range; NaN where there is no number.
        outcome: (r,) int8, index into OUTCOMES; for a number to predict, `labelled` means that there is one.
    """

    value: np.ndarray
    outcome: np.ndarray

    @property
    def known(self) -> np.ndarray:
        """Whether each ECG has a label or a value that counts, (r,) bool."""
        return self.outcome == LABELLED

    def counts(self) -> dict[str, int]:
        """ECGs by outcome."""
        return {name: int((self.outcome == index).sum()) for index, name in enumerate(OUTCOMES)}


@dataclass(frozen=True)
class MeasuredLabels(MeasuredValues):
    """A measurement with labels.

    Attributes:
        label: (r,) int8, 1, 0, or NO_LABEL.
        gap_hours: (r,) float64, ECG time minus exam time; NaN without a label.
    """

    label: np.ndarray
    gap_hours: np.ndarray


def ecg_values(endpoint: MeasurementEndpoint, labels: pa.Table, record_id: np.ndarray) -> MeasuredValues:
    """The endpoint's value of each ECG: of several measurements the first that has one.

    Args:
        endpoint: what is measured.
        labels: pairs.LABELS.
        record_id: (r,) str, sorted.
    """
    value, outcome = np.full(len(record_id), np.nan), np.full(len(record_id), ABSENT, np.int8)
    for rows, ecg in _by_measurement(endpoint, labels, record_id):
        low, high, reached = _row_values(endpoint, rows)
        replaced = (outcome[ecg] != LABELLED) & (reached > outcome[ecg])
        value[ecg[replaced]], outcome[ecg[replaced]] = ((low + high) / 2)[replaced], reached[replaced]
    return MeasuredValues(np.where(outcome == LABELLED, value, np.nan), outcome)


def label_ecgs(
    endpoint: Endpoint, labels: pa.Table, record_id: np.ndarray, sex: np.ndarray | None = None
) -> MeasuredLabels:
    """Labels each ECG: 1 where the endpoint's comparison holds, or its words say so.

    Of several measurements the first with a label counts, or with `combine: any` label 1 of any of them.

    Args:
        endpoint, labels, record_id: as in `ecg_values`.
        sex: (r,) str, F or M, anything else where it is not known; None for none known.
    """
    size = len(record_id)
    value, outcome = np.full(size, np.nan), np.full(size, ABSENT, np.int8)
    label, gap = np.full(size, NO_LABEL, np.int8), np.full(size, np.nan)
    for rows, ecg in _by_measurement(endpoint, labels, record_id):
        of_rows = label_rows(endpoint, rows, None if sex is None else sex[ecg])
        replaced = (outcome[ecg] != LABELLED) & (of_rows.outcome > outcome[ecg])
        if endpoint.combine == "any":
            replaced |= (of_rows.label == 1) & (label[ecg] == 0)
        own = ecg[replaced]
        value[own], outcome[own] = of_rows.value[replaced], of_rows.outcome[replaced]
        label[own], gap[own] = of_rows.label[replaced], rows["gap_hours"].to_numpy()[replaced]
    return MeasuredLabels(value, outcome, label, np.where(outcome == LABELLED, gap, np.nan))


def label_rows(endpoint: Endpoint, rows: pa.Table, sex: np.ndarray | None = None) -> MeasuredLabels:
    """Labels rows of measurements, whatever their names.

    A range that has the threshold inside has no label; one that only touches it is judged by its middle.

    Args:
        endpoint: the question.
        rows: columns `value`, `upper`, `words` and `unit` as in pairs.LABELS.
        sex: (r,) str, as in `label_ecgs`.
    """
    low, high, outcome = _row_values(endpoint, rows)
    middle = (low + high) / 2
    limit = _limits(endpoint, sex, len(low))
    is_number = outcome == LABELLED
    outcome = np.where(is_number & np.isnan(limit), SEX_UNKNOWN, outcome)
    outcome = np.where(is_number & (low < limit) & (limit < high), BETWEEN, outcome)
    label = np.where(outcome == LABELLED, COMPARISONS[endpoint.comparison](middle, limit), NO_LABEL).astype(np.int8)
    words = _words(rows)
    for stated, of_label in ((endpoint.negative_words, 0), (endpoint.positive_words, 1)):
        is_listed = np.isin(words, [_plain(text) for text in stated])
        label[is_listed], outcome = of_label, np.where(is_listed, LABELLED, outcome)
    value = np.where(is_number, middle, np.nan)
    return MeasuredLabels(value, outcome.astype(np.int8), label, np.full(len(label), np.nan))


def row_outcomes(endpoint: MeasurementEndpoint, rows: pa.Table, sex: np.ndarray | None = None) -> np.ndarray:
    """Returns what becomes of each row of measurements: (n,) int8, index into OUTCOMES.

    Args:
        endpoint: a question, or a number to predict.
        rows, sex: as in `label_rows`.
    """
    return label_rows(endpoint, rows, sex).outcome if isinstance(endpoint, Endpoint) else _row_values(endpoint, rows)[2]


def _by_measurement(
    endpoint: MeasurementEndpoint, labels: pa.Table, record_id: np.ndarray
) -> list[tuple[pa.Table, np.ndarray]]:
    """For each of the endpoint's measurements its rows, and the ECG that each belongs to, (n,) int64."""
    parts = []
    for name in endpoint.measurements:
        rows = labels.filter(pc.equal(labels["measurement"], name))
        owner = np.array(rows["record_id"].to_pylist(), dtype=np.str_)
        place = np.searchsorted(record_id, owner)
        is_asked = place < len(record_id)
        is_asked[is_asked] = record_id[place[is_asked]] == owner[is_asked]
        parts.append((rows.filter(pa.array(is_asked)), place[is_asked]))
    return parts


def _row_values(endpoint: MeasurementEndpoint, rows: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lower and upper end in the endpoint's unit, equal for a plain number, and the outcome; each (n,)."""
    value = rows["value"].to_numpy().astype(np.float64)
    upper = rows["upper"].to_numpy().astype(np.float64)
    unit = np.array(rows["unit"].to_pylist(), dtype=np.str_)
    factors = np.full(len(value), np.nan)
    for stated in np.unique(unit).tolist():
        known = factor(stated, endpoint.unit)
        factors[unit == stated] = np.nan if known is None else known
    low, high = (np.round(end * factors, _DECIMALS) for end in (value, np.where(np.isnan(upper), value, upper)))
    least, most = endpoint.valid_range
    outcome = np.full(len(value), LABELLED, np.int8)
    with np.errstate(invalid="ignore"):
        outcome[~((least <= low) & (high <= most) & (low <= high))] = IMPOSSIBLE
    outcome[np.isnan(factors)] = UNIT_MISMATCH
    outcome[_words(rows) != ""] = OTHER_WORDS
    return low, high, outcome


def _limits(endpoint: Endpoint, sex: np.ndarray | None, count: int) -> np.ndarray:
    """The threshold of each row, (n,) float64; NaN where it depends on a sex that is not known."""
    threshold = endpoint.threshold
    if not isinstance(threshold, ThresholdBySex):
        return np.full(count, threshold)
    if sex is None:
        return np.full(count, np.nan)
    return np.select([sex == "F", sex == "M"], [threshold.F, threshold.M], np.nan)


def _words(rows: pa.Table) -> np.ndarray:
    """Findings in words, (n,) str, in small letters with single spaces; empty for numbers."""
    return np.array([_plain(text) if text else "" for text in rows["words"].to_pylist()], dtype=np.str_)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


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
