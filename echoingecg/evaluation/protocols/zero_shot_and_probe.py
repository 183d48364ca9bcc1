"""Scores from the frozen mean embedding: zero-shot from prompts alone, linear probe, few-shot from a few labels."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

from echoingecg.evaluation.data import embed, models, names
from echoingecg.evaluation.decision.threshold_and_referral import choose_threshold
from echoingecg.evaluation.metrics.classification import AUROC, BALANCED_ACCURACY
from echoingecg.recipe import FewShotSettings


def zero_shot_linear_score(
    positive: embed.GaussianTable, negative: embed.GaussianTable, scale: float
) -> models.LinearScore:
    """Probability that an ECG matches the positive prompts rather than the negative ones; no label is read.

    The logit of a class is the mean over its prompts of the student's match logit, -scale * d + shift, with d the
    closed-form sampled distance (Chun, ICLR 2024). The score is the softmax of the two classes, which is
    sigmoid(positive - negative). In that difference the shift, the ECG's own variance and the square of its mean
    cancel: the rest is linear in its mean.

    Args:
        positive: prompts for label 1, at least one.
        negative: prompts for label 0, at least one.
        scale: the student's learned scale.
    """
    (mean_p, own_p), (mean_n, own_n) = (_middle(prompts) for prompts in (positive, negative))
    return models.LinearScore(2 * scale * (mean_p - mean_n), scale * (own_n - own_p))


def zero_shot_scores(
    ecgs: embed.GaussianTable, positive: embed.GaussianTable, negative: embed.GaussianTable, scale: float
) -> np.ndarray:
    """Zero-shot scores of n ECGs, (n,) float64 in [0, 1]; arguments as in `zero_shot_linear_score`."""
    return zero_shot_linear_score(positive, negative, scale).scores(ecgs.mean)


def _middle(prompts: embed.GaussianTable) -> tuple[np.ndarray, float]:
    """Mean of the prompts' means, and mean of what each prompt alone adds to a distance."""
    mean = prompts.mean.astype(np.float64)
    return mean.mean(axis=0), float(((mean**2).sum(axis=1) + prompts.total_variance).mean())


MAX_ITERATIONS = 1000


def fit_linear_probe(
    mean: np.ndarray, label: np.ndarray, training: np.ndarray, c: float
) -> models.LinearScore | names.Skipped:
    """Fits a logistic regression on the training ECGs' frozen embeddings.

    Classes are not weighted: a score remains a probability at the training split's prevalence, and the threshold chosen
    on validation compensates for rare classes. Scores of training ECGs are in-sample.

    Args:
        mean: (n, D) mean embeddings, or other features; standardised with the training ECGs' mean and scale.
        label: (n,) 0 or 1; only those of training ECGs are read.
        training: (n,) bool.
        c: inverse L2 strength.

    Returns:
        The fitted probe, or Skipped when the training ECGs lack a class.
    """
    seen = label[training]
    if len(seen) == 0:
        return names.Skipped("there is no labelled training ECG")
    if len(np.unique(seen)) < 2:
        return names.Skipped(f"all {len(seen)} labelled training ECGs have label {seen[0]}: one class teaches nothing")
    scaler = StandardScaler()
    probe = LogisticRegression(C=c, solver="lbfgs", max_iter=MAX_ITERATIONS, class_weight=None)
    with warnings.catch_warnings():
        # After 1000 iterations of a convex, regularised problem the remaining change does not matter.
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(scaler.fit_transform(mean[training].astype(np.float64)), seen)
    weight = probe.coef_[0] / scaler.scale_
    return models.LinearScore(weight, float(probe.intercept_[0] - weight @ scaler.mean_))


def linear_probe_scores(
    mean: np.ndarray, label: np.ndarray, training: np.ndarray, c: float
) -> np.ndarray | names.Skipped:
    """The probe's scores of all n ECGs, (n,) float64 in [0, 1]; arguments as in `fit_linear_probe`."""
    line = fit_linear_probe(mean, label, training, c)
    return line if isinstance(line, names.Skipped) else line.scores(mean)


_SPREAD = (2.5, 97.5)  # percentiles of the draws


@dataclass(frozen=True)
class FewShot:
    """A metric on the test split after training on `cases` ECGs of each class: mean and spread over the draws."""

    cases: int
    metric: str
    value: float
    low: float
    high: float


def few_shot(
    mean: np.ndarray, label: np.ndarray, patient: np.ndarray, split: np.ndarray, settings: FewShotSettings, seed: int
) -> list[FewShot]:
    """Fits on the drawn training ECGs, chooses the threshold on validation, measures on test.

    Features are standardised over all training ECGs, which needs no label. A size for which a class has too few
    training patients is left out; nothing is measured where the test split lacks a class.

    Args:
        mean: (n, D) embeddings.
        label: (n,) 0 or 1; of the training ECGs only labels of drawn ones are read.
        patient, split: (n,) str.
        settings: sizes, draws, strength.
        seed: of the draws; ECGs of a smaller size are among those of a larger one.
    """
    training, validation, test = (np.flatnonzero(split == side) for side in ("train", "validation", "test"))
    if len(np.unique(label[test])) < 2 or len(training) == 0:
        return []
    features = StandardScaler().fit(mean[training].astype(np.float64)).transform(mean.astype(np.float64))
    results: dict[tuple[int, str], list[float]] = {}
    for draw in range(settings.draws):
        for cases, chosen in _draws(training, label, patient, settings.cases, np.random.default_rng((seed, draw))):
            model = LogisticRegression(C=settings.c, max_iter=MAX_ITERATIONS).fit(features[chosen], label[chosen])
            score = model.predict_proba(features)[:, 1]
            threshold = choose_threshold(label[validation], score[validation])
            accuracy = balanced_accuracy_score(label[test], score[test] >= threshold.value)
            results.setdefault((cases, AUROC), []).append(float(roc_auc_score(label[test], score[test])))
            results.setdefault((cases, BALANCED_ACCURACY), []).append(float(accuracy))
    return [
        FewShot(cases, metric, float(np.mean(values)), *map(float, np.percentile(values, _SPREAD)))
        for (cases, metric), values in results.items()
        if len(values) == settings.draws
    ]


def _draws(
    training: np.ndarray, label: np.ndarray, patient: np.ndarray, sizes: tuple[int, ...], random: np.random.Generator
) -> Iterator[tuple[int, np.ndarray]]:
    """Each size that the patients allow, with its ECGs: one for each patient, equally many of each class."""
    shuffled = random.permutation(training)
    _, first = np.unique(patient[shuffled], return_index=True)
    alone = shuffled[np.sort(first)]
    of_class = [alone[label[alone] == label_value] for label_value in (0, 1)]
    for size in sizes:
        if size <= min(map(len, of_class)):
            yield size, np.concatenate([ecgs[:size] for ecgs in of_class])
