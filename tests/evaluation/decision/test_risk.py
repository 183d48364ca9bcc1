"""Risk-coverage, conformal sets, calibrators, specificity: the slow obvious version and known answers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.isotonic import IsotonicRegression

from echoingecg.evaluation.decision.calibration import Platt, fit_isotonic, fit_platt
from echoingecg.evaluation.decision.predictive import ExpectedEcho
from echoingecg.evaluation.decision.threshold_and_referral import conformal_limits, threshold_at_specificity
from echoingecg.evaluation.metrics.bootstrap import Patients, estimate_metrics, resample_metrics
from echoingecg.evaluation.metrics.classification import log_odds
from echoingecg.evaluation.metrics.selective import aurc, aurc_metrics, selective_risk, threshold_nearness


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=30, unique_by=lambda one: one[1]))
def test_aurc_is_the_mean_error_rate_of_every_prefix(cases: list[tuple[bool, float]]) -> None:
    error, doubt = (np.array(part, float) for part in zip(*cases, strict=True))
    by_doubt = [wrong for _, wrong in sorted(zip(doubt, error, strict=True))]
    rates = [sum(by_doubt[:kept]) / kept for kept in range(1, len(cases) + 1)]
    np.testing.assert_allclose(selective_risk(error, doubt), rates)
    assert aurc(error, doubt) == pytest.approx(np.mean(rates))


def test_equal_doubts_have_the_expected_area_of_a_random_order() -> None:
    error = np.array([1.0, 0, 0, 0, 1])
    assert aurc(error, np.zeros(5)) == pytest.approx(0.4)
    assert aurc(error, error) < 0.4 < aurc(error, -error)


def test_area_of_three_cases_by_hand() -> None:
    """Errors last of three: risks 0, 0, 1/3. Errors first: 1, 1/2, 1/3."""
    error, doubt = np.array([0.0, 1, 0]), np.array([0.1, 0.9, 0.2])
    patients = Patients(np.arange(3), 3)
    for order, area in ((doubt, 1 / 9), (-doubt, (1 + 1 / 2 + 1 / 3) / 3)):
        found, excess = aurc_metrics(error, order, patients)
        whole = np.ones((1, 3))
        assert aurc(error, order) == pytest.approx(area)
        assert found.statistic(whole)[0] == pytest.approx(area)
        assert excess.statistic(whole)[0] == pytest.approx(area - 1 / 9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 12), st.integers(1, 6))
def test_areas_of_resamples_against_drawing_patients_one_by_one(seed: int, n: int, count: int, distinct: int) -> None:
    generator = np.random.default_rng(seed)
    error = (generator.random(n) < 0.4).astype(float)
    doubt = generator.integers(0, distinct, n).astype(float)
    owner = np.append(np.arange(min(count, n)), generator.integers(0, count, max(n - count, 0)))[:n]
    patients = Patients.from_names(owner.astype(str))
    area, excess = aurc_metrics(error, doubt, patients)
    found = resample_metrics({"area": area, "excess": excess}, patients, 20, seed)
    picks = np.random.default_rng(seed).integers(0, patients.count, size=(20, patients.count))
    for at, drawn in enumerate(picks):
        rows = np.concatenate([np.flatnonzero(patients.owner == one) for one in drawn])
        expected = aurc(error[rows], doubt[rows])
        assert found["area"][at] == pytest.approx(expected)
        assert found["excess"][at] == pytest.approx(expected - aurc(error[rows], error[rows]), abs=1e-12)


def test_nearness_is_greatest_at_the_threshold() -> None:
    doubt = threshold_nearness(np.array([0.0, 0.2, 0.31, 0.5, 1.0]), 0.3)
    assert doubt.argmax() == 2
    assert np.isfinite(doubt).all()


def test_a_larger_deviation_draws_the_probability_towards_one_half() -> None:
    mean, deviation = np.repeat([-2.0, 0.0, 2.0], 3), np.tile([0.5, 1.0, 5.0], 3)
    echo = ExpectedEcho(mean, deviation, np.zeros(9))
    low, middle, high = Platt(1.0, 0.0)(echo.distance(0.5)).reshape(3, 3)
    assert (np.diff(low) > 0).all()
    assert (np.diff(high) < 0).all()
    assert middle == pytest.approx(0.5)
    np.testing.assert_allclose(low + high, 1)


def test_platt_on_distances_is_calibrated_where_deviations_differ() -> None:
    """Labels are those of an echo that differs from its expectation by the deviation: a probit, near to a sigmoid."""
    generator = np.random.default_rng(7)
    mean, deviation = generator.normal(0, 2, 20_000), generator.uniform(0.2, 3, 20_000)
    label = (generator.normal(mean, deviation) > 0.5).astype(int)
    distance = ExpectedEcho(mean, deviation, np.zeros(20_000)).distance(float(expit(0.5)))
    probability = fit_platt(label, distance)(distance)
    for part in (deviation < 1, deviation > 2):
        assert probability[part].mean() == pytest.approx(label[part].mean(), abs=0.02)
    plain = fit_platt(label, mean)(mean)
    assert np.mean((probability - label) ** 2) < np.mean((plain - label) ** 2) - 0.002


def scores(generator: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    label = (generator.random(count) < 0.2).astype(np.int8)
    return label, expit(generator.normal(2.0 * label - 1, 1.0))


def test_conformal_limits_by_hand() -> None:
    """Nine of a class at 10 %: rank ceil(10 * 0.9) = 9, the most extreme; eight: rank 9 of 8, so no limit."""
    score = np.arange(1, 10) / 10
    found = conformal_limits(np.ones(9, int), score, 0.1)
    assert (found.one_from, found.zero_to) == (0.1, np.inf)
    assert conformal_limits(np.zeros(9, int), score, 0.1).zero_to == 0.9
    assert conformal_limits(np.zeros(8, int), score[:8], 0.1).zero_to == np.inf
    assert conformal_limits(np.zeros(9, int), score, 0.5).zero_to == 0.5
    assert conformal_limits(np.repeat([0, 1], 9), np.append(score, score), 0.1) == (0.1, 0.9)


def test_the_rank_of_a_conformal_limit_counts_the_new_record() -> None:
    """Ten of a class at 20 %: rank ceil(11 * 0.8) = 9, not ceil(10 * 0.8) = 8."""
    score = np.arange(1, 11) / 10
    assert conformal_limits(np.zeros(10, int), score, 0.2).zero_to == 0.9
    assert conformal_limits(np.ones(10, int), score, 0.2).one_from == 0.2


def test_conformal_coverage_is_the_promised_one_in_each_class() -> None:
    """Of n calibration scores the mean coverage is k / (n + 1), k the rank taken (Vovk 2012): here 0.9 and a little."""
    generator = np.random.default_rng(3)
    covered: dict[int, list[float]] = {0: [], 1: []}
    for _ in range(300):
        limits = conformal_limits(*scores(generator, 200), 0.1)
        label, score = scores(generator, 1000)
        for one, possible in enumerate((score <= limits.zero_to, score >= limits.one_from)):
            covered[one].append(possible[label == one].mean())
    assert np.mean(covered[0]) == pytest.approx(0.9, abs=0.012)
    assert 0.9 - 0.012 <= np.mean(covered[1]) <= 0.9 + 1 / 25  # about 40 positives: k / (n + 1) is up to 1 / 41 more


def test_platt_is_scikit_learns() -> None:
    label, score = scores(np.random.default_rng(4), 300)

    class Scorer(ClassifierMixin, BaseEstimator):
        def fit(self, x: np.ndarray, y: np.ndarray) -> "Scorer":
            self.classes_ = np.array([0, 1])
            return self

        def decision_function(self, x: np.ndarray) -> np.ndarray:
            return log_odds(x[:, 0])

        def predict(self, x: np.ndarray) -> np.ndarray:
            return (x[:, 0] >= 0.5).astype(int)

    scorer = FrozenEstimator(Scorer().fit(score[:, None], label))
    theirs = CalibratedClassifierCV(scorer, method="sigmoid").fit(score[:, None], label)
    new = np.linspace(0.01, 0.99, 50)
    ours = fit_platt(label, log_odds(score))(log_odds(new))
    np.testing.assert_allclose(ours, theirs.predict_proba(new[:, None])[:, 1], atol=2e-3)


def test_platt_stays_finite_where_the_classes_part() -> None:
    label = np.repeat([0, 1], 20)
    fitted = fit_platt(label, log_odds(np.where(label == 1, 1.0, 0.0)))
    assert np.isfinite([fitted.slope, fitted.intercept]).all()
    assert fitted(log_odds(np.array([0.0, 1.0]))) == pytest.approx([1 / 22, 21 / 22], abs=1e-3)


@given(arrays(float, 25, elements=st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.9, 1.0])), st.integers(0, 100))
def test_isotonic_is_scikit_learns(score: np.ndarray, seed: int) -> None:
    label = np.random.default_rng(seed).integers(0, 2, 25)
    theirs = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(score, label)
    new = np.linspace(0, 1, 41)
    np.testing.assert_allclose(fit_isotonic(label, score)(new), theirs.predict(new), atol=1e-12)


def test_calibrators_mend_scores_that_are_wrong_by_a_known_map() -> None:
    """Scores are the true probability's log-odds times 3 plus 1: Platt finds the map back."""
    generator = np.random.default_rng(6)
    truth = generator.uniform(0.05, 0.95, 20_000)
    label = (generator.random(20_000) < truth).astype(int)
    score = expit(3 * log_odds(truth) + 1)
    fitted = fit_platt(label, log_odds(score))
    assert (fitted.slope, fitted.intercept) == (pytest.approx(1 / 3, abs=0.02), pytest.approx(-1 / 3, abs=0.05))
    assert np.abs(fit_isotonic(label, score)(score) - truth).mean() < 0.03


@settings(max_examples=60, deadline=None)
@given(
    arrays(float, 20, elements=st.sampled_from([0.0, 0.1, 0.2, 0.4, 0.5, 0.9, 1.0])),
    arrays(np.int8, 20, elements=st.integers(0, 1)),
    st.sampled_from([0.5, 0.75, 0.9, 0.95]),
)
def test_threshold_at_specificity_against_trying_all(score: np.ndarray, label: np.ndarray, wanted: float) -> None:
    label[0] = 0
    found = threshold_at_specificity(label, score, wanted)
    assert found is not None
    negative = score[label == 0]
    assert (negative < found).mean() >= wanted
    for lower in [one for one in np.unique(score) if one < found]:
        if (score >= lower).sum() != (score >= found).sum():
            assert (negative < lower).mean() < wanted
    assert threshold_at_specificity(np.ones(3, int), score[:3], wanted) is None


def test_estimates_of_an_area_hold_its_value() -> None:
    generator = np.random.default_rng(9)
    error, doubt = (generator.random(200) < 0.3).astype(float), generator.random(200)
    patients = Patients(np.arange(200), 200)
    area, excess = aurc_metrics(error, doubt, patients)
    for one in estimate_metrics({"area": area, "excess": excess}, patients, 300, 1).values():
        assert one.low < one.value < one.high
