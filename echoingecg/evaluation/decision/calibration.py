"""Calibration: makes a probability of a score by Platt's sigmoid or isotonic regression, fitted on validation ECGs."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from data_contracts.prediction import Calibration
from echoingecg.evaluation.metrics.classification import log_odds
from echoingecg.recipe.evaluation import CalibrationChoice

FOLDS = 5
MIN_PATIENTS_PER_CLASS = 10  # validation patients: a sigmoid through fewer tends to 0 or 1 outside their scores


@dataclass(frozen=True)
class Platt:
    """Platt's calibrator: probability = sigmoid(slope * logit(score) + intercept)."""

    slope: float
    intercept: float

    def __call__(self, score: np.ndarray) -> np.ndarray:
        """Probabilities of scores, both (n,)."""
        return np.asarray(expit(self.slope * log_odds(score) + self.intercept))


@dataclass(frozen=True)
class Isotonic:
    """Isotonic calibrator: linear between points (score, probability), constant beyond the first and the last."""

    score: tuple[float, ...]
    probability: tuple[float, ...]

    def __call__(self, score: np.ndarray) -> np.ndarray:
        """Probabilities of scores, both (n,)."""
        return np.interp(score, self.score, self.probability)


def fit_platt(label: np.ndarray, score: np.ndarray) -> Platt:
    """Fits a sigmoid of the log-odds (Platt 1999); his smoothed targets keep it finite where the classes separate.

    Args:
        label: (n,) 0 or 1, both present.
        score: (n,) in [0, 1].
    """
    positives, negatives = int((label == 1).sum()), int((label == 0).sum())
    target = np.where(label == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    # A target between 0 and 1 equals both labels, weighted by the target.
    odds = np.tile(log_odds(score), 2)[:, None]
    both = np.repeat([1, 0], len(label))
    fitted = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(
        odds, both, sample_weight=np.append(target, 1 - target)
    )
    return Platt(float(fitted.coef_[0, 0]), float(fitted.intercept_[0]))


def fit_isotonic(label: np.ndarray, score: np.ndarray) -> Isotonic:
    """Fits the non-decreasing function of least squared error (Zadrozny and Elkan 2002); arrays as in `fit_platt`."""
    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(score, label)
    return Isotonic(tuple(fitted.X_thresholds_.tolist()), tuple(fitted.y_thresholds_.tolist()))


def calibrate(by: Calibration, score: np.ndarray) -> np.ndarray:
    """Probabilities of scores, both (n,), by the calibration of a reading card."""
    if by.method == "platt":
        return Platt(by.slope, by.intercept)(score)
    return Isotonic(by.score, by.probability)(score) if by.method == "isotonic" else score


def choose_calibration(
    label: np.ndarray,
    score: np.ndarray,
    patient: np.ndarray,
    platt: Platt | None,
    isotonic: Isotonic | None,
    choice: CalibrationChoice,
) -> Calibration:
    """Chooses the calibrator of the reading card.

    Args:
        label: (n,) 0 or 1, of the validation ECGs alone.
        score: (n,) in [0, 1], of the same ECGs.
        patient: (n,) str, of the same ECGs.
        platt, isotonic: fitted on all of these ECGs; None when a class is absent.
        choice: name of a method, or `validation`: the method of lower Brier score on patients that it was not fitted
            on, in five folds of patients. It is Platt's where a fold would lack a class, and none where a class has
            fewer than MIN_PATIENTS_PER_CLASS patients.
    """
    if choice == "none" or platt is None or isotonic is None:
        why = "not calibrated" + ("" if choice == "none" else ": the validation ECGs lack a class")
        return Calibration(method="none", says=why)
    method, reason = choice, "asked for by the recipe"
    if choice == "validation":
        fewest = min(len(np.unique(patient[label == value])) for value in (0, 1))
        if fewest < MIN_PATIENTS_PER_CLASS:
            return Calibration(method="none", says=f"not calibrated: {fewest} validation patients of one class")
        platt_brier, isotonic_brier = (
            _brier_of_others(label, score, patient, fit) for fit in (fit_platt, fit_isotonic)
        )
        if platt_brier is None or isotonic_brier is None:
            method, reason = "platt", "by default: too few validation patients of a class to compare on"
        else:
            method = "platt" if platt_brier <= isotonic_brier else "isotonic"
            reason = f"Brier score on other validation patients: Platt {platt_brier:.4f}, isotonic {isotonic_brier:.4f}"
    reason = f"{method}, fitted on {len(label)} validation ECGs; {reason}"
    if method == "platt":
        return Calibration(method="platt", slope=platt.slope, intercept=platt.intercept, says=reason)
    return Calibration(method="isotonic", score=isotonic.score, probability=isotonic.probability, says=reason)


def _brier_of_others(
    label: np.ndarray, score: np.ndarray, patient: np.ndarray, fit: Callable[..., Platt | Isotonic]
) -> float | None:
    """Brier score on patients outside the fit, by folds; None where the patients of a fit lack a class."""
    fold = np.unique(patient, return_inverse=True)[1] % FOLDS
    probability = np.empty(len(score))
    for held_out in np.unique(fold):
        is_out = fold == held_out
        if len(np.unique(label[~is_out])) < 2:
            return None
        probability[is_out] = fit(label[~is_out], score[~is_out])(score[is_out])
    return float(((probability - label) ** 2).mean())
