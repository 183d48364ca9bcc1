"""Scores made into probabilities on the validation split: Platt's sigmoid, and isotonic regression."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

_CERTAIN: Final = 1e-12  # scores of 0 and 1 need a place among the log-odds


@dataclass(frozen=True)
class Platt:
    """probability = sigmoid(slope * logit(score) + intercept)"""

    slope: float
    intercept: float

    def __call__(self, score: np.ndarray) -> np.ndarray:
        """(n,) scores -> (n,) probabilities."""
        return np.asarray(expit(self.slope * log_odds(score) + self.intercept))


@dataclass(frozen=True)
class Isotonic:
    """A line through the points (score, probability), level beyond the ends."""

    score: tuple[float, ...]
    probability: tuple[float, ...]

    def __call__(self, score: np.ndarray) -> np.ndarray:
        """(n,) scores -> (n,) probabilities."""
        return np.interp(score, self.score, self.probability)


def fit_platt(label: np.ndarray, score: np.ndarray) -> Platt:
    """Sigmoid of the log-odds (Platt 1999), with his smoothed targets, so that classes told apart stay finite.

    Args:
        label: (n,) 0 or 1, both there.
        score: (n,) in [0, 1].
    """
    positives, negatives = int((label == 1).sum()), int((label == 0).sum())
    target = np.where(label == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    # A target between 0 and 1 is the same as both labels, weighed by it.
    odds = np.tile(log_odds(score), 2)[:, None]
    both = np.repeat([1, 0], len(label))
    fitted = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(
        odds, both, sample_weight=np.append(target, 1 - target)
    )
    return Platt(float(fitted.coef_[0, 0]), float(fitted.intercept_[0]))


def fit_isotonic(label: np.ndarray, score: np.ndarray) -> Isotonic:
    """The never falling function of least squared error (Zadrozny and Elkan, KDD 2002). Arrays as in `fit_platt`."""
    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(score, label)
    return Isotonic(tuple(fitted.X_thresholds_.tolist()), tuple(fitted.y_thresholds_.tolist()))


def log_odds(score: np.ndarray) -> np.ndarray:
    """Finite also for scores of 0 and 1; same shape."""
    return np.asarray(logit(np.clip(score, _CERTAIN, 1 - _CERTAIN)))
