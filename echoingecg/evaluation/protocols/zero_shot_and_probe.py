"""Few-shot: logistic regression on the mean embedding of a few labelled ECGs, drawn many times."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

from echoingecg.evaluation.linear_probe import MAX_ITERATIONS
from echoingecg.evaluation.metrics.classification import AUROC, BALANCED_ACCURACY
from echoingecg.evaluation.thresholds import choose_threshold
from echoingecg.recipe import FewShotSettings

_SPREAD: Final = (2.5, 97.5)  # percentiles of the draws


@dataclass(frozen=True)
class FewShot:
    """A metric on the test split with `cases` labels of each class: mean and spread over the draws."""

    cases: int
    metric: str
    value: float
    low: float
    high: float


def few_shot(
    mean: np.ndarray, label: np.ndarray, patient: np.ndarray, split: np.ndarray, settings: FewShotSettings, seed: int
) -> list[FewShot]:
    """Fits on the drawn training ECGs, sets the threshold on validation, measures on test.

    Features are standardised over all training ECGs, whose labels that does not need. Sizes for which a class
    has too few training patients are left out; nothing is measured where the test split lacks a class.

    Args:
        mean: (n, D) embeddings.
        label: (n,) 0 or 1; of training ECGs only the drawn ones' are read.
        patient, split: (n,) str.
        settings: sizes, draws, strength.
        seed: of the draws; a smaller size's ECGs are among a larger one's.
    """
    training, validation, test = (np.flatnonzero(split == side) for side in ("train", "validation", "test"))
    if len(np.unique(label[test])) < 2 or len(training) == 0:
        return []
    features = StandardScaler().fit(mean[training].astype(np.float64)).transform(mean.astype(np.float64))
    found: dict[tuple[int, str], list[float]] = {}
    for draw in range(settings.draws):
        for cases, chosen in _draws(training, label, patient, settings.cases, np.random.default_rng((seed, draw))):
            model = LogisticRegression(C=settings.c, max_iter=MAX_ITERATIONS).fit(features[chosen], label[chosen])
            score = model.predict_proba(features)[:, 1]
            threshold = choose_threshold(label[validation], score[validation])
            accuracy = balanced_accuracy_score(label[test], score[test] >= threshold.value)
            found.setdefault((cases, AUROC), []).append(float(roc_auc_score(label[test], score[test])))
            found.setdefault((cases, BALANCED_ACCURACY), []).append(float(accuracy))
    return [
        FewShot(cases, metric, float(np.mean(values)), *map(float, np.percentile(values, _SPREAD)))
        for (cases, metric), values in found.items()
        if len(values) == settings.draws
    ]


def _draws(
    training: np.ndarray, label: np.ndarray, patient: np.ndarray, sizes: tuple[int, ...], random: np.random.Generator
) -> Iterator[tuple[int, np.ndarray]]:
    """Each size that the patients allow, with its ECGs: one a patient, as many of each class."""
    shuffled = random.permutation(training)
    _, first = np.unique(patient[shuffled], return_index=True)
    alone = shuffled[np.sort(first)]
    of_class = [alone[label[alone] == one] for one in (0, 1)]
    for size in sizes:
        if size <= min(map(len, of_class)):
            yield size, np.concatenate([one[:size] for one in of_class])
