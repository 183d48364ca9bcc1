"""The proof's numbers against the slow, obvious way to get them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from scipy.special import expit
from torch.nn import functional

from echoingecg.evaluation.data.embed import GaussianTable, sampled_distances
from echoingecg.recipe import StudentSettings
from echoingecg.student.data.pairs import EchoPairs, Pairs, TextPairs, TrainingData
from echoingecg.student.loss import PcmeLoss
from echoingecg.student.model.gaussian_heads import GaussianTensor
from experiments.arms import shuffled
from experiments.cases import OF_EACH, labelled
from experiments.measures import (
    crowding,
    doubt_measures,
    expected_matches,
    follows,
    paired,
    partial_spearman,
    spearman,
    t_interval,
    uncertainty_measures,
)
from experiments.noise import KINDS, added, rises


def test_halves_hold_every_case_once() -> None:
    random = np.random.default_rng(1)
    label, score = random.integers(0, 2, 31), random.random(31)
    found = uncertainty_measures(label, score, 0.5, score)
    assert found["low_positives"] + found["high_positives"] == label.sum()
    assert found["low_positives"] + found["low_negatives"] == 16
    assert found["rho_error_called_0"] == pytest.approx(
        scipy_stats.spearmanr(score[score < 0.5], label[score < 0.5]).statistic
    )


def test_doubt_is_the_distance_in_deviations() -> None:
    label, score = np.array([1, 1, 0, 0]), np.array([0.9, 0.6, 0.2, 0.7])
    found = {"score": score, "deviation": [1.0, 1.0, 1.0, 9.0], "threshold": 0.5, "residual": [1.0, 2.0, 3.0, 4.0]}
    measured = doubt_measures(label, found)
    assert measured["aurc_doubt"] == pytest.approx(1 / 16)  # the one error comes last
    assert measured["aurc_distance"] == pytest.approx((1 / 3 + 1 / 4) / 4)  # third: logit(0.7) is above logit(0.6)
    assert (measured["error_called_0"], measured["error_called_1"]) == (0, pytest.approx(1 / 3))
    assert measured["within_doubt"] == pytest.approx((1 / 3) / 3 / 2)  # the error is the last of three, and nobody else
    assert measured["rho_residual"] == pytest.approx(scipy_stats.spearmanr([1, 1, 1, 9], [1, 2, 3, 4]).statistic)


def test_variance_follows_the_auroc_lost_over_all_kinds_and_levels() -> None:
    auroc = {"muscle": [0.9, 0.8, 0.6], "wander": [0.9, 0.7, 0.5]}
    assert follows({"wander": [0.0, 2.0, 4.0], "muscle": [0.0, 1.0, 3.0]}, auroc) == pytest.approx(1)
    assert follows({"wander": [0.0, 3.0, 1.0], "muscle": [0.0, 4.0, 2.0]}, auroc) == pytest.approx(
        scipy_stats.spearmanr([0, 4, 2, 0, 3, 1], [0, 0.1, 0.3, 0, 0.2, 0.4]).statistic
    )


def test_a_half_without_a_class_has_no_balanced_accuracy() -> None:
    found = uncertainty_measures(np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.8, 0.9]), 0.5, np.arange(4.0))
    assert found["low_balanced_accuracy"] is None
    assert found["low_minus_high"] is None


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=12))
def test_t_interval_is_scipys(values: list[float]) -> None:
    found, n = t_interval(values), len(values)
    error = scipy_stats.sem(values)
    half = error * scipy_stats.t.ppf(0.975, n - 1)
    assert found.mean == pytest.approx(np.mean(values))
    assert (found.low, found.high) == pytest.approx((np.mean(values) - half, np.mean(values) + half))


def test_t_interval_of_little() -> None:
    assert str(t_interval([])) == "–"
    assert t_interval([0.5, None]).low is None
    assert not t_interval([0.5]).above_zero


def test_paired_takes_seeds_that_both_have() -> None:
    found = paired({1: 0.9, 2: 0.7, 3: 0.1, 4: None}, {1: 0.8, 2: 0.5, 4: 0.3, 5: 0.0})
    assert (found.mean, found.seeds) == (pytest.approx(0.15), 2)


def test_rank_correlations() -> None:
    random = np.random.default_rng(2)
    cause = random.random(200)
    a, b = cause + 0.1 * random.random(200), cause + 0.1 * random.random(200)
    assert spearman(a, b) == pytest.approx(scipy_stats.spearmanr(a, b).statistic)
    assert spearman(a, np.ones(200)) is None
    partial = partial_spearman(a, b, cause)
    assert partial is not None
    assert abs(partial) < 0.2 < spearman(a, b)


def training_data() -> TrainingData:
    random = np.random.default_rng(3)

    def side(first: int) -> Pairs:
        ecg = np.arange(first, first + 12)
        method = tuple(random.choice(["ECG", "ECHO"], 12).tolist())
        text = tuple(f"{one} {at}" for one, at in zip(method, ecg, strict=True))
        return Pairs(EchoPairs(ecg, ecg + 100), TextPairs(ecg, text, method))

    nothing = np.zeros((0, 2), np.float32)
    return TrainingData([], nothing, nothing, side(0), side(12))  # type: ignore[arg-type]


def test_shuffles_deal_out_what_is_there_within_a_split_and_a_method() -> None:
    data = training_data()
    found = shuffled(data, (5, 1))
    for was, now in ((data.train, found.train), (data.validation, found.validation)):
        np.testing.assert_array_equal(now.echo.ecg, was.echo.ecg)
        np.testing.assert_array_equal(now.text.ecg, was.text.ecg)
        assert now.text.method == was.text.method
        assert sorted(now.echo.study) == sorted(was.echo.study)
        assert sorted(now.text.text) == sorted(was.text.text)
        assert all(text.startswith(f"{one} ") for text, one in zip(now.text.text, now.text.method, strict=True))
        assert (now.echo.study != was.echo.study).any()
        assert now.text.text != was.text.text


def test_shuffles_differ_and_repeat_themselves() -> None:
    data = training_data()
    first, again, second = (shuffled(data, (5, number)).train for number in (1, 1, 2))
    np.testing.assert_array_equal(first.echo.study, again.echo.study)
    assert (first.echo.study != second.echo.study).any()


def test_a_tenth_is_labelled_and_both_classes_are_there() -> None:
    split = np.array(["train"] * 300 + ["validation"] * 50 + ["test"] * 50)
    label = (np.arange(400) % 20 == 0).astype(np.int8)
    patient = np.arange(400) // 2  # two cases each
    draws = [labelled(label, patient, split, 1, draw) for draw in range(4)]
    for chosen in draws:
        assert chosen.sum() == 30
        assert (chosen[::2] == chosen[1::2]).all()
        assert (split[chosen] == "train").all()
        assert np.bincount(label[chosen]).min() >= OF_EACH
    assert (draws[0] != draws[1]).any()


@pytest.mark.parametrize("kind", KINDS)
def test_noise_has_deviation_one_in_every_lead(kind: str) -> None:
    found = added(kind, (6, 12, 1000), 4)  # type: ignore[arg-type]
    np.testing.assert_allclose(found.std(axis=2), 1, atol=0.1)
    assert (found[0, 0] != found[0, 1]).any()


def test_rises() -> None:
    assert rises([1.0, 2.0, 3.0])
    assert not rises([1.0, 1.0, 3.0])


def test_crowding_counts_the_studies_nearby() -> None:
    studies = np.eye(4, dtype=np.float32)[[0, 0, 0, 1]]
    near_three, near_one, near_none = crowding(np.eye(4, dtype=np.float32)[:3], studies, scale=50.0)
    np.testing.assert_allclose([near_three, near_one], np.log([3 / 4, 1 / 4]), atol=1e-6)
    assert near_none < -90


def test_the_loss_stands_still_where_matches_are_one() -> None:
    """The derivation that explains the variance, held against the loss itself."""
    random = np.random.default_rng(3)
    ecg = functional.normalize(torch.from_numpy(random.normal(0, 1, (24, 8)).astype(np.float32)))
    study = functional.normalize(ecg + torch.from_numpy(random.normal(0, 0.1, (24, 8)).astype(np.float32)))
    log_var = torch.from_numpy(random.uniform(-8, -1, (24, 1)).astype(np.float32)).repeat(1, 8).requires_grad_()
    low = torch.full((24, 8), -5.0)
    criterion = PcmeLoss(StudentSettings(kl_weight=0, pseudo_positive_weight=0))
    criterion(GaussianTensor(ecg, log_var), GaussianTensor(study, low)).total.backward()
    ecgs, studies = (
        GaussianTable.from_log_var(ecg.numpy(), log_var.detach().numpy()),
        GaussianTable.from_log_var(study.numpy(), low.numpy()),
    )
    matches = expit(criterion.shift.item() - criterion.scale.item() * sampled_distances(ecgs, studies)).sum(axis=1)
    assert 2 < (matches < 1).sum() < 22
    assert log_var.grad is not None
    rises_with_more_variance = log_var.grad.sum(dim=1).numpy() > 0
    np.testing.assert_array_equal(rises_with_more_variance, matches < 1)
    found = expected_matches(ecgs, studies, criterion.scale.item(), criterion.shift.item(), 24)
    assert found["own_mean"] == pytest.approx(matches.mean())
