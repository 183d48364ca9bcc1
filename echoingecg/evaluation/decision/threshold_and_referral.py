"""Which ECGs are answered and which are referred to echo: one rule, chosen on validation, applied to every ECG."""

from math import ceil, inf

import numpy as np

from data_contracts.prediction import ADVICE
from data_contracts.reading_card import Referral
from echoingecg.evaluation.conformal import Limits, conformal_limits
from echoingecg.evaluation.metrics.selective import threshold_nearness
from echoingecg.recipe import EvaluationSettings


def possible(rule: Referral, score: np.ndarray) -> np.ndarray:
    """Which labels the scores (n,) leave possible: (n, 2) bool, label 0 and label 1."""
    return np.stack([score <= rule.zero_to, score >= rule.one_from], axis=1)


def decided(rule: Referral, score: np.ndarray) -> np.ndarray:
    """1 where the scores (n,) reach the threshold: (n,) int8."""
    return (score >= rule.threshold).astype(np.int8)


def answered(rule: Referral, score: np.ndarray, uncertainty: np.ndarray) -> np.ndarray:
    """Whether an ECG is answered with its decision, (n,) bool; every other is referred to echo.

    It is when the decision is the one possible label, and some validation ECG was as uncertain. To refer more than the
    limits ask for answers fewer ECGs wrongly, never more: a conformal guarantee on wrong answers stays.

    Args:
        rule: chosen on validation.
        score: (n,) in [0, 1].
        uncertainty: (n,) of the same ECGs.
    """
    zero, one = possible(rule, score).T
    called = decided(rule, score) == 1
    return (one != zero) & (one == called) & (uncertainty <= rule.most_uncertain)


def advice(told: np.ndarray) -> np.ndarray:
    """The same in words, (n,) str: predict, or refer."""
    return np.where(told, *ADVICE)


def choose_referral(
    label: np.ndarray, score: np.ndarray, uncertainty: np.ndarray, threshold: float, settings: EvaluationSettings
) -> Referral:
    """The rule by the validation ECGs; without any it refers all.

    Args:
        label: (n,) 0 or 1, of the validation ECGs alone.
        score, uncertainty: (n,) of the same.
        threshold: chosen on the same.
        settings: referral, miscoverage, refer_share.
    """
    if len(score) == 0:
        limits, says = Limits(-inf, inf), "everything is referred: there is no validation ECG to choose a rule on"
    elif settings.referral == "conformal":
        limits = conformal_limits(label, score, settings.miscoverage)
        ones = int((label == 1).sum())
        says = f"at most {100 * settings.miscoverage:g} % of each class answered wrongly, "
        says += f"chosen on {ones} and {len(label) - ones} validation ECGs of label 1 and 0"
    else:
        limits, count = _nearest(score, threshold, settings.refer_share)
        says = f"referred like the {count} of {len(score)} validation ECGs nearest to the threshold"
    return Referral(
        kind=settings.referral,
        threshold=threshold,
        one_from=limits.one_from,
        zero_to=limits.zero_to,
        most_uncertain=float(uncertainty.max(initial=-inf)),
        says=says,
    )


def _nearest(score: np.ndarray, threshold: float, share: float) -> tuple[Limits, int]:
    """Both labels are possible for a share of the scores, rounded up, whose logit is nearest to the threshold's."""
    count = ceil(share * len(score))
    if count == 0:
        return Limits(one_from=threshold, zero_to=float(np.nextafter(threshold, -inf))), 0
    near = score[np.argsort(-threshold_nearness(score, threshold), kind="stable")[:count]]
    return Limits(one_from=float(min(near.min(), threshold)), zero_to=float(max(near.max(), threshold))), count
