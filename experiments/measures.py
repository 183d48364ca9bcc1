"""Numbers of one student: what its variance tells, how crowded its space is, and means over seeds with intervals.

The variance of ECG i enters the match logits of its whole row alike, -scale * (d_ij + v_i + v_j) + shift, with v the
sum over D of the variances (Chun, ICLR 2024, eq. 1 and 2). The loss's derivative by v_i, without KL, is proportional to
sum over j of 2 m_ij + 0.1 q_ij - 2.2 p_ij, with m_ij the matches and q_ij (0 to 2) how often a pair is positive in the
pseudo-positive term. It is zero where the probabilities p_ij of a row sum to (2 + 0.1 sum of q_ij) / 2.2: one without
pseudo-positives, and 0.045 more for each (docs/method.md). With small probabilities v_i is then, up to the logarithm of
that sum and a constant, log sum exp(-scale * (d_ij + v_j)) / scale: it grows with the studies that lie near, and tells
nothing about noise.

Shape legend: n = test cases or ECGs, m = studies, D = shared embedding width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, logsumexp
from scipy.stats import rankdata, t
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from echoingecg.evaluation.data.embed import GaussianTable, sampled_distances
from echoingecg.evaluation.metrics.classification import AUROC, BALANCED_ACCURACY, log_odds
from echoingecg.evaluation.metrics.selective import HIGH, LOW, aurc, threshold_nearness, uncertainty_halves


def uncertainty_measures(
    label: np.ndarray, score: np.ndarray, threshold: float, uncertainty: np.ndarray
) -> dict[str, float | None]:
    """The numbers of one student, one decision rule. All arrays (n,); None where a class is absent.

    Returns:
        low_*, high_*: balanced accuracy and counts of the halves by variance; low_minus_high;
        aurc_variance, aurc_distance, aurc_random, aurc_best (errors last);
        rho_label: rank correlation of variance and label;
        rho_error, rho_error_called_0, rho_error_called_1: of variance and error, among all and within a decision.
    """
    decision = (score >= threshold).astype(np.int8)
    error = (decision != label).astype(np.float64)
    found: dict[str, float | None] = {}
    halves = uncertainty_halves(uncertainty)
    for name, half in (("low", LOW), ("high", HIGH)):
        members = halves[half]
        positives = int(label[members].sum())
        found[f"{name}_positives"], found[f"{name}_negatives"] = positives, int(members.sum()) - positives
        both = 0 < positives < members.sum()
        found[f"{name}_{BALANCED_ACCURACY}"] = (
            float(balanced_accuracy_score(label[members], decision[members])) if both else None
        )
        found[f"{name}_error"] = float(error[members].mean())
    low, high = found[f"low_{BALANCED_ACCURACY}"], found[f"high_{BALANCED_ACCURACY}"]
    found["low_minus_high"] = None if low is None or high is None else low - high
    found["aurc_variance"] = aurc(error, uncertainty)
    found["aurc_distance"] = aurc(error, threshold_nearness(score, threshold))
    found["aurc_random"] = float(error.mean())
    found["aurc_best"] = aurc(error, error)
    found["rho_label"] = spearman(uncertainty, label)
    found["rho_error"] = spearman(uncertainty, error)
    for called in (0, 1):
        among = decision == called
        found[f"rho_error_called_{called}"] = spearman(uncertainty[among], error[among])
    return found


def companion_measures(
    label: np.ndarray, uncertainty: np.ndarray, companions: dict[str, np.ndarray]
) -> dict[str, float | None]:
    """What the variance goes with: its rank correlation with each companion, and with the label given that one."""
    found: dict[str, float | None] = {}
    for name, values in companions.items():
        found[f"rho_{name}"] = spearman(uncertainty, values)
        found[f"rho_{name}_in_0"] = spearman(uncertainty[label == 0], values[label == 0])
        found[f"rho_label_given_{name}"] = partial_spearman(uncertainty, label, values)
    return found


def doubts(found: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Doubt about each decision, and the distance of its log-odds to the threshold: (n,) each.

    Args:
        found: of `experiments.doubt`.
    """
    distance = np.abs(log_odds(np.array(found["score"])) - log_odds(np.array(found["threshold"])))
    return -distance / np.array(found["deviation"]), distance


def doubt_measures(label: np.ndarray, found: Mapping[str, Any]) -> dict[str, float | None]:
    """What the predictive distribution tells of the errors of its own decisions.

    Args:
        label: (n,) 0 or 1.
        found: of `experiments.doubt`.

    Returns:
        aurc_doubt, aurc_distance, aurc_deviation, aurc_random: areas under the risk-coverage curve, ranked by the
        distance to the threshold in deviations, by the distance, by the deviation and at random;
        within_doubt, within_deviation: mean of the areas of those called 0 and of those called 1;
        error_called_0, error_called_1: shares that are wrong;
        rho_residual: rank correlation of deviation and residual;
        auroc, balanced_accuracy: of the score.
    """
    score, deviation, threshold = np.array(found["score"]), np.array(found["deviation"]), found["threshold"]
    error = ((score >= threshold) != label).astype(np.float64)
    doubt, distance = doubts(found)
    called = [score < threshold, score >= threshold]
    return {
        **{
            f"error_called_{value}": float(error[rows].mean()) if rows.any() else None
            for value, rows in enumerate(called)
        },
        "within_doubt": float(np.mean([aurc(error[rows], doubt[rows]) for rows in called if rows.any()])),
        "within_deviation": float(np.mean([aurc(error[rows], deviation[rows]) for rows in called if rows.any()])),
        "aurc_doubt": aurc(error, doubt),
        "aurc_distance": aurc(error, -distance),
        "aurc_deviation": aurc(error, deviation),
        "aurc_random": float(error.mean()),
        "rho_residual": spearman(deviation, np.array(found["residual"])),
        AUROC: float(roc_auc_score(label, score)),
        BALANCED_ACCURACY: float(balanced_accuracy_score(label, score >= threshold)),
    }


def follows(variance: Mapping[str, Sequence[float]], auroc: Mapping[str, Sequence[float]]) -> float | None:
    """Rank correlation of the mean variance with the AUROC lost, over all kinds and levels of noise.

    Args:
        variance: by kind, a mean logarithm a level, the clean ECGs first.
        auroc: likewise, of the same ECGs.
    """
    lost = [values[0] - value for values in auroc.values() for value in values]
    return spearman(np.concatenate([variance[kind] for kind in auroc]), np.array(lost))


RARE = 1e-12  # probabilities below are the same to a logarithm


def crowding(mean: np.ndarray, studies: np.ndarray, scale: float) -> np.ndarray:
    """How many studies an ECG cannot be told from: log mean exp(-scale * d), d the squared distance of the means.

    Args:
        mean: (n, D) of the ECGs.
        studies: (m, D), means of the training studies.
        scale: the student's.

    Returns:
        (n,) float64, 0 for an ECG on top of all studies.
    """
    distances = sampled_distances(GaussianTable.from_points(mean), GaussianTable.from_points(studies))
    return np.asarray(logsumexp(-scale * distances, axis=1)) - np.log(len(studies))


def expected_matches(
    ecgs: GaussianTable, studies: GaussianTable, scale: float, shift: float, batch: int
) -> dict[str, float]:
    """How many studies of a training batch an ECG is expected to match, by its own variance and by one for all.

    Returns:
        own_mean, own_spread, same_mean, same_spread: mean over ECGs, and standard deviation of the logarithm.
    """
    distances = sampled_distances(ecgs, studies)
    same = distances - ecgs.total_variance[:, None] + ecgs.total_variance.mean()
    found: dict[str, float] = {}
    for name, one in (("own", distances), ("same", same)):
        matches = batch * expit(shift - scale * one).mean(axis=1)
        found[f"{name}_mean"] = float(matches.mean())
        found[f"{name}_spread"] = float(np.log(np.maximum(matches, RARE)).std())
    return found


LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and its 95 % interval.

    Attributes:
        mean: None without a value.
        low, high: None with under two values.
        seeds: number of values.
    """

    mean: float | None
    low: float | None
    high: float | None
    seeds: int

    def __str__(self) -> str:
        if self.mean is None:
            return "–"
        if self.low is None or self.high is None:
            return _signed(self.mean)
        return f"{_signed(self.mean)} ({_signed(self.low)} to {_signed(self.high)})"

    @property
    def above_zero(self) -> bool:
        """Whether the whole interval is."""
        return self.low is not None and self.low > 0


def t_interval(values: Sequence[float | None], comparisons: int = 1) -> Interval:
    """Student's t interval of the mean of one value a seed; seeds without a value (None) are left out.

    Args:
        values: one a seed.
        comparisons: how many intervals are to hold together at the level (Bonferroni).
    """
    known = np.array([one for one in values if one is not None], np.float64)
    if len(known) == 0:
        return Interval(None, None, None, 0)
    mean = float(known.mean())
    if len(known) < 2:
        return Interval(mean, None, None, len(known))
    half = float(t.ppf(1 - (1 - LEVEL) / (2 * comparisons), len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known)))
    return Interval(mean, mean - half, mean + half, len(known))


def paired(first: Mapping[int, float | None], second: Mapping[int, float | None]) -> Interval:
    """Interval of first - second over the seeds that have both."""
    found = []
    for seed in sorted(first.keys() & second.keys()):
        a, b = first[seed], second[seed]
        if a is not None and b is not None:
            found.append(a - b)
    return t_interval(found)


def spearman(a: np.ndarray, b: np.ndarray) -> float | None:
    """Rank correlation; None where a side does not vary or there are under three values."""
    return _correlation(rankdata(a), rankdata(b))


def partial_spearman(a: np.ndarray, b: np.ndarray, given: np.ndarray) -> float | None:
    """Rank correlation of a and b with the rank of `given` regressed out of both."""
    ranks = np.column_stack([np.ones(len(given)), rankdata(given)])

    def rest(one: np.ndarray) -> np.ndarray:
        rank = rankdata(one)
        return np.asarray(rank - ranks @ np.linalg.lstsq(ranks, rank, rcond=None)[0])

    return _correlation(rest(a), rest(b))


def _correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    if len(a) < 3 or np.ptp(a) < 1e-9 or np.ptp(b) < 1e-9:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def _signed(value: float) -> str:
    """Two decimals, three near zero, with a true minus sign."""
    text = f"{value:.3f}" if abs(value) < 0.1 else f"{value:.2f}"
    return text.replace("-", "−")
