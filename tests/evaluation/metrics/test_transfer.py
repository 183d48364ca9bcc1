"""Calibration line, predictive values and net benefit against scikit-learn and counts by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from echoingecg.evaluation.metrics import transfer
from echoingecg.evaluation.metrics.bootstrap import Patients, estimate_metrics


def case(seed: int, records: int = 400) -> tuple[np.ndarray, np.ndarray, Patients]:
    random = np.random.default_rng(seed)
    probability = expit(random.normal(-1, 1.5, records))
    label = (random.uniform(size=records) < expit(0.6 * logit(probability) + 0.4)).astype(np.int8)
    return label, probability, Patients.from_names(np.array([f"p{number % 150}" for number in range(records)]))


@given(st.integers(0, 10_000))
def test_the_line_is_scikit_learns(seed: int) -> None:
    label, probability, _ = case(seed)
    weight = np.random.default_rng(seed).integers(0, 4, (3, len(label))).astype(float)
    lines = transfer.calibration_line(label, probability, weight)
    for row, (slope, intercept) in zip(weight, lines, strict=True):
        place = logit(probability)[:, None]
        slow = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(place, label, sample_weight=row)
        assert slope == pytest.approx(slow.coef_[0, 0], abs=1e-4)
        assert intercept == pytest.approx(slow.intercept_[0], abs=1e-4)


def test_a_line_that_is_not_defined_is_nan() -> None:
    probability = np.array([0.2, 0.4, 0.6])
    weight = np.ones((1, 3))
    assert np.isnan(transfer.calibration_line(np.ones(3), probability, weight)).all()
    assert np.isnan(transfer.calibration_line(np.array([0, 1, 0]), np.full(3, 0.3), weight)).all()
    assert np.isnan(transfer.calibration_line(np.array([0, 0, 1]), probability, weight)).all(), "classes part"


@pytest.mark.parametrize("shift", [-12.0, -4.0, 0.0, 6.0])
@pytest.mark.parametrize("steepness", [0.3, 1.0, 5.0])
def test_line_and_intercept_of_probabilities_that_are_far_off(steepness: float, shift: float) -> None:
    random = np.random.default_rng(17)
    place = random.normal(size=300)
    label = (random.random(300) < expit(1.5 * place)).astype(int)
    probability = expit(place / steepness + shift)
    metrics = transfer.calibration_line_metrics(label, probability, Patients(np.arange(300), 300))
    found = {name: metric.statistic(np.ones((1, 300)))[0] for name, metric in metrics.items()}
    slow = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(place[:, None], label)
    assert found[transfer.CALIBRATION_SLOPE] == pytest.approx(steepness * slow.coef_[0, 0], rel=1e-3)
    root = brentq(lambda moved: expit(logit(probability) + moved).mean() - label.mean(), -60, 60)
    assert found[transfer.CALIBRATION_INTERCEPT] == pytest.approx(root, abs=1e-6)


@pytest.mark.parametrize("steepness", [0.2, 1.0, 30.0])
def test_a_steep_line_is_as_exact_as_a_flat_one(steepness: float) -> None:
    random = np.random.default_rng(5)
    place = random.normal(size=(2000, 1))
    label = (random.random(2000) < expit(place[:, 0] + 0.5)).astype(int)
    slope, intercept = transfer.calibration_line(label, expit(place[:, 0] / steepness), np.ones((1, 2000)))[0]
    slow = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(place, label)
    assert (slope, intercept) == pytest.approx((steepness * slow.coef_[0, 0], slow.intercept_[0]), rel=1e-3)


def test_resamples_of_one_class_have_neither_line_nor_intercept() -> None:
    label, probability = np.array([1, 1, 0, 0]), np.array([0.7, 0.4, 0.5, 0.2])
    patients = Patients.from_names(np.array(list("abcd")))
    metrics = transfer.calibration_line_metrics(label, probability, patients)
    drawn = np.array([[2.0, 2, 0, 0], [0, 0, 1, 3], [1, 1, 1, 1]])
    for name in (transfer.CALIBRATION_SLOPE, transfer.CALIBRATION_INTERCEPT):
        assert np.isnan(metrics[name].statistic(drawn)).tolist() == [True, True, False]


def test_predictive_values_need_two_patients_of_each_class_for_an_interval() -> None:
    decision, patients = np.array([1, 0, 1, 0, 0]), Patients.from_names(np.array(list("abcde")))
    for positives, has_interval in ((1, False), (2, True), (3, True), (4, False)):
        metrics = transfer.predictive_value_metrics((np.arange(5) < positives).astype(int), decision, patients, [0.3])
        for one in estimate_metrics(metrics, patients, 200, 1).values():
            assert one.value is not None
            assert (one.low is not None) == has_interval


@given(st.integers(0, 10_000))
def test_calibration_in_the_large_against_a_root_finder(seed: int) -> None:
    label, probability, patients = case(seed)
    metrics = transfer.calibration_line_metrics(label, probability, patients)
    whole = np.ones((1, patients.count))
    slow = brentq(lambda shift: expit(logit(probability) + shift).mean() - label.mean(), -20, 20)
    assert metrics[transfer.CALIBRATION_INTERCEPT].statistic(whole)[0] == pytest.approx(slow, abs=1e-6)
    ratio = metrics[transfer.OBSERVED_TO_EXPECTED].statistic(whole)[0]
    assert ratio == pytest.approx(label.sum() / probability.sum())
    drawn = np.random.default_rng(seed).integers(0, 3, (2, patients.count)).astype(float)
    for row, value in zip(drawn, metrics[transfer.CALIBRATION_SLOPE].statistic(drawn), strict=True):
        records = np.repeat(np.arange(len(label)), row[patients.owner].astype(int))
        alone = transfer.calibration_line(label[records], probability[records], np.ones((1, len(records))))
        assert value == pytest.approx(alone[0, 0], abs=1e-6)


def test_predictive_values_by_hand() -> None:
    """Sensitivity 0.8, specificity 0.9: of 1,000, 100 of them ill, 80 of 170 called are ill and 20 of 830 others."""
    label = np.repeat([1, 0], [10, 20])
    decision = np.concatenate([np.repeat([1, 0], [8, 2]), np.repeat([1, 0], [2, 18])])
    patients = Patients.from_names(np.arange(30).astype(str))
    metrics = transfer.predictive_value_metrics(label, decision, patients, [0.1, 1 / 3])
    whole = np.ones((1, 30))
    assert metrics[transfer.PPV, 0.1].statistic(whole)[0] == pytest.approx(80 / 170)
    assert metrics[transfer.NPV, 0.1].statistic(whole)[0] == pytest.approx(810 / 830)
    assert metrics[transfer.PPV, 1 / 3].statistic(whole)[0] == pytest.approx(8 / 10), "that of the cohort: counts"
    none = transfer.predictive_value_metrics(label, np.zeros(30, int), patients, [0.1])
    assert np.isnan(none[transfer.PPV, 0.1].statistic(whole)[0])


def test_the_decision_curve_by_hand() -> None:
    """At a threshold of 20 % a false positive weighs a quarter of a true one."""
    label = np.array([1, 1, 0, 0, 0])
    probability = np.array([0.9, 0.1, 0.3, 0.2, 0.1])
    patients = Patients.from_names(np.arange(5).astype(str))
    metrics = transfer.net_benefit_metrics(label, probability, patients, [0.2])
    whole = np.ones((1, 5))
    assert metrics[transfer.NET_BENEFIT, 0.2].statistic(whole)[0] == pytest.approx((1 - 2 * 0.25) / 5)
    assert metrics[transfer.NET_BENEFIT_OF_ALL, 0.2].statistic(whole)[0] == pytest.approx((2 - 3 * 0.25) / 5)


@given(st.integers(0, 10_000))
def test_a_shift_of_prevalence_restores_calibration(seed: int) -> None:
    """ECGs of label 1 seen half as often: probabilities shifted to the new share are right by Bayes' rule."""
    random = np.random.default_rng(seed)
    share, density = random.uniform(0.1, 0.9), random.uniform(0.05, 1, (2, 7))  # of each of 7 kinds of ECG, by class
    density /= density.sum(axis=1, keepdims=True)

    def posterior(prevalence: float) -> np.ndarray:
        joint = np.array([1 - prevalence, prevalence])[:, None] * density
        return joint[1] / joint.sum(axis=0)

    other = random.uniform(0.05, 0.95)
    np.testing.assert_allclose(
        transfer.shifted_probability(posterior(share), share, other), posterior(other), atol=1e-9
    )
