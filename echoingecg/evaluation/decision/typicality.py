"""Typicality: how unlike an ECG is to those that the student was trained on, by the features of its trunk.

Two measures, each with a limit chosen on validation ECGs. The distance to the training ECGs (Mahalanobis; Lee et al.,
NeurIPS 2018, with one class; covariance of Ledoit and Wolf, J Multivar Anal 2004;88:365) grows with whatever was not
in the training. The likeness to disturbed copies of training ECGs (outlier exposure: Hendrycks et al., ICLR 2019) sees
what leaves an ECG plausible, such as exchanged electrodes.

Shape legend: n = ECGs, F = features.
"""

from dataclasses import dataclass, replace

import numpy as np
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from data_contracts.prediction import TypicalLimits
from echoingecg.evaluation.decision.threshold_and_referral import FLOAT32_ROUNDING

_DISTURBED_C = 0.01  # inverse L2 strength of the likeness; chosen on the simulated hospital of seed 101


@dataclass(frozen=True)
class Typicality:
    """Distance and likeness, with their limits.

    Attributes:
        centre: (F,) float64, mean of the training ECGs' features.
        whitening: (F, F) float64; whitened deviations of training ECGs have about the identity as covariance.
        disturbed: (1 + F,) float64, bias and weights of the log-odds that an ECG is disturbed.
        limits: an ECG beyond one of them is not typical.
    """

    centre: np.ndarray
    whitening: np.ndarray
    disturbed: np.ndarray
    limits: TypicalLimits

    def distance(self, features: np.ndarray) -> np.ndarray:
        """Mahalanobis distance per square root of F, (n,) float64: about 1 for an ECG like those of the training."""
        return mahalanobis(features, self.centre, self.whitening)

    def likeness(self, features: np.ndarray) -> np.ndarray:
        """Log-odds that an ECG is disturbed, among as many disturbed as undisturbed ones, (n,) float64."""
        return np.asarray(self.disturbed[0] + features.astype(np.float64) @ self.disturbed[1:])

    def is_typical(self, features: np.ndarray, distance: np.ndarray | None = None) -> np.ndarray:
        """Whether ECGs are within both limits and not within rounding of them, (n,) bool.

        Args:
            features: (n, F).
            distance: (n,) of the same ECGs, where it is known already.
        """
        distance = self.distance(features) if distance is None else distance
        near = FLOAT32_ROUNDING * np.sqrt(len(self.centre))
        likeness_near = FLOAT32_ROUNDING * np.linalg.norm(self.disturbed[1:]) * np.linalg.norm(features, axis=1)
        return np.asarray(
            (distance <= self.limits.distance * (1 - near))
            & (self.likeness(features) <= self.limits.likeness - likeness_near)
        )


def fit_distance(training: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Mean, (F,), and whitening, (F, F), of training rows, (n, F); None for rows that are too few or too alike."""
    if len(training) < 2:
        return None
    estimate = LedoitWolf().fit(training.astype(np.float64))
    try:
        return estimate.location_, np.linalg.cholesky(estimate.precision_)
    except np.linalg.LinAlgError:
        return None


def mahalanobis(rows: np.ndarray, centre: np.ndarray, whitening: np.ndarray) -> np.ndarray:
    """Mahalanobis distance per square root of F, (n,) float64, of rows (n, F)."""
    whitened = (rows.astype(np.float64) - centre) @ whitening
    return np.asarray(np.sqrt(np.mean(whitened**2, axis=1)))


def fit_typicality(
    training: np.ndarray, disturbed: np.ndarray, validation: np.ndarray, share: float
) -> Typicality | None:
    """Fits both measures on training ECGs and their limits on validation ECGs.

    Args:
        training: (n, F) features of the training ECGs.
        disturbed: (k, F) features of disturbed copies of them.
        validation: (m, F) features of validation ECGs without findings.
        share: of the validation ECGs that are to be typical; each limit leaves out half of the rest.

    Returns:
        The measures; None without copies, without a validation ECG, or with training ECGs that are too few or too
        alike for a covariance.
    """
    fitted_distance = fit_distance(training)
    if fitted_distance is None or len(disturbed) == 0 or len(validation) == 0:
        return None
    scaler = StandardScaler().fit(training.astype(np.float64))
    both = scaler.transform(np.concatenate([training, disturbed]).astype(np.float64))
    is_disturbed = np.arange(len(both)) >= len(training)
    fitted = LogisticRegression(C=_DISTURBED_C, class_weight="balanced", max_iter=3000).fit(both, is_disturbed)
    weight = fitted.coef_[0] / scaler.scale_
    line = np.append(fitted.intercept_[0] - weight @ scaler.mean_, weight)
    measure = Typicality(*fitted_distance, line, TypicalLimits(distance=0.0, likeness=0.0))
    each = 1 - (1 - share) / 2
    limits = TypicalLimits(
        distance=share_limit(measure.distance(validation), each),
        likeness=share_limit(measure.likeness(validation), each),
    )
    return replace(measure, limits=limits)


def share_limit(values: np.ndarray, share: float) -> float:
    """The smallest of the values, (m,), that at least this share of them does not exceed."""
    return float(np.sort(values)[min(int(np.ceil(share * len(values))), len(values)) - 1])
