"""Linear probe: logistic regression on the frozen mean embedding."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from echoingecg.evaluation.line import Line
from echoingecg.evaluation.skipped import Skipped

MAX_ITERATIONS = 1000


def linear_probe_line(mean: np.ndarray, label: np.ndarray, training: np.ndarray, c: float) -> Line | Skipped:
    """Fits on the training ECGs.

    Classes are not weighted: a score stays a probability at the training split's prevalence, and the
    threshold chosen on validation makes up for rare classes. Scores of training ECGs are in-sample.

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
        return Skipped("there is no labelled training ECG")
    if len(np.unique(seen)) < 2:
        return Skipped(f"all {len(seen)} labelled training ECGs have label {seen[0]}: one class teaches nothing")
    scaler = StandardScaler()
    probe = LogisticRegression(C=c, solver="lbfgs", max_iter=MAX_ITERATIONS, class_weight=None)
    with warnings.catch_warnings():
        # After 1000 iterations of a convex, regularised problem the remaining change is of no consequence.
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(scaler.fit_transform(mean[training].astype(np.float64)), seen)
    weight = probe.coef_[0] / scaler.scale_
    return Line(weight, float(probe.intercept_[0] - weight @ scaler.mean_))


def linear_probe_scores(mean: np.ndarray, label: np.ndarray, training: np.ndarray, c: float) -> np.ndarray | Skipped:
    """The probe's scores of all n ECGs, (n,) float64 in [0, 1]; arguments as of `linear_probe_line`."""
    line = linear_probe_line(mean, label, training, c)
    return line if isinstance(line, Skipped) else line.scores(mean)
