"""The one rule of referral and the calibrator of the card: by hand, by the slow version, and by what they promise."""

from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from data_contracts.prediction import Calibration, Predictive, Referral
from echoingecg.evaluation.data.models import LinearScore
from echoingecg.evaluation.decision.calibration import (
    CalibrationEcgs,
    calibrate,
    choose_calibration,
    fit_isotonic,
    fit_platt,
)
from echoingecg.evaluation.decision.predictive import EcgValues, ExpectedEcho, PredictiveDistribution, expected_echo
from echoingecg.evaluation.decision.threshold_and_referral import (
    FLOAT32_ROUNDING,
    advice,
    choose_referral,
    choose_threshold,
    decide,
    is_decided,
    possible_labels,
)
from echoingecg.evaluation.metrics.classification import log_odds
from echoingecg.recipe import EvaluationSettings

CONFORMAL = EvaluationSettings(miscoverage=0.1)


def rule(one_from: float, zero_to: float) -> Referral:
    return Referral(kind="conformal", says="", threshold=0.5, one_from=one_from, zero_to=zero_to)


@pytest.mark.parametrize(
    ("of", "told"),
    [
        (rule(-1, 1), [True, False, False, False, True]),  # between the limits both labels are possible
        (rule(1, -1), [True, False, False, False, True]),  # between them neither is; on a limit it is in doubt
        (rule(1.01, -1.01), [True, False, False, False, True]),
        (rule(0.99, -1.01), [True, False, False, True, True]),
        (rule(-0.99, 0.99), [True, True, False, True, True]),
        (rule(-inf, 1), [False, False, False, False, True]),  # too few of label 1: never answered with 0
        (rule(-1, -2.5), [True, False, False, True, True]),
        (rule(-5, -4), [False, False, False, True, True]),  # the one possible label is not decided
        (rule(-inf, inf), [False] * 5),
    ],
)
def test_who_is_answered_by_hand(of: Referral, told: list[bool]) -> None:
    assert is_decided(of, np.array([-3.0, -1.0, 0.0, 1.0, 3.0])).tolist() == told


@given(
    st.lists(st.tuples(st.floats(-9, 9), st.floats(0, 0.1)), max_size=20),
    *(st.one_of(st.floats(-9, 9), st.just(limit)) for limit in (-inf, inf)),
)
def test_an_answer_is_the_decision_and_the_one_possible_label(
    cases: list[tuple[float, float]], one_from: float, zero_to: float
) -> None:
    of = rule(one_from, zero_to)
    distance, rounding = np.array(cases, float).reshape(-1, 2).T
    told = is_decided(of, distance, rounding)
    assert advice(told).tolist() == ["predict" if one else "refer" for one in told]
    for at in range(len(cases)):
        labels = {label for label in (0, 1) if possible_labels(of, distance)[at, label]}
        nearest = min(abs(distance[at] - limit) for limit in (one_from, zero_to, 0.0))
        assert told[at] == (labels == {int(decide(distance)[at])} and nearest > rounding[at])


@given(st.lists(st.floats(-9, 9), min_size=1, max_size=40), st.floats(0, 1))
def test_nearest_refers_the_share_nearest_to_the_threshold(distances: list[float], share: float) -> None:
    distance = np.array(distances)
    asked = EvaluationSettings(referral="nearest", refer_share=share)
    inside = ~is_decided(choose_referral(np.zeros(len(distance)), distance, 0.5, asked), distance)
    assert inside.sum() >= min(len(distance), share * len(distance))
    if share == 0:
        assert (inside == (distance == 0)).all()
        return
    for side in (distance < 0, distance > 0):  # on either side the nearer ones are referred
        far = np.abs(distance)
        assert far[side & inside].max(initial=0) <= far[side & ~inside].min(initial=inf)


@pytest.mark.parametrize(
    ("distance", "share", "limits"),
    [
        ([1.0, 2.0, 3.0], 1 / 3, (0.0, 1.0)),
        ([-3.0, -2.0, -1.0], 1 / 3, (-1.0, 0.0)),
        ([-2.0, 1.0, 3.0], 0.5, (-2.0, 1.0)),
        ([-2.0, 1.0, 3.0], 0.1, (0.0, 1.0)),
    ],
)
def test_what_lies_between_the_threshold_and_the_nearest_is_referred_and_nothing_beyond(
    distance: list[float], share: float, limits: tuple[float, float]
) -> None:
    asked = EvaluationSettings(referral="nearest", refer_share=share)
    chosen = choose_referral(np.zeros(len(distance)), np.array(distance), 0.5, asked)
    assert (chosen.one_from, chosen.zero_to) == limits
    around = np.array([limits[0] - 1e-3, limits[0] + 1e-3, limits[1] - 1e-3, limits[1] + 1e-3])
    assert is_decided(chosen, around).tolist() == [True, False, False, True]


def test_without_validation_everything_is_referred() -> None:
    empty = np.empty(0)
    for kind in ("conformal", "nearest"):
        of = choose_referral(empty, empty, 0.5, EvaluationSettings(referral=kind))
        assert not is_decided(of, np.array([-99.0, 0.0, 99.0])).any()
        assert "no validation ECG" in of.says


@given(st.floats(0.01, 5), st.floats(0.01, 5), st.floats(1e-9, 1e-3), st.integers(0, 2**32 - 1))
def test_rounding_flips_no_advice_on_a_limit(zero_to: float, one_from: float, rounding: float, seed: int) -> None:
    """Distances on the limits, moved by less than the rounding, are all referred; beyond it they are not."""
    of = rule(one_from, -zero_to)
    on_limit = np.array([-zero_to, one_from, 0.0])
    noise = np.random.default_rng(seed).uniform(-0.99, 0.99, (100, 3)) * rounding
    for distance in (on_limit, *(on_limit + noise)):
        assert not is_decided(of, distance, rounding).any()
    assert is_decided(of, np.array([-zero_to, one_from]) + 1.01 * rounding * np.array([-1, 1]), rounding).all()


@pytest.mark.parametrize("by_features", [False, True])
def test_a_score_is_as_doubtful_alone_as_in_company(by_features: bool) -> None:
    """Every validation ECG that sets a limit is referred, however float32 rounds its embedding and features."""
    generator = np.random.default_rng(8)
    mean = generator.normal(size=(60, 32))
    mean = (mean / np.linalg.norm(mean, axis=1, keepdims=True)).astype(np.float32)
    features = generator.normal(1, 1, size=(60, 24)).astype(np.float32)
    line, away = LinearScore(200 * generator.normal(size=32), -1.0), np.full(60, 1.1)
    label = (generator.random(60) < 0.3).astype(np.int8)
    predictive = None
    if by_features:
        scalars = Predictive(
            slope=0.7, intercept=0.1, log_variance=1.0, log_variance_slope=1.0, log_variance_bias=0.0,
            typical_distance=1.3,
        )  # fmt: skip
        predictive = PredictiveDistribution(scalars, generator.normal(size=24), 0.05 * generator.normal(size=24))

    def echo(mean: np.ndarray, features: np.ndarray) -> ExpectedEcho:
        return expected_echo(predictive, EcgValues(line.log_odds(mean), away, features), line.steepness)

    own = echo(mean, features)
    threshold = choose_threshold(label, expit(own.mean)).value
    asked = EvaluationSettings(miscoverage=0.3)
    of = choose_referral(label, own.distance(threshold), threshold, asked)
    limits = np.isin(own.distance(threshold), [of.one_from, of.zero_to])
    assert limits.sum() >= 2
    answered = is_decided(of, own.distance(threshold), own.rounding)
    assert answered.sum() > 20
    moved = np.zeros(60)
    for _ in range(50):
        near = [
            np.nextafter(values, generator.choice([-np.inf, np.inf], values.shape).astype(np.float32))
            for values in (mean, features)
        ]
        rounded = echo(*near)
        assert not is_decided(of, rounded.distance(threshold), rounded.rounding)[limits].any()
        moved = np.maximum(moved, np.abs(rounded.distance(threshold) - own.distance(threshold)))

    assert ((moved < own.rounding) & (own.rounding < 100 * moved)).all(), "a margin, and not a wide one"


def patients(generator: np.random.Generator, count: int, skill: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels and log-odds."""
    label = (generator.random(count) < 0.25).astype(np.int8)
    return label, generator.normal(skill * label - 1, 1.0)


@pytest.mark.parametrize("skill", [0.5, 2.0, 6.0])  # labels overlap, or leave a gap where none is possible
def test_wrong_answers_stay_under_the_promised_share_of_each_class(skill: float) -> None:
    """Over many draws of validation: of each class at most miscoverage is answered wrongly, threshold in."""
    generator = np.random.default_rng(4)
    wrong: dict[int, list[float]] = {0: [], 1: []}
    for _ in range(200):
        label, mean = patients(generator, 200, skill)
        threshold = choose_threshold(label, expit(mean)).value
        place = log_odds(np.array(threshold))
        of = choose_referral(label, mean - place, threshold, CONFORMAL)
        label, mean = patients(generator, 1000, skill)
        told = is_decided(of, mean - place)
        for one in (0, 1):
            wrong[one].append((told & (decide(mean - place) != label))[label == one].mean())
    for one in (0, 1):
        assert np.mean(wrong[one]) <= 0.1 + 0.01  # three standard errors
    assert skill > 2 or np.mean(wrong[0]) > 0.04  # and the promise is not kept by answering nothing


def test_the_promise_holds_for_distances_in_deviations_that_differ_between_ecgs() -> None:
    generator = np.random.default_rng(9)
    wrong = []
    for _ in range(200):
        of, parts = None, []
        for count in (200, 1000):
            label, mean = patients(generator, count, 2.0)
            deviation = np.exp(generator.normal(0, 0.5, count))
            echo = ExpectedEcho(generator.normal(mean, deviation), deviation, np.zeros(count))
            parts.append((label, echo.distance(0.5)))
            of = of or choose_referral(*parts[0], 0.5, CONFORMAL)
        label, distance = parts[1]
        mistaken = is_decided(of, distance) & (decide(distance) != label)
        wrong.append([mistaken[label == one].mean() for one in (0, 1)])
    assert (np.mean(wrong, axis=0) <= 0.11).all()
    assert np.mean(wrong) > 0.04


def test_the_calibrator_is_the_better_one_on_patients_it_has_not_seen() -> None:
    """Scores off by a sigmoid call for Platt; off by a step, which no sigmoid is, for isotonic regression."""
    generator = np.random.default_rng(5)
    score, patient = generator.random(600), np.array([f"p-{one}" for one in generator.integers(0, 300, 600)])
    for risk, method in (
        (expit(2 * log_odds(score) - 1), "platt"),
        (np.where((score > 0.45) & (score < 0.95), 0.5, np.where(score < 0.45, 0.02, 0.98)), "isotonic"),
    ):
        label = (generator.random(600) < risk).astype(np.int8)
        found = chosen(label, score, patient, "validation")
        assert found.method == method, found.says
        mean = log_odds(score)
        expected = {"platt": fit_platt(label, mean)(mean), "isotonic": fit_isotonic(label, score)(score)}[method]
        np.testing.assert_array_equal(calibrate(found, score, mean), expected)


def chosen(label: np.ndarray, score: np.ndarray, patient: np.ndarray, choice: str) -> Calibration:
    ecgs = CalibrationEcgs(label, patient, score, log_odds(score))
    fits = (ecgs.platt(), ecgs.isotonic()) if ecgs.has_both_classes else (None, None)
    return choose_calibration(ecgs, *fits, choice)  # type: ignore[arg-type]


def test_the_brier_scores_that_choose_are_those_of_held_out_patients() -> None:
    generator = np.random.default_rng(6)
    label, mean = patients(generator, 200, 1.0)
    score = expit(mean)
    patient = np.repeat([f"p-{one:03d}" for one in range(100)], 2)
    out, fold = np.empty(200), (np.arange(200) // 2) % 5
    for one in range(5):
        kept = fold != one
        positives, negatives = label[kept].sum(), (1 - label[kept]).sum()
        target = np.where(label[kept] == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
        plain = LogisticRegression(C=np.inf, tol=1e-8).fit(
            np.tile(log_odds(score[kept]), 2)[:, None], np.repeat([1, 0], kept.sum()), np.append(target, 1 - target)
        )
        out[~kept] = plain.predict_proba(log_odds(score[~kept])[:, None])[:, 1]
    assert f"Platt {brier_score_loss(label, out):.4f}," in chosen(label, score, patient, "validation").says


def test_few_validation_patients_and_the_recipes_word() -> None:
    label, score = np.array([0, 0, 0, 1]), np.array([0.1, 0.2, 0.3, 0.9])
    patient = np.array(["a", "b", "c", "d"])
    assert chosen(label, score, patient, "isotonic").method == "isotonic"
    unasked = [chosen(label, score, patient, "none"), chosen(label * 0, score, patient, "validation")]
    for found in (*unasked, chosen(label, score, patient, "validation")):
        assert found.method == "none"
        assert calibrate(found, score, log_odds(score)) is None


def test_ten_patients_of_each_class_are_needed_and_all_of_one_fold_are_too_few() -> None:
    generator = np.random.default_rng(7)
    patient = np.array([f"p-{at:03d}" for at in range(100)])
    for positives, method in ((9, "none"), (10, "platt")):  # every fifth patient is of one fold
        label = ((np.arange(100) % 5 == 0) & (np.arange(100) < 5 * positives)).astype(np.int8)
        found = chosen(label, expit(generator.normal(size=100)), patient, "validation")
        assert found.method == method
        assert ("9 validation patients" if method == "none" else "too few") in found.says


def test_rounding_is_a_few_units_of_float32() -> None:
    """More than was measured between processors (0.7 units in the last place), and far too little to refer ECGs by."""
    unit = float(np.finfo(np.float32).eps)
    assert 4 * unit < FLOAT32_ROUNDING < 16 * unit
