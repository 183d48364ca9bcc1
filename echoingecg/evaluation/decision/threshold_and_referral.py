"""Which decision an ECG gets, and whether it is answered or referred to echo.

Threshold and limits are chosen on validation ECGs alone, then applied to every ECG, in the evaluation as in prediction.

Conformal limits say which labels a score leaves possible: split conformal prediction, class by class (Mondrian): Vovk,
Gammerman and Shafer, Algorithmic Learning in a Random World, 2005, section 4.5; Vovk, ACML 2012; an introduction:
Angelopoulos and Bates, arXiv 2107.07511, section 4.1.
"""

from dataclasses import dataclass
from math import ceil, inf
from typing import NamedTuple

import numpy as np

from data_contracts.prediction import ADVICE, Referral
from echoingecg.evaluation.metrics.classification import log_odds
from echoingecg.evaluation.metrics.selective import threshold_nearness
from echoingecg.recipe import EvaluationSettings

DEFAULT_THRESHOLD = 0.5
# Relative, without unit. How far the embedding of one ECG (float32, length 1) and its uncertainty may differ between
# two computations: batches of another size, another processor. It is 8 x 2^-23; at most 0.7 x 2^-23 was measured.
FLOAT32_ROUNDING = 1e-6


@dataclass(frozen=True)
class Threshold:
    """A decision threshold.

    Attributes:
        value: a score that reaches it is decided as label 1.
        origin: where it comes from, a phrase for the reader.
    """

    value: float
    origin: str


def choose_threshold(label: np.ndarray, score: np.ndarray) -> Threshold:
    """The threshold of highest balanced accuracy; at equal accuracy the one nearest to 0.5, then the lower one.

    Candidates are 0.5 and the midpoints between neighbouring distinct scores.

    Args:
        label: (n,) 0 or 1, of the validation ECGs.
        score: (n,) in [0, 1], of the same ECGs.
    """
    positives, negatives = int((label == 1).sum()), int((label == 0).sum())
    if positives == 0 or negatives == 0:
        lacks = "positive" if positives == 0 else "negative"
        return Threshold(DEFAULT_THRESHOLD, f"0.5 by default: no {lacks} among {len(label)} validation ECGs")
    distinct = np.unique(score)
    candidates = np.unique(np.append((distinct[:-1] + distinct[1:]) / 2, DEFAULT_THRESHOLD))
    hits = positives - np.searchsorted(np.sort(score[label == 1]), candidates, side="left")
    rejections = np.searchsorted(np.sort(score[label == 0]), candidates, side="left")
    # Whole numbers, so that equal balanced accuracies compare as equal: 2 * positives * negatives * balanced accuracy.
    merit = hits * negatives + rejections * positives
    best = candidates[merit == merit.max()]
    chosen = best[np.argmin(np.abs(best - DEFAULT_THRESHOLD))]
    return Threshold(float(chosen), f"chosen on {len(label)} validation ECGs, {positives} positive")


def threshold_at_specificity(label: np.ndarray, score: np.ndarray, specificity: float) -> float | None:
    """The lowest threshold with at least the wanted share of label 0 below it; None without a record of label 0.

    Candidates are the midpoints between neighbouring distinct scores, and a value above all scores.

    Args:
        label: (n,) 0 or 1, of the validation ECGs.
        score: (n,) in [0, 1], of the same ECGs.
        specificity: in (0, 1).
    """
    negative = np.sort(score[label == 0])
    if len(negative) == 0:
        return None
    distinct = np.unique(score)
    candidates = np.append((distinct[:-1] + distinct[1:]) / 2, np.nextafter(distinct[-1], np.inf))
    rejected = np.searchsorted(negative, candidates, side="left")
    return float(candidates[np.argmax(rejected >= specificity * len(negative) - 1e-9)])


class ScoreLimits(NamedTuple):
    """Limits of a score: label 1 is possible from `one_from` on, label 0 up to `zero_to`; -inf and inf for always."""

    one_from: float
    zero_to: float


def conformal_limits(label: np.ndarray, score: np.ndarray, miscoverage: float) -> ScoreLimits:
    """Limits that keep a new record's true label possible with probability at least 1 - miscoverage, in each class.

    The limit of a class is its k-th most extreme score, k = ceil((n + 1)(1 - miscoverage)) of its n records; with k > n
    every score must stay possible. The guarantee holds for records exchangeable with these, within a class: on average
    over patients, not for each patient. It loosens where a patient has many records.

    Args:
        label: (n,) 0 or 1, of the validation records.
        score: (n,) of the same.
        miscoverage: in (0, 1).
    """
    return ScoreLimits(
        one_from=-_conformal_limit(-score[label == 1], miscoverage),
        zero_to=_conformal_limit(score[label == 0], miscoverage),
    )


def _conformal_limit(strangeness: np.ndarray, miscoverage: float) -> float:
    # Rounded, so that (9 + 1) * 0.9 is 9 and not a little more.
    rank = ceil(round((len(strangeness) + 1) * (1 - miscoverage), 9))
    return float(np.sort(strangeness)[rank - 1]) if rank <= len(strangeness) else inf


def possible_labels(rule: Referral, score: np.ndarray) -> np.ndarray:
    """Labels that each score, (n,), leaves possible: (n, 2) bool, label 0 and label 1."""
    return np.stack([score <= rule.zero_to, score >= rule.one_from], axis=1)


def decide(rule: Referral, score: np.ndarray) -> np.ndarray:
    """Decision for each score, (n,): 1 where it reaches the threshold, else 0; (n,) int8."""
    return (score >= rule.threshold).astype(np.int8)


def is_answered(rule: Referral, score: np.ndarray, uncertainty: np.ndarray, steepness: float = 1.0) -> np.ndarray:
    """Whether an ECG is answered with its decision, (n,) bool; every other ECG is referred to echo.

    An ECG is answered when the decision is the one possible label, some validation ECG was as uncertain, and no limit
    is within rounding (FLOAT32_ROUNDING). Limits lie exactly on validation ECGs, where the last bit of a float32 would
    decide otherwise; in doubt the ECG is referred. To refer more ECGs than the limits ask for never answers more ECGs
    wrongly: a conformal guarantee on wrong answers holds, and only the answered share falls.

    Args:
        rule: chosen on validation.
        score: (n,) in [0, 1].
        uncertainty: (n,) of the same ECGs.
        steepness: by how much the score's log-odds change at most when the embedding moves by 1.
    """
    is_zero, is_one = possible_labels(rule, score).T
    is_positive = decide(rule, score) == 1
    most_uncertain = rule.most_uncertain - FLOAT32_ROUNDING * max(1.0, abs(rule.most_uncertain))
    return (
        (is_one != is_zero)
        & (is_one == is_positive)
        & ~_is_near(rule, score, steepness)
        & (uncertainty <= most_uncertain)
    )


def _is_near(rule: Referral, score: np.ndarray, steepness: float) -> np.ndarray:
    """Scores, (n,), within rounding of a limit or of the threshold, in log-odds: (n,) bool."""
    limits = np.array([limit for limit in (rule.one_from, rule.zero_to, rule.threshold) if np.isfinite(limit)])
    distance = np.abs(log_odds(score)[:, None] - log_odds(limits))
    return np.asarray((distance <= FLOAT32_ROUNDING * steepness).any(axis=1))


def advice(is_answered: np.ndarray) -> np.ndarray:
    """Advice for each ECG, (n,) str: predict where it is answered, else refer."""
    return np.where(is_answered, *ADVICE)


def choose_referral(
    label: np.ndarray, score: np.ndarray, uncertainty: np.ndarray, threshold: float, settings: EvaluationSettings
) -> Referral:
    """Chooses the rule of referral on the validation ECGs; without any, the rule refers every ECG.

    Args:
        label: (n,) 0 or 1, of the validation ECGs alone.
        score, uncertainty: (n,) of the same ECGs.
        threshold: chosen on the same ECGs.
        settings: say how: referral, miscoverage, refer_share.
    """
    if len(score) == 0:
        limits, reason = (
            ScoreLimits(-inf, inf),
            "everything is referred: there is no validation ECG to choose a rule on",
        )
    elif settings.referral == "conformal":
        limits = conformal_limits(label, score, settings.miscoverage)
        ones = int((label == 1).sum())
        reason = f"at most {100 * settings.miscoverage:g} % of each class answered wrongly, "
        reason += f"chosen on {ones} and {len(label) - ones} validation ECGs of label 1 and 0"
    else:
        limits, count = _limits_around_threshold(score, threshold, settings.refer_share)
        reason = f"referred like the {count} of {len(score)} validation ECGs nearest to the threshold"
    return Referral(
        kind=settings.referral,
        threshold=threshold,
        one_from=limits.one_from,
        zero_to=limits.zero_to,
        most_uncertain=float(uncertainty.max(initial=-inf)),
        says=reason,
    )


def _limits_around_threshold(score: np.ndarray, threshold: float, share: float) -> tuple[ScoreLimits, int]:
    """Limits that leave both labels possible for the scores nearest to the threshold in log-odds, and their number.

    Their share of all scores is `share`, rounded up to a whole number.
    """
    count = ceil(share * len(score))
    if count == 0:
        return ScoreLimits(one_from=threshold, zero_to=float(np.nextafter(threshold, -inf))), 0
    near = score[np.argsort(-threshold_nearness(score, threshold), kind="stable")[:count]]
    return ScoreLimits(one_from=float(min(near.min(), threshold)), zero_to=float(max(near.max(), threshold))), count
