"""The predictive distribution: what it recovers of simulated echoes, and what its intervals hold."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm, spearmanr

from data_contracts.prediction import Predictive
from echoingecg.evaluation.decision.predictive import (
    INTERVAL_MASS,
    EcgValues,
    PredictiveDistribution,
    expected_echo,
    fit_predictive,
)
from echoingecg.evaluation.decision.threshold_and_referral import FLOAT32_ROUNDING

FEATURES = 8
MEAN_WEIGHT = np.array([0.5, -0.4, 0.3, 0, 0, 0, 0, 0])
LOG_SD_WEIGHT = np.array([0, 0, 0, 0.2, -0.15, 0, 0, 0])
TYPICAL = 1.3
MANY = 20_000  # ECGs, beside which the strengths of the fit count little
Case = tuple[EcgValues, np.ndarray]


def case(count: int, seed: int, noise: float = 1.0) -> Case:
    """ECGs with the echo's value: linear in value and features, its spread too, and growing with the distance."""
    random = np.random.default_rng((4, seed))
    features = random.normal(1, 1, (count, FEATURES)) * np.maximum(noise, 1)
    distance = np.maximum(noise, 1) * np.exp(random.normal(0, 0.05, count))
    value = random.normal(0, 3, count)
    ecgs = EcgValues(value, distance, features.astype(np.float32))
    return ecgs, random.normal(true_mean(ecgs), true_deviation(ecgs))


def true_mean(ecgs: EcgValues) -> np.ndarray:
    return 0.7 * ecgs.value + 0.2 + ecgs.features @ MEAN_WEIGHT


def true_deviation(ecgs: EcgValues) -> np.ndarray:
    """Where the distance is beyond the typical, the features say nothing."""
    by_features = np.where(ecgs.distance > 1.5, 0, (ecgs.features - 1) @ LOG_SD_WEIGHT)
    return 0.6 * np.exp(by_features) * ecgs.distance


def fitted(clean: Case, copies: Case, validation: Case) -> PredictiveDistribution:
    found = fit_predictive(clean, copies, validation, TYPICAL)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def planted() -> PredictiveDistribution:
    random = np.random.default_rng(5)
    noisy = case(MANY, 2)[0]
    level = np.exp(random.uniform(0, np.log(6), MANY))
    copies = EcgValues(noisy.value, level, noisy.features)
    echo = random.normal(true_mean(copies), true_deviation(copies))
    return fitted(case(MANY, 1), (copies, echo), case(3000, 3))


def test_the_mean_is_recovered(planted: PredictiveDistribution) -> None:
    ecgs, _ = case(2000, 6)
    error = planted.mean(ecgs) - true_mean(ecgs)
    assert np.sqrt(np.mean(error**2)) < 0.15 * true_mean(ecgs).std()
    assert planted.scalars.slope == pytest.approx(0.7, abs=0.1)


def test_the_deviation_of_each_ecg_is_recovered(planted: PredictiveDistribution) -> None:
    ecgs, _ = case(2000, 6)
    ratio = planted.deviation(ecgs) / true_deviation(ecgs)
    assert np.median(ratio) == pytest.approx(1, abs=0.12)
    assert spearmanr(planted.deviation(ecgs), true_deviation(ecgs)).statistic > 0.8
    for level in (2.0, 4.0):
        far = replace_distance(ecgs, level)
        assert np.median(planted.deviation(far) / true_deviation(far)) == pytest.approx(1, abs=0.15)


def replace_distance(ecgs: EcgValues, distance: float) -> EcgValues:
    return ecgs._replace(distance=np.full(len(ecgs.value), distance))


def test_intervals_hold_what_they_promise(planted: PredictiveDistribution) -> None:
    """On new ECGs, and nearly so among the more and the less certain half."""
    ecgs, echo = case(4000, 7)
    reach = norm.ppf((1 + INTERVAL_MASS) / 2) * planted.deviation(ecgs)
    held = np.abs(echo - planted.mean(ecgs)) <= reach
    assert 0.87 <= held.mean() <= 0.93
    certain = reach < np.median(reach)
    for half in (held[certain], held[~certain]):  # the fit draws the features' part of the variance towards none
        assert 0.85 <= half.mean() <= 0.95


def test_intervals_hold_where_the_echo_is_not_normal() -> None:
    """The spread is set by the intervals on validation ECGs, not by the squares."""
    random = np.random.default_rng(8)
    parts = []
    for seed in range(4):
        ecgs, _ = case(2000, 20 + seed)
        parts.append((ecgs, true_mean(ecgs) + random.standard_t(3, 2000)))
    found = fitted(parts[0], parts[1], parts[2])
    ecgs, echo = parts[3]
    reach = norm.ppf((1 + INTERVAL_MASS) / 2) * found.deviation(ecgs)
    assert 0.87 <= (np.abs(echo - found.mean(ecgs)) <= reach).mean() <= 0.93


def test_a_larger_distance_never_lowers_the_deviation_on_average(planted: PredictiveDistribution) -> None:
    ecgs, _ = case(MANY, 1)
    levels = [np.log(planted.deviation(replace_distance(ecgs, level))).mean() for level in np.geomspace(0.3, 30, 40)]
    assert (np.diff(levels) >= -1e-9).all()


def test_copies_that_err_less_do_not_make_a_distant_ecg_surer() -> None:
    clean = case(1000, 1)
    ecgs, _ = clean
    surer = ecgs._replace(distance=4 * ecgs.distance)
    found = fitted(clean, (surer, true_mean(ecgs)), case(500, 3))
    assert found.scalars.log_variance_slope == 0
    near = found.deviation(replace_distance(ecgs, TYPICAL))
    far = found.deviation(replace_distance(ecgs, 1000.0))
    assert np.log(far).mean() == pytest.approx(np.log(near).mean(), abs=1e-6)
    np.testing.assert_allclose(far, far[0])  # nothing of the features is left


def test_features_fade_beyond_the_typical_distance() -> None:
    weight = np.array([1.0, -1.0])
    scalars = Predictive(
        slope=1.0, intercept=0.0, log_variance=0.4, log_variance_slope=2.0, log_variance_bias=0.5, typical_distance=2.0
    )
    found = PredictiveDistribution(scalars, np.zeros(2), weight)
    features = np.array([[1.5, 0.5]] * 4, np.float32)
    distance = np.array([0.5, 2.0, 4.0, 1e6])
    by_features = 1.5
    expected = [
        0.4 + 2 * np.log(away) + share * by_features for away, share in zip(distance, (1, 1, 0.5**4, 0), strict=True)
    ]
    np.testing.assert_allclose(2 * np.log(found.deviation(EcgValues(np.zeros(4), distance, features))), expected)


def test_a_unit_of_the_features_changes_nothing() -> None:
    parts = [case(600, seed) for seed in (1, 2, 3)]
    scaled = [(ecgs._replace(features=64 * ecgs.features), echo) for ecgs, echo in parts]
    plain, other = fitted(*parts), fitted(*scaled)
    new = case(50, 4)[0]
    moved = new._replace(features=64 * new.features)
    np.testing.assert_allclose(other.mean(moved), plain.mean(new), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(other.deviation(moved), plain.deviation(new), rtol=1e-4)


def test_a_feature_that_never_varies_does_no_harm() -> None:
    parts = [case(400, seed) for seed in (1, 2, 3)]
    for ecgs, _ in parts:
        ecgs.features[:, 2] = 0.25
    found = fitted(*parts)
    assert np.isfinite(found.mean(parts[1][0])).all()
    assert np.isfinite(found.deviation(parts[1][0])).all()
    assert found.mean_weight[2] == found.log_variance_weight[2] == 0


@pytest.mark.parametrize("fault", ["one training ECG", "one validation ECG", "equal echoes"])
def test_too_few_or_equal_ecgs_have_no_distribution(fault: str) -> None:
    (ecgs, echo), copies, validation = case(50, 1), case(50, 2), case(50, 3)
    if fault == "one training ECG":
        ecgs, echo = EcgValues(*(part[:1] for part in ecgs)), echo[:1]
    if fault == "one validation ECG":
        validation = EcgValues(*(part[:1] for part in validation[0])), validation[1][:1]
    if fault == "equal echoes":
        echo = np.ones(50)
    assert fit_predictive((ecgs, echo), copies, validation, TYPICAL) is None


def test_few_ecgs_without_copies_still_have_one() -> None:
    nothing = EcgValues(np.empty(0), np.empty(0), np.empty((0, FEATURES), np.float32))
    found = fitted(case(4, 1), (nothing, np.empty(0)), case(2, 3))
    new = case(20, 4)[0]
    assert np.isfinite(found.mean(new)).all()
    assert (found.deviation(new) > 0).all()


def test_the_expected_echo_without_a_distribution_is_the_students_own() -> None:
    ecgs = case(5, 1)[0]
    echo = expected_echo(None, ecgs, 20.0)
    np.testing.assert_array_equal(echo.mean, ecgs.value)
    np.testing.assert_allclose(echo.distance(0.8), ecgs.value - np.log(4))  # in log-odds
    np.testing.assert_allclose(echo.rounding, 20 * FLOAT32_ROUNDING)


def test_distances_and_rounding_are_in_deviations(planted: PredictiveDistribution) -> None:
    ecgs = case(30, 1)[0]
    echo = expected_echo(planted, ecgs, 20.0)
    np.testing.assert_allclose(echo.distance(0.8) * echo.deviation + np.log(4), planted.mean(ecgs))
    np.testing.assert_array_equal(echo.deviation, planted.deviation(ecgs))
    some = np.arange(30) % 3 == 0
    np.testing.assert_array_equal(echo[some].rounding, echo.rounding[some])
    doubled = replace(planted, scalars=planted.scalars.model_copy(update={"log_variance": np.log(4.0)}))
    single = replace(planted, scalars=planted.scalars.model_copy(update={"log_variance": 0.0}))
    halves = expected_echo(doubled, ecgs, 20.0), expected_echo(single, ecgs, 20.0)
    np.testing.assert_allclose(2 * halves[0].distance(0.3), halves[1].distance(0.3))
    np.testing.assert_allclose(2 * halves[0].rounding, halves[1].rounding)


def test_the_rounding_covers_what_float32_does_to_an_ecg(planted: PredictiveDistribution) -> None:
    random = np.random.default_rng(3)
    ecgs = case(200, 2)[0]
    echo = expected_echo(planted, ecgs, 20.0)
    for _ in range(20):
        towards = random.choice([-np.inf, np.inf], ecgs.features.shape).astype(np.float32)
        value = ecgs.value + 20.0 * 1e-7 * random.choice([-1, 1], len(ecgs.value))
        moved = expected_echo(planted, ecgs._replace(features=np.nextafter(ecgs.features, towards), value=value), 20.0)
        assert (np.abs(moved.distance(0.4) - echo.distance(0.4)) <= echo.rounding).all()
