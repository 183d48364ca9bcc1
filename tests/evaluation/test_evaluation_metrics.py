"""Metrics and their bootstrap, uncertainty, retrieval: oracles and known answers."""

import time
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from echoingecg.evaluation.gaussians import Gaussians, sampled_distances
from echoingecg.evaluation.metrics import AUROC, BALANCED_ACCURACY, bootstrap, estimate
from echoingecg.evaluation.retrieval import KS, retrieve
from echoingecg.evaluation.uncertainty import ALL, HIGH, LOW, groups, variance_bins

Case = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def make_case(records: int, patients: int, seed: int = 0, digits: int = 2) -> Case:
    generator = np.random.default_rng(seed)
    label = (generator.random(records) < 0.3).astype(np.int8)
    score = np.clip(generator.normal(0.4 + 0.2 * label, 0.2), 0, 1).round(digits)
    patient = np.array([f"p{one}" for one in generator.integers(0, patients, records)])
    return label, score, (score >= 0.5).astype(np.int8), patient


def test_bootstrap_against_drawing_patients_one_by_one() -> None:
    label, score, decision, patient = make_case(60, 12)
    names = np.unique(patient)
    generator = np.random.default_rng(5)
    expected: dict[str, list[float]] = {AUROC: [], BALANCED_ACCURACY: []}
    for picks in generator.integers(0, len(names), size=(40, len(names))):
        at = np.concatenate([np.flatnonzero(patient == names[pick]) for pick in picks])
        if len(np.unique(label[at])) == 2:
            expected[AUROC].append(roc_auc_score(label[at], score[at]))
            expected[BALANCED_ACCURACY].append(balanced_accuracy_score(label[at], decision[at]))
    found = bootstrap(label, score, decision, patient, draws=40, seed=5)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-12)
    interval = estimate(label, score, decision, patient, draws=40, seed=5)[AUROC]
    assert (interval.low, interval.high) == pytest.approx(tuple(np.percentile(expected[AUROC], [2.5, 97.5])))
    assert interval.value == roc_auc_score(label, score)


def test_resamples_without_a_class_are_skipped() -> None:
    label, score, patient = np.array([1, 0, 0]), np.array([0.9, 0.1, 0.2]), np.array(["a", "b", "c"])
    found = bootstrap(label, score, label, patient, draws=500, seed=1)
    assert 0 < len(found[AUROC]) < 500
    assert set(found[AUROC]) == {1.0}


def test_known_answers() -> None:
    label, _, _, patient = make_case(200, 100)
    perfect = estimate(label, label.astype(float), label, patient, 200, 1)
    assert {(one.value, one.low, one.high) for one in perfect.values()} == {(1.0, 1.0, 1.0)}
    constant = estimate(label, np.full(200, 0.3), np.zeros(200, int), patient, 200, 1)
    assert {(one.value, one.low, one.high) for one in constant.values()} == {(0.5, 0.5, 0.5)}


def test_interval_width_is_the_binomial_one() -> None:
    """400 + 400 patients, 80 % right in each class: the standard error is sqrt(0.8 * 0.2 / 400 / 2)."""
    label = np.repeat([0, 1], 400)
    decision = np.where(np.arange(800) % 5 == 0, 1 - label, label)
    found = estimate(label, decision.astype(float), decision, np.arange(800).astype(str), 4000, 3)[BALANCED_ACCURACY]
    assert found.value == 0.8
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(0.16 / 800), rel=0.06)


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
    none = estimate(np.zeros(4, int), score, np.zeros(4, int), patient, 50, 1)[AUROC]
    assert (none.value, none.low, none.high) == (None, None, None)
    alone = estimate(np.array([0, 0, 1, 1]), score, np.zeros(4, int), patient, 50, 1)[AUROC]
    assert (alone.value, alone.low, alone.high) == (1.0, None, None)


def test_five_thousand_predictions_take_seconds() -> None:
    case = make_case(5000, 3000, digits=9)
    started = time.perf_counter()
    estimate(*case, draws=1000, seed=1)
    assert time.perf_counter() - started < 8


@given(st.lists(st.sampled_from([-3.0, -2.0, -1.0]), max_size=41))
def test_halves_are_halves(values: list[float]) -> None:
    found = groups(np.array(values))
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
    assert bins[0].uncertainty == 5.0
    assert [one.records for one in variance_bins(uncertainty[:7], label[:7], label[:7])] == [7]
    assert variance_bins(np.empty(0), np.empty(0), np.empty(0)) == []


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(1, 25), st.integers(1, 60))
def test_retrieval_against_sorting(seed: int, queries: int, gallery: int, elements: int) -> None:
    generator = np.random.default_rng(seed)
    ecgs = Gaussians.of(generator.normal(size=(queries, 4)), generator.normal(size=(queries, 4)))
    studies = Gaussians.of(generator.normal(size=(gallery, 4)), generator.normal(size=(gallery, 4)))
    query = np.append(np.arange(queries), generator.integers(0, queries, 5))
    match = generator.integers(0, gallery, len(query))
    found = retrieve(ecgs, studies, query, match, elements)
    distance = sampled_distances(ecgs, studies)
    for k, recall, chance in zip(KS, found.recall, found.chance, strict=True):
        hits, lucky = [], []
        for one in range(queries):
            own = set(match[query == one].tolist())
            hits.append(bool(own & set(np.argsort(distance[one])[:k].tolist())))
            lucky.append(1 - comb(gallery - len(own), min(k, gallery)) / comb(gallery, min(k, gallery)))
        assert recall == pytest.approx(np.mean(hits))
        assert chance == pytest.approx(np.mean(lucky))


def test_a_collapsed_embedding_finds_nothing() -> None:
    same = Gaussians.of(np.ones((20, 4)), np.zeros((20, 4)))
    found = retrieve(same, same, np.arange(20), np.arange(20))
    assert found.recall == (0.0, 0.0, 0.0)
    assert found.chance == pytest.approx((0.05, 0.25, 0.5))
