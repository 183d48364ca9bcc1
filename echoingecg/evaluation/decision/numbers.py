"""Numbers of the echo with an interval: when they say nothing, and when they contradict the answer to a question.

Evaluation and prediction apply the same rules. A number and a question of the same measurement come from different
fits, and the question's threshold weighs both classes alike, so a "yes" beside a value on the other side is no fault.
It is one where the whole interval lies on the other side: then both are referred.

Shape legend: n = ECGs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from data_contracts.prediction import NumberLimit, NumberReading
from echoingecg.evaluation.decision.predictive import (
    INTERVAL_MASS,
    INTERVAL_REACH,
    ExpectedEcho,
    PredictiveDistribution,
)
from echoingecg.recipe import Endpoint, RegressionEndpoint
from echoingecg.recipe.evaluation import ThresholdBySex

_EQUAL = 1e-5  # relative: a deviation that is smaller than the widest by less is too wide


@dataclass(frozen=True)
class LoadedNumber:
    """A number with its arrays.

    Attributes:
        reading: names, limits.
        predictive: of the number.
    """

    reading: NumberReading
    predictive: PredictiveDistribution

    def is_too_wide(self, expected: ExpectedEcho) -> np.ndarray:
        """Whether the ECG tells no more than a guess without it, (n,) bool."""
        return expected.deviation >= self.reading.widest * (1 - _EQUAL)

    def within_range(self, expected: ExpectedEcho) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Value and both ends of its interval, cut to the valid range, (n,) float64 each."""
        low, high = (np.clip(end, *self.reading.valid_range) for end in expected.interval)
        return np.clip(expected.mean, *self.reading.valid_range), low, high


def widest_deviation(training: np.ndarray, validation: np.ndarray) -> float:
    """Deviation of a guess without an ECG: the training mean, with intervals that hold on validation.

    Args:
        training: (n,) measured.
        validation: (m,) measured, at least one.
    """
    return float(np.quantile(np.abs(validation - training.mean()), INTERVAL_MASS)) / INTERVAL_REACH


def limits_of_questions(endpoints: Sequence[Endpoint], numbers: Sequence[RegressionEndpoint]) -> dict[str, NumberLimit]:
    """For each question whose measurement and unit a number has, too, where it parts that number's values.

    A question that words answer, too, parts no values.
    """
    limits = {}
    for endpoint in endpoints:
        for number in numbers:
            has_words = endpoint.positive_words or endpoint.negative_words
            if (number.measurements, number.unit) == (endpoint.measurements, endpoint.unit) and not has_words:
                by_sex = endpoint.threshold
                ends = (by_sex.F, by_sex.M) if isinstance(by_sex, ThresholdBySex) else (by_sex, by_sex)
                limits[endpoint.name] = NumberLimit(
                    number=number.name,
                    is_yes_below=endpoint.comparison[0] == "<",
                    lowest=min(ends),
                    highest=max(ends),
                )
                break
    return limits


def contradicts(limit: NumberLimit | None, numbers: Mapping[str, ExpectedEcho], decision: np.ndarray) -> np.ndarray:
    """Whether the whole interval of the number lies where the other answer is right, (n,) bool; or within rounding.

    Where the threshold differs by sex, the interval must lie beyond both: prediction knows no sex.

    Args:
        limit: of the question; None for one without a number.
        numbers: by name.
        decision: (n,) 0 or 1, of the question.
    """
    if limit is None:
        return np.zeros(len(decision), bool)
    expected = numbers[limit.number]
    low, high = expected.interval
    is_above, is_below = low + expected.error >= limit.highest, high - expected.error <= limit.lowest
    return np.where((decision == 1) == limit.is_yes_below, is_above, is_below)
