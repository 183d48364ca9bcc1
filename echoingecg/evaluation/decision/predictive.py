"""The predictive distribution: what the echo itself would say, given the ECG, as a normal distribution.

The echo's value is the log-odds that the question gets from the teacher's mean embedding of the study, or the number
measured; no label is read for the former. Its mean is linear in the student's own value of the ECG (none, for a number)
and in the features of the student's trunk. The logarithm of its variance is linear in the logarithm of the ECG's
distance to the training ECGs, fitted on clean ECGs and disturbed copies of them, and in the features, fitted on the
clean ECGs; the further an ECG is from the training, the less the features count. Both are fitted to squared residuals
by a Gamma likelihood with a log link (Davidian and Carroll, JASA 1987;82:1079): the aleatoric uncertainty of Kendall
and Gal, NeurIPS 2017, on frozen features.

Shape legend: n = ECGs, F = features.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
from scipy.stats import norm
from sklearn.linear_model import GammaRegressor, Ridge
from sklearn.preprocessing import StandardScaler

from data_contracts.prediction import Predictive
from echoingecg.evaluation.decision.threshold_and_referral import FLOAT32_ROUNDING
from echoingecg.evaluation.metrics.classification import log_odds

INTERVAL_MASS = 0.9  # of the intervals that hold on the validation ECGs
INTERVAL_REACH = float(norm.ppf((1 + INTERVAL_MASS) / 2))  # half their width, in deviations
# Strengths were chosen on the simulated hospital of seed 101.
_RIDGE = 1000.0  # L2 strength of the mean's weights; 100 and 300 were worse
_VARIANCE_ALPHA = 0.3  # L2 strength of the log-variance's weights on the features; 0.1 and 1 gave the same there
_FEATURE_UNIT = 0.3  # of the standardised features, beside which the strength is meant
_FADING = 4  # power of the distance with which the features' part of the log-variance fades beyond the typical
_LEAST_SHARE = 1e-4  # of the mean squared residual: smaller squared residuals count as this


class EcgValues(NamedTuple):
    """What a predictive distribution is made of, for n ECGs.

    Attributes:
        value: (n,) the student's own value; 0 where it has none.
        distance: (n,) to the training ECGs.
        features: (n, F) of the student's trunk.
    """

    value: np.ndarray
    distance: np.ndarray
    features: np.ndarray


@dataclass(frozen=True)
class PredictiveDistribution:
    """Mean and standard deviation of the echo's value, given the ECG.

    Attributes:
        scalars: everything but the weights on the features.
        mean_weight: (F,) float64.
        log_variance_weight: (F,) float64.
    """

    scalars: Predictive
    mean_weight: np.ndarray
    log_variance_weight: np.ndarray

    def mean(self, ecgs: EcgValues) -> np.ndarray:
        """Expected value of the echo, (n,) float64."""
        linear = self.scalars.slope * ecgs.value + self.scalars.intercept
        return np.asarray(linear + ecgs.features.astype(np.float64) @ self.mean_weight)

    def deviation(self, ecgs: EcgValues) -> np.ndarray:
        """Standard deviation of the echo's value, (n,) float64."""
        scalars = self.scalars
        by_features = ecgs.features.astype(np.float64) @ self.log_variance_weight + scalars.log_variance_bias
        fading = np.minimum(1.0, scalars.typical_distance / ecgs.distance) ** _FADING
        by_distance = scalars.log_variance + scalars.log_variance_slope * np.log(ecgs.distance)
        return np.asarray(np.exp((by_distance + fading * by_features) / 2))


def fit_predictive(
    clean: tuple[EcgValues, np.ndarray],
    copies: tuple[EcgValues, np.ndarray],
    validation: tuple[EcgValues, np.ndarray],
    typical_distance: float,
) -> PredictiveDistribution | None:
    """Fits the distribution.

    Args:
        clean: training ECGs, with the echo's value, (n,).
        copies: disturbed copies of training ECGs, with the value of the same echo.
        validation: ECGs on which intervals of INTERVAL_MASS are to hold.
        typical_distance: that of half of the training ECGs; beyond it the features count less.

    Returns:
        The distribution; None where training or validation ECGs are too few, or the echo's values all alike.
    """
    ecgs, target = clean
    if len(target) < 2 or len(validation[1]) < 2 or np.ptp(target) == 0:
        return None
    every = EcgValues(*(np.concatenate(parts) for parts in zip(ecgs, copies[0], strict=True)))
    echo = np.concatenate([target, copies[1]])
    scaler = StandardScaler().fit(every.features.astype(np.float64))
    unit = float(every.value.std()) or 1.0
    inputs = np.column_stack([scaler.transform(every.features.astype(np.float64)), every.value / unit])
    line = Ridge(_RIDGE).fit(inputs, echo)
    mean_weight = line.coef_[:-1] / scaler.scale_
    scalars = Predictive(
        slope=float(line.coef_[-1] / unit), intercept=float(line.intercept_ - mean_weight @ scaler.mean_),
        log_variance=0.0, log_variance_slope=0.0, log_variance_bias=0.0, typical_distance=typical_distance,
    )  # fmt: skip
    fitted = PredictiveDistribution(scalars, mean_weight, np.zeros(len(mean_weight)))
    squared = (echo - fitted.mean(every)) ** 2
    squared = np.maximum(squared, _LEAST_SHARE * squared.mean())
    logarithm = np.log(every.distance)[:, None]
    noise = GammaRegressor(alpha=0.0, max_iter=1000).fit(logarithm, squared)
    if noise.coef_[0] < 0:  # a larger distance never makes an answer surer
        noise.coef_, noise.intercept_ = np.zeros(1), float(np.log(squared.mean()))
    scaled = _FEATURE_UNIT * scaler.transform(ecgs.features.astype(np.float64))
    heart = GammaRegressor(alpha=_VARIANCE_ALPHA, max_iter=1000).fit(
        scaled, (squared / noise.predict(logarithm))[: len(target)]
    )
    weight = _FEATURE_UNIT * heart.coef_ / scaler.scale_
    update = {
        "log_variance": float(noise.intercept_),
        "log_variance_slope": float(noise.coef_[0]),
        "log_variance_bias": -float((ecgs.features.astype(np.float64) @ weight).mean()),
    }
    fitted = PredictiveDistribution(scalars.model_copy(update=update), mean_weight, weight)
    return _stretched(fitted, *validation)


def _stretched(fitted: PredictiveDistribution, ecgs: EcgValues, echo: np.ndarray) -> PredictiveDistribution:
    """The distribution with the deviations that make intervals of INTERVAL_MASS hold on these ECGs."""
    relative = np.abs(echo - fitted.mean(ecgs)) / fitted.deviation(ecgs)
    stretch = float(np.quantile(relative, INTERVAL_MASS)) / INTERVAL_REACH
    log_variance = fitted.scalars.log_variance + 2 * float(np.log(max(stretch, 1e-6)))
    scalars = fitted.scalars.model_copy(update={"log_variance": log_variance})
    return replace(fitted, scalars=scalars)


@dataclass(frozen=True)
class ExpectedEcho:
    """What the echoes of n ECGs are expected to give: log-odds of a question, or a number.

    Attributes:
        mean: (n,) float64.
        deviation: (n,) float64, predictive standard deviation; 0 where nothing predicts it: distances are then in
            log-odds.
        error: (n,) float64, by how much the mean may differ between two computations, see FLOAT32_ROUNDING.
    """

    mean: np.ndarray
    deviation: np.ndarray
    error: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> Self:
        return type(self)(self.mean[rows], self.deviation[rows], self.error[rows])

    def distance(self, threshold: float) -> np.ndarray:
        """Distance to the log-odds of a threshold, in deviations, (n,) float64; not negative for label 1."""
        return np.asarray((self.mean - float(log_odds(np.array(threshold)))) / self._unit)

    @property
    def interval(self) -> tuple[np.ndarray, np.ndarray]:
        """Ends of the interval that holds INTERVAL_MASS of the echoes' values, (n,) float64 each."""
        reach = INTERVAL_REACH * self.deviation
        return self.mean - reach, self.mean + reach

    @property
    def rounding(self) -> np.ndarray:
        """By how much distances may differ between two computations, (n,) float64."""
        return np.asarray(self.error / self._unit)

    @property
    def _unit(self) -> np.ndarray:
        return np.where(self.deviation > 0, self.deviation, 1.0)


def expected_echo(predictive: PredictiveDistribution | None, ecgs: EcgValues, steepness: float) -> ExpectedEcho:
    """The expected echo of n ECGs: the student's own log-odds where there is no distribution.

    Args:
        predictive: of the question.
        ecgs: with the log-odds of the student's score as values.
        steepness: by how much the log-odds change at most when the embedding moves by 1.
    """
    error = np.full(len(ecgs.value), FLOAT32_ROUNDING * steepness)
    if predictive is None:
        return ExpectedEcho(ecgs.value, np.zeros(len(error)), error)
    size = np.linalg.norm(ecgs.features, axis=1) * np.linalg.norm(predictive.mean_weight)
    error = abs(predictive.scalars.slope) * error + FLOAT32_ROUNDING * size
    return ExpectedEcho(predictive.mean(ecgs), predictive.deviation(ecgs), error)


def expected_number(predictive: PredictiveDistribution, distance: np.ndarray, features: np.ndarray) -> ExpectedEcho:
    """The expected number of n ECGs, of their distances to the training ECGs, (n,), and features, (n, F)."""
    return expected_echo(predictive, EcgValues(np.zeros(len(distance)), distance, features), 0.0)
