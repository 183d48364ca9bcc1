"""Metrics of scores, decisions and predicted values, as functions of bootstrap weights; reliability bins.

Shape legend: n = records, P = patients, k = resamples, t = distinct scores.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import logit

from echoingecg.evaluation.metrics.bootstrap import Metric, Patients, Ranking, Statistic

BINS = 10
_CERTAIN = 1e-12  # scores are clipped to this far from 0 and 1, so that log-odds stay finite
AUROC = "auroc"
AUPRC = "auprc"
BALANCED_ACCURACY = "balanced_accuracy"
SENSITIVITY = "sensitivity"
SPECIFICITY = "specificity"
ERROR_RATE = "error_rate"
BRIER = "brier"
ECE = "ece"
MAE = "mae"
PEARSON = "pearson"


def binary_metrics(
    label: np.ndarray, score: np.ndarray, decision: np.ndarray, patients: Patients, bins: int = BINS
) -> dict[str, Metric]:
    """Metrics of a yes/no question, on the whole test split or a part of it.

    Args:
        label: (n,) 0 or 1.
        score: (n,) in [0, 1], higher for label 1.
        decision: (n,) 0 or 1.
        patients: of the n records.
        bins: number of bins behind the expected calibration error.
    """
    positive, negative = label == 1, label == 0
    error = (decision != label).astype(np.float64)
    return {
        AUROC: Metric(_ranked(_auroc, label, score, patients), (positive, negative)),
        AUPRC: Metric(_ranked(_average_precision, label, score, patients), (positive, negative)),
        BALANCED_ACCURACY: _balanced(
            mean_metric(1 - error, patients, positive), mean_metric(1 - error, patients, negative)
        ),
        SENSITIVITY: mean_metric(1 - error, patients, positive),
        SPECIFICITY: mean_metric(1 - error, patients, negative),
        ERROR_RATE: mean_metric(error, patients),
        **calibration_metrics(label, score, patients, bins),
    }


def calibration_metrics(
    label: np.ndarray, score: np.ndarray, patients: Patients, bins: int = BINS, suffix: str = ""
) -> dict[str, Metric]:
    """Brier score (Brier, Mon Weather Rev 1950) and expected calibration error (Guo et al., ICML 2017, eq. 3)."""
    return {
        BRIER + suffix: mean_metric((score - label) ** 2, patients),
        ECE + suffix: _calibration_error(label, score, patients, bins),
    }


def regression_metrics(measured: np.ndarray, predicted: np.ndarray, patients: Patients) -> dict[str, Metric]:
    """Mean absolute error and Pearson's correlation of predicted values, both (n,) in the measurement's unit."""
    return {
        MAE: mean_metric(np.abs(predicted - measured), patients),
        PEARSON: _correlation(measured, predicted, patients),
    }


def mean_metric(values: np.ndarray, patients: Patients, among: np.ndarray | None = None) -> Metric:
    """Mean of the records' values, (n,), over the records `among`, (n,) bool, or over all."""
    counted = np.ones(len(values), dtype=bool) if among is None else among
    sums, counts = patients.sums(values * counted), patients.sums(counted)
    return Metric(lambda drawn: _ratio(drawn @ sums, drawn @ counts), (counted,))


@dataclass(frozen=True)
class ReliabilityBin:
    """Records with a score in (low, high]; the first bin includes 0."""

    low: float
    high: float
    records: int
    positives: int
    mean_score: float


def bin_index(score: np.ndarray, bins: int) -> np.ndarray:
    """Index of each score's bin, (n,) int64; scores (n,) in [0, 1], bins of equal width (Guo et al., ICML 2017)."""
    return np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], score)


def reliability_bins(label: np.ndarray, score: np.ndarray, bins: int = BINS) -> list[ReliabilityBin]:
    """Bins of the reliability diagram that hold a record, from low to high scores.

    Args:
        label: (n,) 0 or 1.
        score: (n,) in [0, 1].
        bins: number of bins of equal width.
    """
    place, edges = bin_index(score, bins), np.linspace(0, 1, bins + 1)
    bins_with_records = []
    for index in np.unique(place).tolist():
        is_inside = place == index
        bins_with_records.append(
            ReliabilityBin(
                low=float(edges[index]),
                high=float(edges[index + 1]),
                records=int(is_inside.sum()),
                positives=int((label[is_inside] == 1).sum()),
                mean_score=float(score[is_inside].mean()),
            )
        )
    return bins_with_records


def _correlation(first: np.ndarray, second: np.ndarray, patients: Patients) -> Metric:
    """Pearson's correlation, nan of a constant; a resample is a weighted sum of the patients' sums."""
    every = np.ones(len(first), dtype=bool)
    x, y = (
        values - values.mean() if len(values) else values for values in (first, second)
    )  # small squares keep their digits
    sums = np.stack([patients.sums(values) for values in (every, x, y, x * x, y * y, x * y)], axis=1)

    def statistic(drawn: np.ndarray) -> np.ndarray:
        count, of_x, of_y, xx, yy, xy = (drawn @ sums).T
        spread = np.sqrt(np.maximum(xx - of_x**2 / count, 0) * np.maximum(yy - of_y**2 / count, 0))
        return _ratio(xy - of_x * of_y / count, np.where(spread > 1e-9 * count, spread, 0))

    return Metric(statistic, (every,))


def _balanced(sensitivity: Metric, specificity: Metric) -> Metric:
    return Metric(
        lambda drawn: (sensitivity.statistic(drawn) + specificity.statistic(drawn)) / 2,
        sensitivity.needs + specificity.needs,
    )


def _calibration_error(label: np.ndarray, score: np.ndarray, patients: Patients, bins: int) -> Metric:
    place = bin_index(score, bins)
    surplus = np.stack([patients.sums((score - label) * (place == index)) for index in range(bins)], axis=1)
    records = patients.sums(np.ones(len(score)))
    return Metric(
        lambda drawn: _ratio(np.abs(drawn @ surplus).sum(axis=1), drawn @ records), (np.ones(len(score), dtype=bool),)
    )


def _ranked(
    metric: Callable[[np.ndarray, np.ndarray], np.ndarray], label: np.ndarray, score: np.ndarray, patients: Patients
) -> Statistic:
    """Makes a statistic of `metric`, which takes drawn records and positives, (k, t) each, highest score first."""
    ranking = Ranking(-score, label == 1, patients)
    return lambda drawn: metric(*ranking.drawn(drawn))


def _auroc(records: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """Probability that a positive scores above a negative; ties count half (Mann-Whitney)."""
    positives_so_far = np.cumsum(positives, axis=1)
    above = positives_so_far - positives / 2
    of_positives = positives_so_far[:, -1]
    of_negatives = records.sum(axis=1) - of_positives
    outscored = np.einsum("kt,kt->k", records, above) - np.einsum("kt,kt->k", positives, above)
    return _ratio(outscored, of_positives * of_negatives)


def _average_precision(records: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """Mean of the precision at every distinct score, weighted by the recall gained there; no interpolation."""
    positives_so_far, records_so_far = np.cumsum(positives, axis=1), np.cumsum(records, axis=1)
    precision = np.divide(
        positives_so_far, records_so_far, out=np.zeros_like(positives_so_far), where=records_so_far > 0
    )
    gained = _ratio(np.einsum("kt,kt->k", positives, precision), positives_so_far[:, -1])
    return np.where(records_so_far[:, -1] > positives_so_far[:, -1], gained, np.nan)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Quotient; nan where `below` is 0."""
    return np.divide(above, below, out=np.full_like(above, np.nan, dtype=np.float64), where=below > 0)


def log_odds(score: np.ndarray) -> np.ndarray:
    """Log-odds of scores, same shape; finite for scores of 0 and 1, too."""
    return np.asarray(logit(np.clip(score, _CERTAIN, 1 - _CERTAIN)))
