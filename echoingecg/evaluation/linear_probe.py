"""Linear probe: logistic regression on the frozen mean embedding."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from echoingecg.evaluation.skipped import Skipped

MAX_ITERATIONS = 1000


def linear_probe_scores(mean: np.ndarray, label: np.ndarray, training: np.ndarray, c: float) -> np.ndarray | Skipped:
    """Fits on the training ECGs, scores all.

    Classes are not weighted: a score stays a probability at the training split's prevalence, and the
    threshold chosen on validation makes up for rare classes. Scores of training ECGs are in-sample.

    Args:
        mean: (n, D) mean embeddings, or other features; standardised with the training ECGs' mean and scale.
        label: (n,) 0 or 1; only those of training ECGs are read.
        training: (n,) bool.
        c: inverse L2 strength.

    Returns:
        (n,) float64 in [0, 1], or Skipped when the training ECGs lack a class.
    """
    seen = label[training]
    if len(seen) == 0:
        return Skipped("there is no labelled training ECG")
    if len(np.unique(seen)) < 2:
        return Skipped(f"all {len(seen)} labelled training ECGs have label {seen[0]}: one class teaches nothing")
    features = mean.astype(np.float64)
    probe: Pipeline = make_pipeline(
        StandardScaler(), LogisticRegression(C=c, solver="lbfgs", max_iter=MAX_ITERATIONS, class_weight=None)
    )
    with warnings.catch_warnings():
        # After 1000 iterations of a convex, regularised problem the remaining change is of no consequence.
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(features[training], seen)
    return probe.predict_proba(features)[:, 1]
