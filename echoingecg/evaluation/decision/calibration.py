"""Calibration: makes a probability of a score by Platt's sigmoid or isotonic regression, fitted on validation ECGs.

Platt's sigmoid takes the echo's log-odds for normally distributed about those of the ECG, and averages over them: a
less certain ECG gets a probability nearer to one half.
"""

from dataclasses import dataclass
from math import pi

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression

from data_contracts.prediction import Calibration
from echoingecg.recipe.evaluation import CalibrationChoice

FOLDS = 5
MIN_PATIENTS_PER_CLASS = 10  # validation patients: a sigmoid through fewer tends to 0 or 1 outside their scores


@dataclass(frozen=True)
class Platt:
    """Platt's calibrator of normally distributed log-odds.

    The probability is the mean of sigmoid(slope * t + intercept) over t ~ N(mean, deviation^2), by MacKay's
    approximation (Neural Computation 1992;4:720, eq. 10): the argument is divided by
    sqrt(1 + pi/8 slope^2 deviation^2).
    """

    slope: float
    intercept: float

    def __call__(self, mean: np.ndarray, deviation: np.ndarray | float = 0.0) -> np.ndarray:
        """Probabilities, (n,), of mean log-odds and their deviation, (n,) each."""
        spread = np.sqrt(1 + pi / 8 * (self.slope * deviation) ** 2)
        return np.asarray(expit((self.slope * mean + self.intercept) / spread))


@dataclass(frozen=True)
class Isotonic:
    """Isotonic calibrator: linear between points (score, probability), constant beyond the first and the last."""

    score: tuple[float, ...]
    probability: tuple[float, ...]

    def __call__(self, score: np.ndarray) -> np.ndarray:
        """Probabilities of scores, both (n,)."""
        return np.interp(score, self.score, self.probability)


def fit_platt(label: np.ndarray, mean: np.ndarray, deviation: np.ndarray | float = 0.0) -> Platt:
    """Fits the calibrator by likelihood; Platt's smoothed targets (1999) keep it finite where the classes separate.

    Args:
        label: (n,) 0 or 1, both present.
        mean: (n,) log-odds.
        deviation: (n,) of the log-odds; 0 for plain Platt scaling.
    """
    positives, negatives = int((label == 1).sum()), int((label == 0).sum())
    target = np.where(label == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    scale = max(float(np.std(mean)), 1e-9)

    def loss(parameters: np.ndarray) -> float:
        probability = np.clip(Platt(parameters[0] / scale, parameters[1])(mean, deviation), 1e-15, 1 - 1e-15)
        return -float(np.mean(target * np.log(probability) + (1 - target) * np.log1p(-probability)))

    start = np.array([1.0, np.log((positives + 1) / (negatives + 1)) - float(np.mean(mean)) / scale])
    fitted = minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-12, "maxiter": 4000})
    return Platt(float(fitted.x[0]) / scale, float(fitted.x[1]))


def fit_isotonic(label: np.ndarray, score: np.ndarray) -> Isotonic:
    """Fits the non-decreasing function of least squared error (Zadrozny and Elkan 2002); arrays as in `fit_platt`."""
    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(score, label)
    return Isotonic(tuple(fitted.X_thresholds_.tolist()), tuple(fitted.y_thresholds_.tolist()))


def calibrate(by: Calibration, score: np.ndarray, mean: np.ndarray, deviation: np.ndarray | float) -> np.ndarray | None:
    """Probabilities, (n,), by the calibration of a reading card; None where it holds none.

    Args:
        by: of the card; isotonic regression takes the score, Platt's sigmoid the other two.
        score: (n,) in [0, 1].
        mean: (n,) log-odds that the echo is expected to get.
        deviation: (n,) of the same.
    """
    if by.method == "platt":
        return Platt(by.slope, by.intercept)(mean, deviation)
    return Isotonic(by.score, by.probability)(score) if by.method == "isotonic" else None


@dataclass(frozen=True)
class CalibrationEcgs:
    """Validation ECGs to calibrate on; (n,) each.

    Attributes:
        label: 0 or 1.
        patient: str.
        score: in [0, 1].
        mean, deviation: log-odds that the echo is expected to get, and their predictive standard deviation.
    """

    label: np.ndarray
    patient: np.ndarray
    score: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray

    @property
    def has_both_classes(self) -> bool:
        """Whether there is an ECG of each class."""
        return len(np.unique(self.label)) == 2

    def __getitem__(self, rows: np.ndarray) -> "CalibrationEcgs":
        return CalibrationEcgs(
            self.label[rows], self.patient[rows], self.score[rows], self.mean[rows], self.deviation[rows]
        )

    def platt(self) -> Platt:
        """Platt's sigmoid of these ECGs."""
        return fit_platt(self.label, self.mean, self.deviation)

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
        probability[0, fold == held_out] = fitted.platt()(judged.mean, judged.deviation)
        probability[1, fold == held_out] = fitted.isotonic()(judged.score)
    platt, isotonic = ((probability - ecgs.label) ** 2).mean(axis=1)
    return float(platt), float(isotonic)
