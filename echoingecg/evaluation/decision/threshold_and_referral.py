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


class Limits(NamedTuple):
    """Limits of a distance: label 1 is possible from `one_from` on, label 0 up to `zero_to`; or always: -inf, inf."""

    one_from: float
    zero_to: float


def conformal_limits(label: np.ndarray, distance: np.ndarray, miscoverage: float) -> Limits:
    """Limits that keep a new record's true label possible with probability at least 1 - miscoverage, in each class.

    The limit of a class is its k-th most extreme distance, k = ceil((n + 1)(1 - miscoverage)) of its n records; with
    k > n every distance must stay possible. The guarantee holds for records exchangeable with these, within a class: on
    average over patients, not for each patient. It loosens where a patient has many records.

    Args:
        label: (n,) 0 or 1, of the validation records.
        distance: (n,) of the same.
        miscoverage: in (0, 1).
    """
    return Limits(
        one_from=-_conformal_limit(-distance[label == 1], miscoverage),
        zero_to=_conformal_limit(distance[label == 0], miscoverage),
    )


def _conformal_limit(strangeness: np.ndarray, miscoverage: float) -> float:
    # Rounded, so that (9 + 1) * 0.9 is 9 and not a little more.
    rank = ceil(round((len(strangeness) + 1) * (1 - miscoverage), 9))
    return float(np.sort(strangeness)[rank - 1]) if rank <= len(strangeness) else inf


def possible_labels(rule: Referral, distance: np.ndarray) -> np.ndarray:
    """Labels that each distance, (n,), leaves possible: (n, 2) bool, label 0 and label 1."""
    return np.stack([distance <= rule.zero_to, distance >= rule.one_from], axis=1)


def decide(distance: np.ndarray) -> np.ndarray:
    """Decision for each distance, (n,): 1 from the threshold on, else 0; (n,) int8."""
    return (distance >= 0).astype(np.int8)


def is_decided(rule: Referral, distance: np.ndarray, rounding: np.ndarray | float = 0.0) -> np.ndarray:
    """Whether the decision is the one possible label and no limit is within rounding, (n,) bool.

    Limits lie exactly on validation ECGs, where the last bit of a float32 would decide otherwise; in doubt the ECG is
    referred. To refer more ECGs than the limits ask for never answers more ECGs wrongly: a conformal guarantee on wrong
    answers holds, and only the answered share falls.

    Args:
        rule: chosen on validation.
        distance: (n,) of `predictive.ExpectedEcho.distance`.
        rounding: (n,) by how much the distances may differ between two computations, see FLOAT32_ROUNDING.
    """
    is_zero, is_one = possible_labels(rule, distance).T
    limits = np.array([limit for limit in (rule.one_from, rule.zero_to, 0.0) if np.isfinite(limit)])
    nearest = np.abs(distance[:, None] - limits).min(axis=1, initial=inf)
    return np.asarray((is_one != is_zero) & (is_one == (decide(distance) == 1)) & (nearest > rounding))


def advice(is_answered: np.ndarray) -> np.ndarray:
    """Advice for each ECG, (n,) str: predict where it is answered, else refer."""
    return np.where(is_answered, *ADVICE)


def choose_referral(
    label: np.ndarray, distance: np.ndarray, threshold: float, settings: EvaluationSettings
) -> Referral:
    """Chooses the rule of referral on the validation ECGs; without any, the rule refers every ECG.

    Args:
        label: (n,) 0 or 1, of the validation ECGs alone.
        distance: (n,) of the same ECGs.
        threshold: chosen on the same ECGs.
        settings: say how: referral, miscoverage, refer_share.
    """
    if len(distance) == 0:
        limits, reason = (
            Limits(-inf, inf),
            "everything is referred: there is no validation ECG to choose a rule on",
        )
    elif settings.referral == "conformal":
        limits = conformal_limits(label, distance, settings.miscoverage)
        ones = int((label == 1).sum())
        reason = f"at most {100 * settings.miscoverage:g} % of each class answered wrongly, "
        reason += f"chosen on {ones} and {len(label) - ones} validation ECGs of label 1 and 0"
    else:
        limits, count = _limits_around_threshold(distance, settings.refer_share)
        reason = f"referred like the {count} of {len(distance)} validation ECGs nearest to the threshold"
    return Referral(
        kind=settings.referral, threshold=threshold, one_from=limits.one_from, zero_to=limits.zero_to, says=reason
    )


def _limits_around_threshold(distance: np.ndarray, share: float) -> tuple[Limits, int]:
    """Limits that leave both labels possible for the ECGs nearest to the threshold, and their number.

    Their share of all ECGs is `share`, rounded up to a whole number.
    """
    count = ceil(share * len(distance))
    if count == 0:
        return Limits(one_from=0.0, zero_to=float(np.nextafter(0.0, -inf))), 0
    near = distance[np.argsort(np.abs(distance), kind="stable")[:count]]
    return Limits(one_from=min(float(near.min()), 0.0), zero_to=max(float(near.max()), 0.0)), count
