"""Error among the ECGs that are kept when the most doubtful are left out, and the area under that curve.

Shape legend: n = records, P = patients, k = resamples, t = distinct doubts.
"""

import numpy as np

from echoingecg.evaluation.decision.calibration import log_odds
from echoingecg.evaluation.metrics.bootstrap import Metric, Patients, Ranking, Statistic


def threshold_nearness(score: np.ndarray, threshold: float) -> np.ndarray:
    """Doubt by the score alone: minus the distance to the threshold in log-odds, (n,)."""
    return np.asarray(-np.abs(log_odds(score) - log_odds(np.array(threshold))))


def selective_risk(error: np.ndarray, doubt: np.ndarray) -> np.ndarray:
    """Error rate among the k least doubtful cases, for k = 1 to n; (n,) float64.

    Equal doubts share their errors evenly: their order says nothing.

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


def aurc_metrics(error: np.ndarray, doubt: np.ndarray, patients: Patients) -> tuple[Metric, Metric]:
    """AURC, and excess AURC: what it is above the area of the best order, errors last (Geifman, ICLR 2019).

    Arrays as in `selective_risk`; `patients` of the n records.
    """
    area, best = _area(error, doubt, patients), _best_area(error, patients)
    every = np.ones(len(error), dtype=bool)
    return Metric(area, (every,)), Metric(lambda drawn: area(drawn) - best(drawn), (every,))


def _area(error: np.ndarray, doubt: np.ndarray, patients: Patients) -> Statistic:
    """`aurc` of the records drawn, in closed form.

    Behind w records with e errors, a group of v equal doubts with f errors adds the sum over i = 1 to v of
    (e + i f / v) / (w + i) = f + (e - w f / v) (H(w + v) - H(w)), H the harmonic numbers.
    """
    ranking = Ranking(doubt, error == 1, patients)

    def statistic(drawn: np.ndarray) -> np.ndarray:
        v, f = ranking.drawn(drawn)
        kept = np.cumsum(v, axis=1)
        harmonic = _harmonic(kept[:, -1].max())[kept.astype(np.int64)]
        gained = np.diff(harmonic, axis=1, prepend=0)
        rate = np.divide(f, v, out=np.zeros_like(f), where=v > 0)
        ahead = np.cumsum(f, axis=1) - f - (kept - v) * rate
        return np.asarray((f.sum(axis=1) + np.einsum("kt,kt->k", ahead, gained)) / kept[:, -1])

    return statistic


def _best_area(error: np.ndarray, patients: Patients) -> Statistic:
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
