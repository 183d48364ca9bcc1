"""How fixed thresholds and calibrators hold in another cohort: calibration line, predictive values, decision curve.

Shape legend: n = records, P = patients, k = resamples.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import expit

from echoingecg.evaluation.metrics.bootstrap import Metric, Patients
from echoingecg.evaluation.metrics.classification import log_odds, mean_metric

CALIBRATION_SLOPE = "calibration_slope"
CALIBRATION_INTERCEPT = "calibration_intercept"
OBSERVED_TO_EXPECTED = "observed_to_expected"
PREVALENCE = "prevalence"
PPV = "ppv"
NPV = "npv"
NET_BENEFIT = "net_benefit"
NET_BENEFIT_OF_ALL = "net_benefit_of_all"
CORRECTED = "_corrected"  # ends the name of a metric of probabilities that were corrected for the prevalence
_NEWTON_STEPS = 60
_RIDGE = 1e-9  # keeps the Hessian invertible where all probabilities are alike
_LEAST_CURVATURE = 1e-6  # of the likelihood; separated classes, which send the slope to infinity, have less


def calibration_line(label: np.ndarray, probability: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Logistic regression of the label on the log-odds of the probability (Cox, Biometrika 1958;45:562).

    Slope 1 and intercept 0 are perfect; a slope below 1 means probabilities that are too extreme.

    Args:
        label: (n,) 0 or 1.
        probability: (n,) of label 1.
        weight: (k, n) of the records in each resample.

    Returns:
        (k, 2) float64, slope and intercept; nan where a resample lacks a class, has one probability alone, or has
        classes that a probability parts, so that no line is best.
    """
    place = log_odds(probability)
    spread = np.ptp(place)
    if not spread > 0:
        return np.full((len(weight), 2), np.nan)
    design = np.stack([(place - place.mean()) / spread, np.ones(len(place))])
    products = design[:, None] * design
    line = step = np.zeros((len(weight), 2))
    curvature, best = np.zeros_like(weight), np.full(len(weight), -np.inf)
    for _ in range(_NEWTON_STEPS):
        fit = (line + step) @ design
        likelihood = (weight * (label * fit - np.logaddexp(0, fit))).sum(axis=1)
        is_better = likelihood >= best - 1e-12 * np.abs(best)
        line, best = np.where(is_better[:, None], line + step, line), np.fmax(best, likelihood)
        expected = expit(fit)
        curvature = weight * expected * (1 - expected)
        gradient = (weight * (label - expected)) @ design.T
        hessian = np.tensordot(curvature, products, axes=(1, 2)) + _RIDGE * np.eye(2)
        newton = np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0]
        step = np.where(is_better[:, None], newton, step / 2)
        if np.abs(step).max(initial=0.0) < 1e-10:
            break
    positives = weight @ label
    known = (positives > 0) & (positives < weight.sum(axis=1)) & (np.abs(step) < 1e-6).all(axis=1)
    known &= curvature.sum(axis=1) > _LEAST_CURVATURE
    slope = line[:, 0] / spread
    return np.where(known[:, None], np.stack([slope, line[:, 1] - slope * place.mean()], axis=1), np.nan)


def calibration_line_metrics(label: np.ndarray, probability: np.ndarray, patients: Patients) -> dict[str, Metric]:
    """Calibration slope, intercept, and observed over expected share of label 1.

    The intercept is that of the line with slope 1: calibration in the large (Van Calster et al., BMC Med 2019;17:230).

    Args:
        label: (n,) 0 or 1.
        probability: (n,) of label 1.
        patients: of the n records.
    """
    both = (label == 1, label == 0)
    every = np.ones(len(label), bool)
    counts, expected = patients.sums(label), patients.sums(probability)

    def slope(drawn: np.ndarray) -> np.ndarray:
        return calibration_line(label, probability, drawn[:, patients.owner])[:, 0]

    def intercept(drawn: np.ndarray) -> np.ndarray:
        return _intercept(label, probability, drawn[:, patients.owner])

    def ratio(drawn: np.ndarray) -> np.ndarray:
        return (drawn @ counts) / np.maximum(drawn @ expected, np.finfo(float).tiny)

    return {
        CALIBRATION_SLOPE: Metric(slope, both),
        CALIBRATION_INTERCEPT: Metric(intercept, both),
        OBSERVED_TO_EXPECTED: Metric(ratio, (every,)),
    }


def _intercept(label: np.ndarray, probability: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Intercept that makes the mean probability the share of label 1, slope 1; (k,), nan where a class is absent."""
    place = log_odds(probability)
    positives, total = weight @ label, weight.sum(axis=1)
    mean_odds = log_odds(positives / np.maximum(total, 1))
    # The shift lies between these two: it is that of the mean probability if all are the highest, or the lowest.
    low, high = mean_odds - place.max(initial=-np.inf), mean_odds - place.min(initial=np.inf)
    shift, known = np.clip(0.0, low, high), (positives > 0) & (positives < total)
    for _ in range(_NEWTON_STEPS):
        expected = expit(place + shift[:, None])
        lacking = positives - (weight * expected).sum(axis=1)
        low, high = np.where(lacking > 0, shift, low), np.where(lacking < 0, shift, high)
        step = lacking / np.maximum((weight * expected * (1 - expected)).sum(axis=1), _RIDGE)
        is_inside = (low <= shift + step) & (shift + step <= high)
        moved = np.where(is_inside, shift + step, (low + high) / 2)
        is_settled, shift = np.abs(moved - shift) < 1e-10, moved
        if (is_settled | ~known).all():
            break
    return np.where(known, shift, np.nan)


def predictive_value_metrics(
    label: np.ndarray, decision: np.ndarray, patients: Patients, prevalences: Sequence[float]
) -> dict[tuple[str, float | None], Metric]:
    """Positive and negative predictive value at stated prevalences, from sensitivity and specificity by Bayes' rule.

    Args:
        label, decision: (n,) 0 or 1.
        patients: of the n records.
        prevalences: shares of label 1, each in (0, 1).

    Returns:
        Metrics by name and prevalence; nan where nothing is called 1, or nothing 0.
    """
    right = (decision == label).astype(np.float64)
    sensitivity, specificity = (mean_metric(right, patients, label == value) for value in (1, 0))
    needs = (label == 1, label == 0)

    def values(prevalence: float, is_positive: bool) -> Metric:
        def statistic(drawn: np.ndarray) -> np.ndarray:
            true_positive, true_negative = sensitivity.statistic(drawn), specificity.statistic(drawn)
            rates = (
                (true_positive * prevalence, (1 - true_negative) * (1 - prevalence))
                if is_positive
                else (true_negative * (1 - prevalence), (1 - true_positive) * prevalence)
            )
            called = rates[0] + rates[1]
            return np.divide(rates[0], called, out=np.full(len(called), np.nan), where=called > 0)

        return Metric(statistic, needs)

    return {(name, prevalence): values(prevalence, name == PPV) for prevalence in prevalences for name in (PPV, NPV)}


def net_benefit_metrics(
    label: np.ndarray, probability: np.ndarray, patients: Patients, thresholds: Sequence[float]
) -> dict[tuple[str, float | None], Metric]:
    """Decision curve: true positives less weighted false positives, for each ECG.

    Source: Vickers and Elkin, Med Decis Making 2006;26:565. Sending every patient to echo is the curve
    `net_benefit_of_all`; sending none has net benefit 0.

    Args:
        label: (n,) 0 or 1.
        probability: (n,) of label 1.
        patients: of the n records.
        thresholds: probabilities from which one would send the patient to echo, each in (0, 1).
    """
    metrics: dict[tuple[str, float | None], Metric] = {}
    for threshold in thresholds:
        odds = threshold / (1 - threshold)
        gain = np.where(label == 1, 1.0, -odds)
        metrics[NET_BENEFIT, threshold] = mean_metric(gain * (probability >= threshold), patients)
        metrics[NET_BENEFIT_OF_ALL, threshold] = mean_metric(gain, patients)
    return metrics


def shifted_probability(probability: np.ndarray, from_prevalence: float, to_prevalence: float) -> np.ndarray:
    """Probabilities for a cohort of another prevalence, if the class alone changes how often ECGs are seen.

    The log-odds move by the difference of the prevalences' log-odds (Saerens et al., Neural Comput 2002;14:21).

    Args:
        probability: (n,) of label 1.
        from_prevalence: share of label 1 where the calibrator was fitted, in (0, 1).
        to_prevalence: share of label 1 where it is used, in (0, 1).
    """
    shift = log_odds(np.array(to_prevalence)) - log_odds(np.array(from_prevalence))
    return np.asarray(expit(log_odds(probability) + shift))
