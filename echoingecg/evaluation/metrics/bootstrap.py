"""Bootstrap over whole patients, in bounded memory: intervals of metrics, and paired differences of two students.

Shape legend: n = records, P = their patients, k = resamples held at once.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

# How often each patient is drawn, (k, P) float64 -> one value for each resample, (k,) float64; nan where there is none.
Statistic = Callable[[np.ndarray], np.ndarray]
_ELEMENTS = 2_000_000  # bootstrap weights held at once: 16 MB


@dataclass(frozen=True)
class Estimate:
    """A metric with its 95 % interval; None where it cannot be given."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Patients:
    """Which patient each record belongs to.

    Attributes:
        owner: (n,) int64, the patient of each record; patients are numbered in the order of their names.
        count: P.
    """

    owner: np.ndarray
    count: int

    @classmethod
    def from_names(cls, patient: np.ndarray) -> Self:
        """Patients from the patient's name of each record, (n,) str."""
        names, owner = np.unique(patient, return_inverse=True)
        return cls(owner, len(names))

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sums the records' values, (n,), for each patient: (P,) float64."""
        return np.bincount(self.owner, weights=values, minlength=self.count)

    def count_among(self, records: np.ndarray) -> int:
        """Number of patients with a record among those marked, (n,) bool."""
        return len(np.unique(self.owner[records]))


@dataclass(frozen=True)
class Metric:
    """A statistic, and the groups of records that it needs.

    Attributes:
        statistic: its value for given bootstrap weights: how often each patient was drawn.
        needs: (n,) bool for each group. Without a record in a group there is no value. With records of a single patient
            there is no interval: every resample holds the same patient, so its spread says nothing about patients.
    """

    statistic: Statistic
    needs: tuple[np.ndarray, ...]


def estimate_metrics(metrics: Mapping[str, Metric], patients: Patients, draws: int, seed: int) -> dict[str, Estimate]:
    """Values and percentile intervals (2.5 %, 97.5 %) over patients (Efron and Tibshirani 1993, chapter 13).

    Args:
        metrics: by name, all of the same records.
        patients: of the records; a patient's records are drawn together.
        draws: number of resamples; a resample without a value is left out of the interval.
        seed: of the resamples; equal patients and seed give equal resamples.
    """
    fewest = {name: min(patients.count_among(records) for records in metric.needs) for name, metric in metrics.items()}
    whole = np.ones((1, patients.count))
    values = {name: float(metrics[name].statistic(whole)[0]) for name, few in fewest.items() if few > 0}
    values = {name: value for name, value in values.items() if not np.isnan(value)}
    drawn = resample_metrics({name: metrics[name] for name, few in fewest.items() if few > 1}, patients, draws, seed)
    return {name: Estimate(values.get(name), *percentile_interval(drawn.get(name, np.empty(0)))) for name in metrics}


def resample_metrics(metrics: Mapping[str, Metric], patients: Patients, draws: int, seed: int) -> dict[str, np.ndarray]:
    """Values of each metric on all resamples: (draws,) float64, nan where a metric has no value."""
    values = {name: np.empty(draws) for name in metrics}
    start = 0
    for drawn in _resamples(patients, draws if metrics else 0, seed):
        stop = start + len(drawn)
        for name, metric in metrics.items():
            values[name][start:stop] = metric.statistic(drawn)
        start = stop
    return values


class Ranking:
    """Records ranked by a value; equal values form one group, t groups in all.

    Args:
        value: (n,); the lowest comes first.
        marked: (n,) bool, the records that are also counted separately.
        patients: of the n records.
    """

    def __init__(self, value: np.ndarray, marked: np.ndarray, patients: Patients) -> None:
        order = np.argsort(value, kind="stable")
        ordered = value[order]
        self._first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))[: len(value)]
        self._owner = patients.owner[order]
        self._marked = marked[order].astype(np.float64)

    def drawn(self, patients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Number of drawn records in each group, and of those that are marked: (k, t) float64 each."""
        records = np.take(patients, self._owner, axis=1)
        return self._grouped(records), self._grouped(records * self._marked)

    def _grouped(self, records: np.ndarray) -> np.ndarray:
        if len(self._first) == len(self._owner):  # no two values are equal
            return records
        return np.add.reduceat(records, self._first, axis=1)


def percentile_interval(values: np.ndarray) -> tuple[float | None, float | None]:
    """The 2.5th and 97.5th percentile of the values that are not nan; None without any."""
    known = values[~np.isnan(values)]
    if len(known) == 0:
        return None, None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def _resamples(patients: Patients, draws: int, seed: int) -> Iterator[np.ndarray]:
    """Bootstrap weights in chunks, (k, P) float64: how often each patient is drawn; `draws` rows in all."""
    generator = np.random.default_rng(seed)
    count = patients.count
    chunk = max(1, _ELEMENTS // max(len(patients.owner), 1))
    for start in range(0, draws, chunk):
        size = min(chunk, draws - start)
        picks = generator.integers(0, count, size=(size, count))
        flat = picks + count * np.arange(size)[:, None]
        yield np.bincount(flat.ravel(), minlength=size * count).reshape(size, count).astype(np.float64)


@dataclass(frozen=True)
class Difference:
    """First minus second, with its 95 % interval and two-sided p; None where it cannot be given."""

    first: float | None
    second: float | None
    difference: float | None
    low: float | None
    high: float | None
    p: float | None


def paired_differences(
    first: Mapping[str, Metric], second: Mapping[str, Metric], patients: Patients, draws: int, seed: int
) -> dict[str, Difference]:
    """Differences of two students' metrics, both on the same resamples of the same patients.

    p is twice the share of resampled differences on the other side of 0 (Efron and Tibshirani 1993, chapter 15, by
    inverting the percentile interval), with one added to numerator and denominator so that it is never 0.

    Args:
        first, second: metrics by name, of the same records in the same order; names in both are compared.
        patients: of the records.
        draws, seed: as in `estimate_metrics`.
    """
    names = [name for name in first if name in second]
    sides = [{name: metrics[name] for name in names} for metrics in (first, second)]
    values = [estimate_metrics(metrics, patients, 0, seed) for metrics in sides]
    drawn = [resample_metrics(metrics, patients, draws, seed) for metrics in sides]
    differences = {}
    for name in names:
        a, b = (estimates[name].value for estimates in values)
        fewest = min(patients.count_among(records) for records in first[name].needs + second[name].needs)
        spread = drawn[0][name] - drawn[1][name] if fewest > 1 else np.empty(0)
        difference = None if a is None or b is None else a - b
        differences[name] = Difference(a, b, difference, *percentile_interval(spread), _two_sided(spread))
    return differences


def _two_sided(differences: np.ndarray) -> float | None:
    known = differences[~np.isnan(differences)]
    if len(known) == 0:
        return None
    tail = min(int((known <= 0).sum()), int((known >= 0).sum()))
    return min(1.0, 2 * (tail + 1) / (len(known) + 1))
