"""The one rule of referral and the calibrator of the card: by hand, by the slow version, and by what they promise."""

from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from data_contracts.prediction import Calibration, Referral
from echoingecg.evaluation.data.models import LinearScore
from echoingecg.evaluation.decision.calibration import calibrate, choose_calibration, fit_isotonic, fit_platt
from echoingecg.evaluation.decision.threshold_and_referral import (
    FLOAT32_ROUNDING,
    advice,
    choose_referral,
    choose_threshold,
    decide,
    is_answered,
    possible_labels,
)
from echoingecg.evaluation.metrics.classification import log_odds
from echoingecg.recipe import EvaluationSettings

CONFORMAL = EvaluationSettings(miscoverage=0.1)


def rule(one_from: float, zero_to: float, threshold: float = 0.5, most_uncertain: float = -2.0) -> Referral:
    limits = {"one_from": one_from, "zero_to": zero_to, "threshold": threshold, "most_uncertain": most_uncertain}
    return Referral(kind="conformal", says="", **limits)


@pytest.mark.parametrize(
    ("of", "told"),
    [
        (rule(0.4, 0.6), [True, False, False, False, True]),  # between the limits both labels are possible
        (rule(0.6, 0.4), [True, False, False, False, True]),  # between them neither is; on a limit it is in doubt
        (rule(0.601, 0.399), [True, False, False, False, True]),
        (rule(0.599, 0.401), [True, True, False, True, True]),
        (rule(-inf, 0.6), [False, False, False, False, True]),  # too few of label 1: never answered with 0
        (rule(0.4, 0.6, threshold=0.95), [True, False, False, False, False]),  # the one possible label is not decided
        (rule(-inf, inf), [False] * 5),
        (rule(0.4, 0.6, most_uncertain=-3.5), [False] * 5),
    ],
)
def test_who_is_answered_by_hand(of: Referral, told: list[bool]) -> None:
    score = np.array([0.1, 0.4, 0.5, 0.6, 0.9])
    assert is_answered(of, score, np.full(5, -3.0)).tolist() == told


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(-5, 0)), max_size=20), *(st.floats(0, 1) for _ in range(3)))
def test_an_answer_is_the_decision_and_the_one_possible_label(
    cases: list[tuple[float, float]], one_from: float, zero_to: float, threshold: float
) -> None:
    of = rule(one_from, zero_to, threshold)
    score, uncertainty = np.array(cases, float).reshape(-1, 2).T
    told = is_answered(of, score, uncertainty)
    assert advice(told).tolist() == ["predict" if one else "refer" for one in told]
    for at in range(len(cases)):
        labels = {label for label in (0, 1) if possible_labels(of, score)[at, label]}
        distances = [abs(log_odds(score[at]) - log_odds(np.array(limit))) for limit in (one_from, zero_to, threshold)]
        clear = min(distances) > FLOAT32_ROUNDING and uncertainty[at] <= -2.0 - 2 * FLOAT32_ROUNDING
        assert told[at] == (labels == {int(decide(of, score)[at])} and clear)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.floats(0, 1), st.floats(0, 1))
def test_nearest_refers_the_share_nearest_to_the_threshold(scores: list[float], threshold: float, share: float) -> None:
    score, still = np.array(scores), np.full(len(scores), -3.0)
    asked = EvaluationSettings(referral="nearest", refer_share=share)
    inside = ~is_answered(choose_referral(np.zeros(len(score)), score, still, threshold, asked), score, still - 1)
    assert inside.sum() >= min(len(score), share * len(score))
    if share == 0:
        on_threshold = np.abs(log_odds(score) - log_odds(np.array(threshold))) <= FLOAT32_ROUNDING
        assert (inside == on_threshold).all()
        return
    distance = np.abs(score - threshold)
    for side in (score < threshold, score > threshold):  # on either side the nearer ones are referred
        assert distance[side & inside].max(initial=0) <= distance[side & ~inside].min(initial=1)


def test_without_validation_everything_is_referred() -> None:
    empty = np.empty(0)
    for kind in ("conformal", "nearest"):
        of = choose_referral(empty, empty, empty, 0.5, EvaluationSettings(referral=kind))
        assert not is_answered(of, np.array([0.0, 1.0]), np.zeros(2)).any()
        assert "no validation ECG" in of.says


def test_who_is_more_uncertain_than_all_of_validation_is_referred() -> None:
    generator = np.random.default_rng(0)
    label, score = patients(generator, 100, 2.0)
    uncertainty = generator.normal(-3, 1, 100)
    of = choose_referral(label, score, uncertainty, 0.5, CONFORMAL)
    assert of.most_uncertain == uncertainty.max()
    sure = np.full(2, 1e-9)
    assert is_answered(of, sure, uncertainty.max() + np.array([-1e-5, 1e-5])).tolist() == [True, False]


@given(st.floats(0.001, 0.4), st.floats(0.6, 0.999), st.floats(0.1, 1000.0), st.integers(0, 2**32 - 1))
def test_rounding_flips_no_advice_on_a_limit(zero_to: float, one_from: float, steepness: float, seed: int) -> None:
    """Scores on the limits, moved by 1e-10 or as an embedding's float32 rounding moves them, are all referred."""
    of = rule(one_from, zero_to, most_uncertain=-4.0)
    on_limit = np.array([zero_to, one_from, 0.5])
    noise = np.random.default_rng(seed).uniform(-0.9, 0.9, (100, 3)) * FLOAT32_ROUNDING * steepness
    moved = [on_limit, on_limit - 1e-10 * min(1.0, zero_to), on_limit + 1e-10 * min(1.0, zero_to)]
    moved += list(expit(log_odds(on_limit) + noise))
    for score in moved:
        assert not is_answered(of, score, np.full(3, -5.0), max(steepness, 1.0)).any()
    for shift in (-1e-10, 0.0, 1e-10, float(np.spacing(np.float32(4.0)))):
        assert not is_answered(of, np.array([zero_to / 2]), np.array([-4.0 + shift])).any()
    clear = expit(log_odds(np.array([zero_to, one_from])) + 3 * FLOAT32_ROUNDING * steepness * np.array([-1, 1]))
    assert is_answered(of, clear, np.full(2, -4.0 - 1e-5), steepness).all()


def test_a_score_is_as_doubtful_alone_as_in_company() -> None:
    """Every validation ECG that sets a limit is referred, however float32 rounds its embedding."""
    generator = np.random.default_rng(8)
    mean = generator.normal(size=(60, 32))
    mean = (mean / np.linalg.norm(mean, axis=1, keepdims=True)).astype(np.float32)
    line = LinearScore(200 * generator.normal(size=32), -1.0)
    label = (generator.random(60) < 0.3).astype(np.int8)
    uncertainty = generator.normal(-4, 0.1, 60)
    asked = EvaluationSettings(miscoverage=0.3)
    of = choose_referral(label, line.scores(mean), uncertainty, choose_threshold(label, line.scores(mean)).value, asked)
    limits = np.isin(line.scores(mean), [of.one_from, of.zero_to]) | (uncertainty == of.most_uncertain)
    assert limits.sum() >= 2
    for _ in range(50):
        rounded = np.nextafter(mean, generator.choice([-np.inf, np.inf], mean.shape).astype(np.float32))
        assert not is_answered(of, line.scores(rounded), uncertainty, line.steepness)[limits].any()


def patients(generator: np.random.Generator, count: int, skill: float) -> tuple[np.ndarray, np.ndarray]:
    label = (generator.random(count) < 0.25).astype(np.int8)
    return label, expit(generator.normal(skill * label - 1, 1.0))


@pytest.mark.parametrize("skill", [0.5, 2.0, 6.0])  # labels overlap, or leave a gap where none is possible
def test_wrong_answers_stay_under_the_promised_share_of_each_class(skill: float) -> None:
    """Over many draws of validation: of each class at most miscoverage is answered wrongly, threshold and guard in."""
    generator = np.random.default_rng(4)
    wrong: dict[int, list[float]] = {0: [], 1: []}
    for _ in range(200):
        label, score = patients(generator, 200, skill)
        of = choose_referral(label, score, generator.normal(size=200), choose_threshold(label, score).value, CONFORMAL)
        label, score = patients(generator, 1000, skill)
        told = is_answered(of, score, generator.normal(size=1000))
        for one in (0, 1):
            wrong[one].append((told & (decide(of, score) != label))[label == one].mean())
    for one in (0, 1):
        assert np.mean(wrong[one]) <= 0.1 + 0.01  # three standard errors
    assert skill > 2 or np.mean(wrong[0]) > 0.04  # and the promise is not kept by answering nothing


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
        np.testing.assert_array_equal(
            calibrate(found, score), {"platt": fit_platt, "isotonic": fit_isotonic}[method](label, score)(score)
        )


def chosen(label: np.ndarray, score: np.ndarray, patient: np.ndarray, choice: str) -> Calibration:
    both = len(np.unique(label)) == 2
    fits = [fit(label, score) if both else None for fit in (fit_platt, fit_isotonic)]
    return choose_calibration(label, score, patient, *fits, choice)  # type: ignore[arg-type]


def test_the_brier_scores_that_choose_are_those_of_held_out_patients() -> None:
    generator = np.random.default_rng(6)
    label, score = patients(generator, 200, 1.0)
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
        np.testing.assert_array_equal(calibrate(found, score), score)


def test_ten_patients_of_each_class_are_needed_and_all_of_one_fold_are_too_few() -> None:
    generator = np.random.default_rng(7)
    patient = np.array([f"p-{at:03d}" for at in range(100)])
    for positives, method in ((9, "none"), (10, "platt")):  # every fifth patient is of one fold
        label = ((np.arange(100) % 5 == 0) & (np.arange(100) < 5 * positives)).astype(np.int8)
        found = chosen(label, expit(generator.normal(size=100)), patient, "validation")
        assert found.method == method
        assert ("9 validation patients" if method == "none" else "too few") in found.says
