"""Calibration: makes a probability of a score by Platt's sigmoid or isotonic regression, fitted on validation ECGs.

Platt's sigmoid takes the distance to the threshold in predictive deviations: a less certain ECG gets a probability
nearer to one half. (MacKay's form, Neural Computation 1992;4:720, divides by sqrt(1 + k deviation^2); fitted to
simulated hospitals, its slope ran away with the deviations, which is this.)
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from data_contracts.prediction import Calibration
from echoingecg.recipe.evaluation import CalibrationChoice

FOLDS = 5
MIN_PATIENTS_PER_CLASS = 10  # validation patients: a sigmoid through fewer tends to 0 or 1 outside their scores


@dataclass(frozen=True)
class Platt:
    """Platt's calibrator: probability = sigmoid(slope * distance + intercept)."""

    slope: float
    intercept: float

    def __call__(self, distance: np.ndarray) -> np.ndarray:
        """Probabilities of distances to the threshold, both (n,)."""
        return np.asarray(expit(self.slope * distance + self.intercept))


@dataclass(frozen=True)
class Isotonic:
    """Isotonic calibrator: linear between points (score, probability), constant beyond the first and the last."""

    score: tuple[float, ...]
    probability: tuple[float, ...]

    def __call__(self, score: np.ndarray) -> np.ndarray:
        """Probabilities of scores, both (n,)."""
        return np.interp(score, self.score, self.probability)


def fit_platt(label: np.ndarray, distance: np.ndarray) -> Platt:
    """Fits a sigmoid (Platt 1999); his smoothed targets keep it finite where the classes separate.

    Args:
        label: (n,) 0 or 1, both present.
        distance: (n,) to the threshold, in predictive deviations or in log-odds.
    """
    positives, negatives = int((label == 1).sum()), int((label == 0).sum())
    target = np.where(label == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    # A target between 0 and 1 equals both labels, weighted by the target.
    both = np.repeat([1, 0], len(label))
    fitted = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(
        np.tile(distance, 2)[:, None], both, sample_weight=np.append(target, 1 - target)
    )
    return Platt(float(fitted.coef_[0, 0]), float(fitted.intercept_[0]))


def fit_isotonic(label: np.ndarray, score: np.ndarray) -> Isotonic:
    """Fits the non-decreasing function of least squared error (Zadrozny and Elkan 2002); score (n,) in [0, 1]."""
    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(score, label)
    return Isotonic(tuple(fitted.X_thresholds_.tolist()), tuple(fitted.y_thresholds_.tolist()))


def calibrate(by: Calibration, score: np.ndarray, distance: np.ndarray) -> np.ndarray | None:
    """Probabilities, (n,), by the calibration of a reading card; None where it holds none.

    Args:
        by: of the card; isotonic regression takes the score, Platt's sigmoid the distance.
        score: (n,) in [0, 1].
        distance: (n,) to the threshold, of `predictive.ExpectedEcho.distance`.
    """
    if by.method == "platt":
        return Platt(by.slope, by.intercept)(distance)
    return Isotonic(by.score, by.probability)(score) if by.method == "isotonic" else None


@dataclass(frozen=True)
class CalibrationEcgs:
    """Validation ECGs to calibrate on; (n,) each.

    Attributes:
        label: 0 or 1.
        patient: str.
        score: in [0, 1].
        distance: to the threshold, of `predictive.ExpectedEcho.distance`.
    """

    label: np.ndarray
    patient: np.ndarray
    score: np.ndarray
    distance: np.ndarray

    @property
    def has_both_classes(self) -> bool:
        """Whether there is an ECG of each class."""
        return len(np.unique(self.label)) == 2

    def __getitem__(self, rows: np.ndarray) -> "CalibrationEcgs":
        return CalibrationEcgs(self.label[rows], self.patient[rows], self.score[rows], self.distance[rows])

    def platt(self) -> Platt:
        """Platt's sigmoid of these ECGs."""
        return fit_platt(self.label, self.distance)

    def isotonic(self) -> Isotonic:
        """Isotonic regression of these ECGs."""
        return fit_isotonic(self.label, self.score)


def choose_calibration(
    ecgs: CalibrationEcgs, platt: Platt | None, isotonic: Isotonic | None, choice: CalibrationChoice
) -> Calibration:
    """Chooses the calibrator of the reading card.

    Args:
        ecgs: validation ECGs alone.
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
        fewest = min(len(np.unique(ecgs.patient[ecgs.label == value])) for value in (0, 1))
        if fewest < MIN_PATIENTS_PER_CLASS:
            return Calibration(method="none", says=f"not calibrated: {fewest} validation patients of one class")
        fold = np.unique(ecgs.patient, return_inverse=True)[1] % FOLDS
        if all(ecgs[fold != held_out].has_both_classes for held_out in np.unique(fold)):
            platt_brier, isotonic_brier = _briers_of_others(ecgs, fold)
            method = "platt" if platt_brier <= isotonic_brier else "isotonic"
            reason = f"Brier score on other validation patients: Platt {platt_brier:.4f}, isotonic {isotonic_brier:.4f}"
        else:
            method, reason = "platt", "by default: too few validation patients of a class to compare on"
    reason = f"{method}, fitted on {len(ecgs.label)} validation ECGs; {reason}"
    if method == "platt":
        return Calibration(method="platt", slope=platt.slope, intercept=platt.intercept, says=reason)
    return Calibration(method="isotonic", score=isotonic.score, probability=isotonic.probability, says=reason)


def _briers_of_others(ecgs: CalibrationEcgs, fold: np.ndarray) -> tuple[float, float]:
    """Brier scores of Platt's sigmoid and of isotonic regression on patients outside the fit, by folds."""
    probability = np.empty((2, len(ecgs.label)))
    for held_out in np.unique(fold):
        fitted, judged = ecgs[fold != held_out], ecgs[fold == held_out]
        probability[0, fold == held_out] = fitted.platt()(judged.distance)
        probability[1, fold == held_out] = fitted.isotonic()(judged.score)
    platt, isotonic = ((probability - ecgs.label) ** 2).mean(axis=1)
    return float(platt), float(isotonic)
