"""Metrics against scikit-learn, their bootstrap against drawing patients one by one, and known answers."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    recall_score,
    roc_auc_score,
)

from echoingecg.evaluation.metrics import classification as metrics
from echoingecg.evaluation.metrics.bootstrap import (
    Estimate,
    Patients,
    estimate_metrics,
    paired_differences,
    resample_metrics,
)
from echoingecg.evaluation.metrics.classification import (
    AUROC,
    BALANCED_ACCURACY,
    BRIER,
    ECE,
    binary_metrics,
    reliability_bins,
)
from echoingecg.evaluation.metrics.selective import ALL, HIGH, LOW, uncertainty_halves, variance_bins


def estimate(
    label: np.ndarray, score: np.ndarray, decision: np.ndarray, patient: np.ndarray, draws: int, seed: int
) -> dict[str, Estimate]:
    patients = Patients.from_names(patient)
    return estimate_metrics(binary_metrics(label, score, decision, patients), patients, draws, seed)


Case = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def make_case(records: int, patients: int, seed: int = 0, digits: int = 2) -> Case:
    generator = np.random.default_rng(seed)
    label = (generator.random(records) < 0.3).astype(np.int8)
    score = np.clip(generator.normal(0.4 + 0.2 * label, 0.2), 0, 1).round(digits)
    patient = np.array([f"p{one}" for one in generator.integers(0, patients, records)])
    return label, score, (score >= 0.5).astype(np.int8), patient


def calibration_error(label: np.ndarray, score: np.ndarray) -> float:
    """Guo's sum over bins, the bins by scikit-learn."""
    share, mean_score = calibration_curve(label, score, n_bins=10)
    counts = np.bincount(np.ceil(np.maximum(score, 1e-9) * 10 - 1e-9).astype(int), minlength=11)[1:]
    return float((np.abs(share - mean_score) * counts[counts > 0]).sum() / len(label))


def by_scikit_learn(label: np.ndarray, score: np.ndarray, decision: np.ndarray) -> dict[str, float]:
    return {
        "auroc": roc_auc_score(label, score),
        "auprc": average_precision_score(label, score),
        "balanced_accuracy": balanced_accuracy_score(label, decision),
        "sensitivity": recall_score(label, decision),
        "specificity": recall_score(label, decision, pos_label=0),
        "error_rate": 1 - accuracy_score(label, decision),
        "brier": brier_score_loss(label, score),
        "ece": calibration_error(label, score),
    }


def test_bootstrap_against_drawing_patients_one_by_one() -> None:
    label, score, decision, patient = make_case(60, 12)
    names = np.unique(patient)
    generator = np.random.default_rng(5)
    expected: dict[str, list[float]] = {name: [] for name in by_scikit_learn(label, score, decision)}
    for picks in generator.integers(0, len(names), size=(40, len(names))):
        at = np.concatenate([np.flatnonzero(patient == names[pick]) for pick in picks])
        assert len(np.unique(label[at])) == 2
        for name, value in by_scikit_learn(label[at], score[at], decision[at]).items():
            expected[name].append(value)
    patients = Patients.from_names(patient)
    found = resample_metrics(binary_metrics(label, score, decision, patients), patients, draws=40, seed=5)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-12, err_msg=name)
    intervals = estimate(label, score, decision, patient, draws=40, seed=5)
    for name, value in by_scikit_learn(label, score, decision).items():
        interval = intervals[name]
        assert (interval.low, interval.high) == pytest.approx(tuple(np.percentile(expected[name], [2.5, 97.5])))
        assert interval.value == pytest.approx(value, abs=1e-12), name


def test_errors_of_numbers_against_drawing_patients_one_by_one() -> None:
    """Also far from 0, where squares of the values lose the digits of their differences."""
    generator = np.random.default_rng(21)
    measured = generator.normal(size=40)
    predicted = measured + generator.normal(size=40)
    patients = Patients.from_names(generator.integers(0, 9, 40).astype(str))
    picks = np.random.default_rng(6).integers(0, patients.count, size=(30, patients.count))
    drawn = [np.concatenate([np.flatnonzero(patients.owner == one) for one in row]) for row in picks]
    for far in (0.0, 1e8):
        found = resample_metrics(metrics.regression_metrics(measured + far, predicted + far, patients), patients, 30, 6)
        expected = [np.corrcoef(measured[rows], predicted[rows])[0, 1] for rows in drawn]
        np.testing.assert_allclose(found[metrics.PEARSON], expected, atol=1e-6 if far else 1e-12)
        errors = [np.abs(measured - predicted)[rows].mean() for rows in drawn]
        np.testing.assert_allclose(found[metrics.MAE], errors, atol=1e-6 if far else 1e-12)


def test_a_guess_that_is_constant_but_for_its_last_bits_has_no_correlation() -> None:
    measured = np.random.default_rng(22).normal(60, 10, 2000)
    patients = Patients(np.arange(2000), 2000)
    for guess in (np.full(2000, 55.1), np.where(measured > 60, 55.1, np.nextafter(55.1, 0))):
        found = estimate_metrics(metrics.regression_metrics(measured, guess, patients), patients, 20, 1)
        assert found[metrics.PEARSON] == Estimate(None, None, None)


def test_resamples_without_a_class_are_skipped() -> None:
    label, score, patient = np.array([1, 0, 0]), np.array([0.9, 0.1, 0.2]), np.array(["a", "b", "c"])
    patients = Patients.from_names(patient)
    found = resample_metrics(binary_metrics(label, score, label, patients), patients, draws=500, seed=1)
    for name in (AUROC, "auprc", BALANCED_ACCURACY):
        known = found[name][~np.isnan(found[name])]
        assert 0 < len(known) < 500
        assert set(known) == {1.0}
    assert not np.isnan(found[BRIER]).any()


def test_known_answers() -> None:
    label, _, _, patient = make_case(200, 100)
    perfect = estimate(label, label.astype(float), label, patient, 200, 1)
    for name, ideal in (("auroc", 1.0), ("auprc", 1.0), ("balanced_accuracy", 1.0), ("brier", 0.0), ("ece", 0.0)):
        assert {perfect[name].value, perfect[name].low, perfect[name].high} == {ideal}
    constant = estimate(label, np.full(200, 0.3), np.zeros(200, int), patient, 200, 1)
    for name in (AUROC, BALANCED_ACCURACY):
        assert {constant[name].value, constant[name].low, constant[name].high} == {0.5}
    assert constant["auprc"].value == pytest.approx(label.mean())
    assert constant["ece"].value == pytest.approx(abs(label.mean() - 0.3))
    assert constant["brier"].value == pytest.approx(0.49 * label.mean() + 0.09 * (1 - label.mean()))


def test_reliability_bins_of_ten_scores() -> None:
    label = np.array([0, 1, 0, 1, 1, 1])
    bins = reliability_bins(label, np.array([0.0, 0.1, 0.15, 0.2, 0.95, 1.0]))
    assert [(round(one.low, 1), one.records, one.positives) for one in bins] == [(0.0, 2, 1), (0.1, 2, 1), (0.9, 2, 2)]
    assert [one.high for one in bins] == pytest.approx([0.1, 0.2, 1.0])
    assert [one.mean_score for one in bins] == pytest.approx([0.05, 0.175, 0.975])
    assert reliability_bins(np.empty(0), np.empty(0)) == []


@pytest.mark.parametrize(("bins", "expected"), [(1, 0.05), (2, 0.05), (10, 0.05), (20, 0.05)])
def test_calibration_error_of_scores_that_are_five_points_too_low(bins: int, expected: float) -> None:
    score = np.repeat([0.25, 0.75], 1000)
    label = np.concatenate([np.arange(1000) < 300, np.arange(1000) < 800]).astype(int)
    patients = Patients(np.arange(2000), 2000)
    found = estimate_metrics(binary_metrics(label, score, label, patients, bins), patients, 0, 1)
    assert found[ECE].value == pytest.approx(expected)


def test_interval_width_is_the_binomial_one() -> None:
    """400 + 400 patients, 80 % right in each class: the standard error is sqrt(0.8 * 0.2 / 400 / 2)."""
    label = np.repeat([0, 1], 400)
    decision = np.where(np.arange(800) % 5 == 0, 1 - label, label)
    found = estimate(label, decision.astype(float), decision, np.arange(800).astype(str), 4000, 3)[BALANCED_ACCURACY]
    assert found.value == 0.8
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(0.16 / 800), rel=0.06)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Patients with one to four ECGs that err alike: 95 % intervals hold the true error rate about 95 times of 100."""
    generator = np.random.default_rng(11)
    held = 0
    for repeat in range(200):
        rate, size = generator.beta(2, 6, 120), generator.integers(1, 5, 120)
        owner = np.repeat(np.arange(120), size)
        error = (generator.random(len(owner)) < rate[owner]).astype(float)
        patients = Patients(owner, 120)
        found = estimate_metrics({"error": metrics.mean_metric(error, patients)}, patients, 300, repeat)["error"]
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0.25 <= found.high
    assert 0.90 <= held / 200 <= 0.99


def test_patients_are_drawn_whole() -> None:
    """Copying every ECG of a patient adds no information: the intervals stay as they are."""
    label, score, decision, _ = make_case(80, 80)
    patient = np.array([f"p{at:03d}" for at in range(80)])
    once = estimate(label, score, decision, patient, 300, 2)
    thrice = estimate(*(np.tile(one, 3) for one in (label, score, decision, patient)), 300, 2)
    for name in once:
        assert (thrice[name].low, thrice[name].high) == pytest.approx((once[name].low, once[name].high))


def test_no_value_without_a_class_and_no_interval_from_one_patient() -> None:
    patient = np.array(["a", "b", "c", "c"])
    score = np.array([0.1, 0.2, 0.3, 0.4])
    none = estimate(np.zeros(4, int), score, np.zeros(4, int), patient, 50, 1)
    assert (none[AUROC].value, none[AUROC].low, none[AUROC].high) == (None, None, None)
    assert none["sensitivity"].value is None
    assert (none["specificity"].value, none["specificity"].low) == (1.0, 1.0)
    assert none[BRIER].value == pytest.approx((score**2).mean())
    alone = estimate(np.array([0, 0, 1, 1]), score, np.zeros(4, int), patient, 50, 1)
    assert (alone[AUROC].value, alone[AUROC].low, alone[AUROC].high) == (1.0, None, None)
    assert alone["specificity"].low == 1.0
    assert {one.value for one in estimate(*(np.empty(0, int),) * 4, 50, 1).values()} == {None}


def test_paired_difference_is_that_of_the_same_resamples() -> None:
    label, score, decision, patient = make_case(90, 40)
    other = np.clip(score + np.random.default_rng(4).normal(0, 0.2, 90), 0, 1)
    patients = Patients.from_names(patient)
    first, second = (binary_metrics(label, one, decision, patients) for one in (score, other))
    found = paired_differences(first, second, patients, 200, 7)
    drawn = [resample_metrics(of, patients, 200, 7)[AUROC] for of in (first, second)]
    spread = drawn[0] - drawn[1]
    auroc = found[AUROC]
    assert auroc.difference == pytest.approx(roc_auc_score(label, score) - roc_auc_score(label, other))
    assert (auroc.low, auroc.high) == pytest.approx(tuple(np.percentile(spread, [2.5, 97.5])))
    assert auroc.p == pytest.approx(2 * (min((spread <= 0).sum(), (spread >= 0).sum()) + 1) / 201)
    assert found[BALANCED_ACCURACY].difference == 0.0
    assert found[BALANCED_ACCURACY].p == 1.0


def test_paired_p_of_two_equal_students_is_uniform_enough() -> None:
    """Two students of equal skill: p is under 0.1 in about a tenth of the worlds, and always for a better one."""
    generator = np.random.default_rng(8)
    patients = Patients(np.arange(150), 150)
    small = 0
    for repeat in range(150):
        errors = [(generator.random(150) < 0.3).astype(float) for _ in range(2)]
        of = [{"error": metrics.mean_metric(one, patients)} for one in errors]
        small += paired_differences(of[0], of[1], patients, 200, repeat)["error"].p < 0.1
    assert 0.04 <= small / 150 <= 0.18
    good = {"error": metrics.mean_metric(np.zeros(150), patients)}
    assert paired_differences(good, of[0], patients, 200, 1)["error"].p == pytest.approx(2 / 201)


def test_five_thousand_predictions_take_seconds() -> None:
    case = make_case(5000, 3000, digits=9)
    started = time.process_time()
    estimate(*case, draws=1000, seed=1)
    assert time.process_time() - started < 8


@given(st.lists(st.sampled_from([-3.0, -2.0, -1.0]), max_size=41))
def test_halves_are_halves(values: list[float]) -> None:
    found = uncertainty_halves(np.array(values))
    low, high = np.array(values)[found[LOW]], np.array(values)[found[HIGH]]
    assert found[ALL].sum() == len(low) + len(high) == len(values)
    assert len(low) - len(high) in (0, 1)
    assert not len(high) or low.max() <= high.min()


def test_variance_bins_count_everything_once() -> None:
    uncertainty = np.arange(53)[::-1].astype(float)
    label = (uncertainty > 30).astype(int)
    bins = variance_bins(uncertainty, label, np.zeros(53, int))
    assert [one.records for one in bins] == [11, 11, 11, 10, 10]
    assert [one.errors for one in bins] == [one.positives for one in bins] == [0, 0, 2, 10, 10]
    assert [(one.error_rate, one.positive_share) for one in bins[2:4]] == [(2 / 11, 2 / 11), (1.0, 1.0)]
    right = variance_bins(uncertainty, label, label)
    assert [(one.error_rate, one.positive_share) for one in right[2:4]] == [(0.0, 2 / 11), (0.0, 1.0)]
    assert bins[0].uncertainty == 5.0
    assert [one.records for one in variance_bins(uncertainty[:7], label[:7], label[:7])] == [7]
    assert variance_bins(np.empty(0), np.empty(0), np.empty(0)) == []


def test_log_odds_are_finite_odd_and_ordered_up_to_certainty() -> None:
    score = np.array([0.0, 1e-6, 0.1, 0.5, 0.9, 1 - 1e-6, 1.0])
    odds = metrics.log_odds(score)
    assert np.isfinite(odds).all()
    assert (np.diff(odds) > 0).all()
    np.testing.assert_allclose(odds, -odds[::-1], rtol=1e-6)
    np.testing.assert_allclose(odds[2:5], np.log(score[2:5] / (1 - score[2:5])), atol=1e-12)
