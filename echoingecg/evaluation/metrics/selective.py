"""Where to trust the student: risk-coverage curves, halves and bins by uncertainty, subgroups of patients.

A doubt is any number that is higher for a less certain ECG: a summary of the predicted variance, or minus the distance
of the score to the threshold.

Shape legend: n = records, P = patients, k = resamples, t = distinct doubts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from echoingecg.evaluation.metrics import bootstrap, classification


def threshold_nearness(score: np.ndarray, threshold: float) -> np.ndarray:
    """Doubt from the score alone: minus the distance to the threshold in log-odds, (n,)."""
    return np.asarray(-np.abs(classification.log_odds(score) - classification.log_odds(np.array(threshold))))


def selective_risk(error: np.ndarray, doubt: np.ndarray) -> np.ndarray:
    """Error rate among the k least doubtful cases, for k = 1 to n; (n,) float64.

    Equal doubts share their errors evenly, since their order has no meaning.

    Args:
        error: (n,) 0 or 1.
        doubt: (n,) higher for less certain.
    """
    order = np.argsort(doubt, kind="stable")
    _, group = np.unique(doubt[order], return_inverse=True)
    even = (np.bincount(group, weights=error[order]) / np.bincount(group))[group]
    return np.asarray(np.cumsum(even) / np.arange(1, len(error) + 1))


def aurc(error: np.ndarray, doubt: np.ndarray) -> float:
    """Area under the risk-coverage curve: the mean of `selective_risk` (Geifman, ICLR 2019). Lower is better.

    A random order has the error rate as its expected area.
    """
    return float(selective_risk(error, doubt).mean())


def aurc_metrics(
    error: np.ndarray, doubt: np.ndarray, patients: bootstrap.Patients
) -> tuple[bootstrap.Metric, bootstrap.Metric]:
    """AURC, and excess AURC: its difference to the area of the best order, errors last (Geifman, ICLR 2019).

    Args:
        error, doubt: as in `selective_risk`.
        patients: of the n records.
    """
    area, best = _area(error, doubt, patients), _best_area(error, patients)
    every = np.ones(len(error), dtype=bool)
    return bootstrap.Metric(area, (every,)), bootstrap.Metric(lambda drawn: area(drawn) - best(drawn), (every,))


def _area(error: np.ndarray, doubt: np.ndarray, patients: bootstrap.Patients) -> bootstrap.Statistic:
    """Area under the risk-coverage curve of the drawn records, in closed form.

    After w records with e errors, a group of v equal doubts with f errors adds the sum over i = 1 to v of
    (e + i f / v) / (w + i) = f + (e - w f / v) (H(w + v) - H(w)), H the harmonic numbers.
    """
    ranking = bootstrap.Ranking(doubt, error == 1, patients)

    def statistic(drawn: np.ndarray) -> np.ndarray:
        v, f = ranking.drawn(drawn)
        kept = np.cumsum(v, axis=1)
        harmonic = _harmonic(kept[:, -1].max())[kept.astype(np.int64)]
        gained = np.diff(harmonic, axis=1, prepend=0)
        rate = np.divide(f, v, out=np.zeros_like(f), where=v > 0)
        ahead = np.cumsum(f, axis=1) - f - (kept - v) * rate
        return np.asarray((f.sum(axis=1) + np.einsum("kt,kt->k", ahead, gained)) / kept[:, -1])

    return statistic


def _best_area(error: np.ndarray, patients: bootstrap.Patients) -> bootstrap.Statistic:
    wrong, records = patients.sums(error), patients.sums(np.ones(len(error)))

    def statistic(drawn: np.ndarray) -> np.ndarray:
        errors, count = drawn @ wrong, drawn @ records
        right = count - errors
        harmonic = _harmonic(count.max())
        span = harmonic[count.astype(np.int64)] - harmonic[np.rint(right).astype(np.int64)]
        return np.asarray((errors - right * span) / count)

    return statistic


def _harmonic(most: float) -> np.ndarray:
    """H(0) to H(most), (most + 1,) float64."""
    return np.append(0.0, np.cumsum(1 / np.arange(1, int(most) + 1)))


ALL = "all"
LOW = "low_uncertainty"
HIGH = "high_uncertainty"
MAX_BINS = 5
MIN_PER_BIN = 10


@dataclass(frozen=True)
class VarianceBin:
    """ECGs of similar uncertainty."""

    uncertainty: float  # mean of the bin
    records: int
    errors: int
    positives: int

    @property
    def error_rate(self) -> float:
        return self.errors / self.records

    @property
    def positive_share(self) -> float:
        return self.positives / self.records


def uncertainty_halves(uncertainty: np.ndarray) -> dict[str, np.ndarray]:
    """All ECGs, the half of low and the half of high uncertainty, as (n,) bool by name.

    Halves are cut by rank, equal values in their order; with an odd count the low half has one more. The variance
    often follows the class more than the error, so read halves together with their class counts.
    """
    rank = np.argsort(np.argsort(uncertainty, kind="stable"), kind="stable")
    low = rank < (len(uncertainty) + 1) // 2
    return {ALL: np.ones(len(uncertainty), dtype=bool), LOW: low, HIGH: ~low}


def variance_bins(uncertainty: np.ndarray, label: np.ndarray, decision: np.ndarray) -> list[VarianceBin]:
    """Quantile bins of equal size (give or take one), from certain to uncertain.

    Up to 5 bins, fewer where a bin would hold under 10 ECGs; none without ECGs. All arrays (n,).
    """
    if len(uncertainty) == 0:
        return []
    bins = int(np.clip(len(uncertainty) // MIN_PER_BIN, 1, MAX_BINS))
    return [
        VarianceBin(
            uncertainty=float(uncertainty[part].mean()),
            records=len(part),
            errors=int((label[part] != decision[part]).sum()),
            positives=int((label[part] == 1).sum()),
        )
        for part in np.array_split(np.argsort(uncertainty, kind="stable"), bins)
    ]


MIN_PATIENTS_PER_GROUP = 20  # a smaller group is gathered with the other small ones
SMALL = "small groups"
FLAGGED = ("no finding", "finding")


def subgroup_levels(
    record_id: np.ndarray, subgroups: pa.Table, records: pa.Table, age_bands: Sequence[float]
) -> dict[str, np.ndarray]:
    """Level of each ECG in every stratum (sex, age, site, ...): (r,) str by stratum, empty where it is not known.

    Args:
        record_id: (r,) str.
        subgroups: catalog.SUBGROUPS; what the export states of a recording holds for all its windows.
        records: ecg.RECORDS; gives the stratum quality: whether the ECG has a quality finding.
        age_bands: lower ends of all age bands but the first, years.
    """
    of_records = _columns(records, record_id.tolist(), ("recording_id", "flagged_leads", "record_findings"))
    stated = _columns(subgroups, of_records["recording_id"], ("sex", "age", "site", "device", "rhythm"))
    bands = sorted(age_bands)
    levels = {name: [value or "" for value in stated[name]] for name in ("sex", "site", "device", "rhythm")}
    levels["age"] = [_band(age, bands) for age in stated["age"]]
    levels["quality"] = [
        "" if leads is None else FLAGGED[bool(leads or findings)]
        for leads, findings in zip(of_records["flagged_leads"], of_records["record_findings"], strict=True)
    ]
    return {name: np.array(values, dtype=np.str_) for name, values in sorted(levels.items()) if any(values)}


_GAPS = {
    "over 1 d before the exam": (-np.inf, -24.0),
    "up to 1 d before the exam": (-24.0, 0.0),
    "up to 1 d after the exam": (0.0, 24.0),
    "over 1 d after the exam": (24.0, np.inf),
}


def gap_levels(gap_hours: np.ndarray) -> np.ndarray:
    """Level of each ECG in the stratum `gap`, (n,) str: how long before or after the exam it was recorded.

    Args:
        gap_hours: (n,) ECG time minus exam time, h.
    """
    holds = [(low <= gap_hours) & (gap_hours < high) for low, high in _GAPS.values()]
    return np.select(holds, list(_GAPS), "")


def subgroup_masks(levels: np.ndarray, patient: np.ndarray) -> dict[str, np.ndarray]:
    """Records of each level, (n,) bool by level; empty when only one group would be left.

    Args:
        levels: (n,) str, empty where not known.
        patient: (n,) str; several levels of fewer than MIN_PATIENTS_PER_GROUP patients are gathered as SMALL.
    """
    known = np.unique(levels[levels != ""]).tolist()
    small = [level for level in known if len(np.unique(patient[levels == level])) < MIN_PATIENTS_PER_GROUP]
    masks = {level: levels == level for level in known if len(small) < 2 or level not in small}
    if len(small) > 1:
        masks[SMALL] = np.isin(levels, small)
    return masks if len(masks) > 1 else {}


def _columns(table: pa.Table, record_id: Sequence[str | None], names: Sequence[str]) -> Mapping[str, list]:
    """Columns in the order of `record_id`, None where the table lacks the ECG."""
    place = {name: index for index, name in enumerate(table["record_id"].to_pylist())}
    rows = pa.array([place.get(name) for name in record_id], pa.int64())
    return {name: table[name].take(rows).to_pylist() for name in names}


def _band(age: float | None, bands: Sequence[float]) -> str:
    """Name of an age band: `under 40`, `40 to 64`, `80 and over`; empty without an age."""
    if age is None:
        return ""
    band = int(np.searchsorted(bands, age, side="right"))
    if band == 0:
        return f"under {bands[0]:g}" if bands else "any age"
    return f"{bands[band - 1]:g} to {bands[band] - 1:g}" if band < len(bands) else f"{bands[-1]:g} and over"
