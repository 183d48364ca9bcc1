"""Zero-shot, linear probe, thresholds and embedding, each against the obvious version."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score

from data_contracts.conventions import ContractError
from echoingecg.evaluation.data.embed import GaussianTable, embed_ecgs, sampled_distances
from echoingecg.evaluation.data.names import Skipped
from echoingecg.evaluation.decision.threshold_and_referral import choose_threshold
from echoingecg.evaluation.protocols.zero_shot_and_probe import linear_probe_scores, zero_shot_scores
from helpers.cases.evaluation_case import DIM, ArraySignals, PlantedStudent, planted_signals


def gaussians(count: int, seed: int, log_var: float = -2.0) -> tuple[GaussianTable, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    mean = generator.normal(size=(count, DIM)).astype(np.float32)
    mean /= np.linalg.norm(mean, axis=1, keepdims=True)
    spread = generator.normal(log_var, 0.5, size=(count, DIM)).astype(np.float32)
    return GaussianTable.from_log_var(mean, spread), mean.astype(float), spread.astype(float)


def slow_distance(mean_a: np.ndarray, log_var_a: np.ndarray, mean_b: np.ndarray, log_var_b: np.ndarray) -> float:
    return float(((mean_a - mean_b) ** 2).sum() + (np.exp(log_var_a) + np.exp(log_var_b)).sum())


def test_distance_against_the_definition() -> None:
    (a, mean_a, spread_a), (b, mean_b, spread_b) = gaussians(7, 1), gaussians(5, 2)
    expected = [[slow_distance(mean_a[i], spread_a[i], mean_b[j], spread_b[j]) for j in range(5)] for i in range(7)]
    np.testing.assert_allclose(sampled_distances(a, b), expected, rtol=1e-12)


def test_zero_shot_is_the_softmax_of_the_mean_logits() -> None:
    (ecg, mean, spread), scale, shift = gaussians(6, 3), 7.0, 4.0
    (positive, mean_p, spread_p), (negative, mean_n, spread_n) = gaussians(3, 4), gaussians(2, 5, -1.0)
    for at, score in enumerate(zero_shot_scores(ecg, positive, negative, scale)):
        logits = [
            np.mean([-scale * slow_distance(mean[at], spread[at], m, v) + shift for m, v in zip(*of, strict=True)])
            for of in ((mean_p, spread_p), (mean_n, spread_n))
        ]
        assert score == pytest.approx(np.exp(logits[0]) / np.exp(logits).sum(), rel=1e-9)


@pytest.mark.parametrize("scale", [1e-3, 5.0, 1e4])
def test_zero_shot_stays_finite_and_unmoved_by_a_huge_ecg_variance(scale: float) -> None:
    (ecg, mean, _), (positive, *_), (negative, *_) = gaussians(50, 6), gaussians(2, 7), gaussians(2, 8)
    vague = GaussianTable.from_log_var(mean, np.full(mean.shape, 60.0))
    scores = zero_shot_scores(ecg, positive, negative, scale)
    assert np.isfinite(scores).all()
    assert ((scores >= 0) & (scores <= 1)).all()
    np.testing.assert_array_equal(zero_shot_scores(vague, positive, negative, scale), scores)


def test_linear_probe_against_plain_scikit_learn() -> None:
    generator = np.random.default_rng(9)
    mean = generator.normal(2.0, 3.0, size=(300, DIM)).astype(np.float32)
    label = (mean[:, 0] + generator.normal(size=300) > 2).astype(np.int8)
    training = np.arange(300) < 200
    seen = mean[training].astype(float)
    standardised = (mean - seen.mean(axis=0)) / seen.std(axis=0)
    plain = LogisticRegression(C=0.3, max_iter=1000).fit(standardised[training], label[training])
    expected = plain.predict_proba(standardised)[:, 1]
    found = linear_probe_scores(mean, label, training, 0.3)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    elsewhere = np.where(training, label, 1 - label)
    np.testing.assert_array_equal(linear_probe_scores(mean, elsewhere, training, 0.3), found)


@pytest.mark.parametrize(("labels", "says"), [([0, 0, 1], "all 2 labelled training ECGs have label 0"), ([], "no lab")])
def test_linear_probe_without_two_classes_is_skipped(labels: list[int], says: str) -> None:
    count = len(labels)
    found = linear_probe_scores(np.ones((count, DIM)), np.array(labels), np.arange(count) < 2, 1.0)
    assert isinstance(found, Skipped)
    assert says in found.reason


scores_strategy = arrays(float, 25, elements=st.sampled_from([0.0, 1e-9, 0.1, 0.2, 0.4, 0.5, 0.6, 0.9, 1.0]))


@settings(max_examples=60, deadline=None)
@given(scores_strategy, arrays(np.int8, 25, elements=st.integers(0, 1)))
def test_threshold_against_trying_all(score: np.ndarray, label: np.ndarray) -> None:
    label[:2] = [0, 1]
    distinct = sorted(set(score.tolist()))
    candidates = [0.5] + [(low + high) / 2 for low, high in pairwise(distinct)]
    merits = [round(balanced_accuracy_score(label, score >= one), 12) for one in candidates]
    expected = min(
        (one for one, merit in zip(candidates, merits, strict=True) if merit == max(merits)),
        key=lambda one: (abs(one - 0.5), one),
    )
    assert choose_threshold(label, score).value == expected


@pytest.mark.parametrize(("label", "lacks"), [([0, 0], "positive"), ([1, 1], "negative"), ([], "positive")])
def test_threshold_falls_back_and_says_so(label: list[int], lacks: str) -> None:
    found = choose_threshold(np.array(label, int), np.full(len(label), 0.2))
    assert found.value == 0.5
    assert f"no {lacks} among {len(label)}" in found.origin


def test_embedding_in_chunks_keeps_the_order() -> None:
    count = 1100
    signals = np.random.default_rng(0).normal(size=(count, 12, 1000)).astype(np.float32)
    rows = np.random.default_rng(1).permutation(count)[:1050].astype(np.int64)
    seen: list[tuple[int, int]] = []
    found = embed_ecgs(
        PlantedStudent(), ArraySignals(signals), rows, DIM, lambda done, total, note="": seen.append((done, total))
    )
    mean, log_var = PlantedStudent().embed_ecg(signals[rows])
    np.testing.assert_array_equal(found.mean, mean)
    np.testing.assert_allclose(found.total_variance, np.exp(log_var.astype(float)).sum(axis=1))
    np.testing.assert_allclose(found.uncertainty, log_var.astype(float).mean(axis=1))
    assert seen == [(512, 1050), (1024, 1050), (1050, 1050)]


def test_a_faulty_student_is_named() -> None:
    signals = np.ones((3, 12, 1000), np.float32)
    with pytest.raises(ContractError, match="trained on this teacher"):
        embed_ecgs(PlantedStudent(), ArraySignals(signals), np.arange(3), DIM + 1)
    signals[1] = planted_signals(np.zeros((1, 12)), np.full(1, 1e4))
    with pytest.raises(ContractError, match="not finite"):
        embed_ecgs(replace(PlantedStudent()), ArraySignals(signals), np.arange(3), DIM)
