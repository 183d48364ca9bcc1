"""Balanced accuracy and AUROC, with intervals from a bootstrap over patients."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

BALANCED_ACCURACY: Final = "balanced_accuracy"
AUROC: Final = "auroc"
METRICS: Final = (AUROC, BALANCED_ACCURACY)
_ELEMENTS: Final = 2_000_000  # weights held at once: 16 MB


@dataclass(frozen=True)
class Estimate:
    """A metric with its 95 % interval.

    The value is None where a class is absent. The interval is None, too, where a class comes from one patient
    alone: every resample holds the same patient, and the spread it shows is not that of patients.
    """

    value: float | None
    low: float | None
    high: float | None


def estimate(
    label: np.ndarray, score: np.ndarray, decision: np.ndarray, patient: np.ndarray, draws: int, seed: int
) -> dict[str, Estimate]:
    """AUROC of the scores and balanced accuracy of the decisions, percentile intervals (2.5 %, 97.5 %).

    Args:
        label: (n,) 0 or 1.
        score: (n,) higher for label 1.
        decision: (n,) 0 or 1.
        patient: (n,) str; a patient's ECGs are drawn together.
        draws: patient resamples; those that lack a class are skipped.
        seed: of the resamples; equal patients and seed give equal resamples.

    Returns:
        an estimate by name of METRICS.
    """
    if len(np.unique(label)) < 2:
        return {name: Estimate(None, None, None) for name in METRICS}
    value = {
        AUROC: float(roc_auc_score(label, score)),
        BALANCED_ACCURACY: float(balanced_accuracy_score(label, decision)),
    }
    if any(len(np.unique(patient[label == one])) < 2 for one in (0, 1)):
        return {name: Estimate(value[name], None, None) for name in METRICS}
    drawn = bootstrap(label, score, decision, patient, draws, seed)
    return {name: Estimate(value[name], *_percentiles(drawn[name])) for name in METRICS}


def bootstrap(
    label: np.ndarray, score: np.ndarray, decision: np.ndarray, patient: np.ndarray, draws: int, seed: int
) -> dict[str, np.ndarray]:
    """Both metrics on every patient resample that holds both classes: (k,) float64 each, k <= draws.

    A resample is a weight an ECG: how often its patient was drawn. AUROC of weighted scores is the
    probability that a positive outscores a negative, ties counting half (Mann-Whitney), read off cumulative
    weights along the sorted scores.
    """
    order = np.argsort(score, kind="stable")
    ordered = score[order]
    ties = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    names, owner = np.unique(patient[order], return_inverse=True)
    positive, called = (label[order] == 1).astype(np.float64), (decision[order] == 1).astype(np.float64)
    found: dict[str, list[np.ndarray]] = {name: [np.empty(0)] for name in METRICS}
    for times_drawn in _resamples(len(names), len(label), draws, seed):
        weights = times_drawn[:, owner]
        positives = weights @ positive
        negatives = weights.sum(axis=1) - positives
        both = (positives > 0) & (negatives > 0)
        weights, positives, negatives = weights[both], positives[both], negatives[both]
        hits, rejections = weights @ (positive * called), weights @ ((1 - positive) * (1 - called))
        found[BALANCED_ACCURACY].append((hits / positives + rejections / negatives) / 2)
        of_positives = np.add.reduceat(weights * positive, ties, axis=1)
        of_negatives = np.add.reduceat(weights * (1 - positive), ties, axis=1)
        outscored = np.cumsum(of_negatives, axis=1) - of_negatives / 2
        found[AUROC].append((of_positives * outscored).sum(axis=1) / (positives * negatives))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _resamples(patients: int, records: int, draws: int, seed: int) -> Iterator[np.ndarray]:
    """How often each patient is drawn, (chunk, patients) float64 a piece, until there are `draws` rows."""
    generator = np.random.default_rng(seed)
    chunk = max(1, _ELEMENTS // records)
    for start in range(0, draws, chunk):
        size = min(chunk, draws - start)
        picks = generator.integers(0, patients, size=(size, patients))
        flat = picks + patients * np.arange(size)[:, None]
        yield np.bincount(flat.ravel(), minlength=size * patients).reshape(size, patients).astype(np.float64)


def _percentiles(values: np.ndarray) -> tuple[float | None, float | None]:
    if len(values) == 0:
        return None, None
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
