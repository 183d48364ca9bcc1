"""Numbers with an interval: what is recovered, who is referred, contradictions against every value of the interval."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from data_contracts.prediction import NUMBER_DOUBTS, NumberLimit
from echoingecg.evaluation.decision.answers import Answers, answer_ecgs
from echoingecg.evaluation.decision.numbers import contradicts, limits_of_questions, widest_deviation
from echoingecg.evaluation.decision.predictive import EcgValues, ExpectedEcho, expected_number, fit_predictive
from echoingecg.evaluation.decision.reading_card import LoadedReadingCard
from echoingecg.recipe import Endpoint
from echoingecg.recipe.evaluation import ThresholdBySex
from helpers.cases.evaluation_case import LVEF, lvef_below
from helpers.cases.reading_cards import NESTED, PROTOCOLS, nested_card

DIM, FEATURES = 6, 5


def ecgs(count: int = 400, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean embeddings, features and whether a finding refers; every tenth ECG is not typical."""
    random = np.random.default_rng((7, seed))
    mean, features = random.normal(size=(count, DIM)), random.normal(1, 1, (count, FEATURES))
    features[::10] += 12
    mean = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    return mean.astype(np.float32), features.astype(np.float32), np.arange(count) % 7 == 3


def card(with_number: bool = True) -> LoadedReadingCard:
    return nested_card(np.random.default_rng(0).normal(1, 1, (400, FEATURES)), DIM, with_number=with_number)


def measured(count: int, seed: int) -> tuple[EcgValues, np.ndarray]:
    """ECGs whose number is linear in the features, with noise that grows with one of them."""
    random = np.random.default_rng(seed)
    features = random.normal(0, 1, (count, FEATURES))
    spread = 6 * np.exp(0.2 * features[:, 4])
    number = 55 + 8 * features[:, 0] - 4 * features[:, 1] + spread * random.normal(size=count)
    distance = np.exp(random.normal(0, 0.05, count))
    return EcgValues(np.zeros(count), distance, features.astype(np.float32)), number


def test_a_number_is_predicted_from_the_features_alone_and_its_intervals_hold() -> None:
    nothing = EcgValues(np.empty(0), np.empty(0), np.empty((0, FEATURES), np.float32)), np.empty(0)
    training, validation, (new, number) = measured(20_000, 1), measured(2000, 2), measured(4000, 3)
    found = fit_predictive(training, nothing, validation, 1.0)
    assert found is not None
    assert found.scalars.slope == 0
    expected = expected_number(found, new.distance, new.features)
    scaler = StandardScaler().fit(training[0].features.astype(np.float64))
    plain = Ridge(1000.0).fit(scaler.transform(training[0].features.astype(np.float64)), training[1])
    np.testing.assert_allclose(expected.mean, plain.predict(scaler.transform(new.features.astype(np.float64))))
    low, high = expected.interval
    np.testing.assert_allclose((high - low) / 2, norm.ppf(0.95) * expected.deviation)
    holds = (number >= low) & (number <= high)
    sure = expected.deviation < np.median(expected.deviation)
    for part in (holds, holds[sure], holds[~sure]):  # the fit draws the features' part of the variance towards none
        assert 0.85 <= part.mean() <= 0.95
    error = np.abs(number - expected.mean)
    assert error[sure].mean() < 0.8 * error[~sure].mean()


def test_a_guess_without_an_ecg_is_as_wide_as_its_interval_must_be() -> None:
    training, validation = (np.random.default_rng(seed).normal(55, 10, 5000) for seed in (1, 2))
    widest = widest_deviation(training, validation)
    reach = norm.ppf(0.95) * widest
    assert (np.abs(validation - training.mean()) <= reach).mean() == pytest.approx(0.9, abs=1e-3)
    assert widest == pytest.approx(10, rel=0.05)


def asked(**changes: Any) -> Endpoint:
    return Endpoint.model_validate(lvef_below(50).model_dump() | changes)


def test_questions_of_the_same_measurement_and_unit_part_a_number() -> None:
    by_sex = asked(name="by sex", threshold=ThresholdBySex(F=54, M=52), comparison=">=")
    other = asked(name="other", measurement="septum")
    fraction = asked(name="fraction", unit="1", valid_range=(0.0, 1.0), threshold=0.5)
    assert limits_of_questions([lvef_below(40), by_sex, other, fraction], [LVEF]) == {
        "LVEF below 40 %": NumberLimit(number="LVEF", is_yes_below=True, lowest=40, highest=40),
        "by sex": NumberLimit(number="LVEF", is_yes_below=False, lowest=52, highest=54),
    }
    assert limits_of_questions([lvef_below(40)], []) == {}


@given(
    st.lists(st.tuples(st.floats(20, 80), st.floats(0.5, 20)), min_size=1, max_size=20),
    st.floats(30, 60),
    st.floats(0, 8),
    st.booleans(),
    st.integers(0, 99),
)
def test_a_contradiction_leaves_no_value_of_the_interval_to_the_decision(
    numbers: list[tuple[float, float]], lowest: float, apart: float, is_yes_below: bool, seed: int
) -> None:
    """Each of 2,001 values of the interval, for a patient of either threshold."""
    mean, deviation = np.array(numbers).T
    expected = ExpectedEcho(mean, deviation, np.zeros(len(mean)))
    limit = NumberLimit(number="LVEF", is_yes_below=is_yes_below, lowest=lowest, highest=lowest + apart)
    decision = np.random.default_rng(seed).integers(0, 2, len(mean))
    found = contradicts(limit, {"LVEF": expected}, decision)
    for row in range(len(mean)):
        values = mean[row] + norm.ppf(0.95) * deviation[row] * np.linspace(-1, 1, 2001)
        answers = [values < one if is_yes_below else values >= one for one in (lowest, lowest + apart)]
        agrees = np.any([answer == bool(decision[row]) for answer in answers])
        assert found[row] == (not agrees)


def test_an_interval_within_rounding_of_the_threshold_contradicts() -> None:
    limit = NumberLimit(number="LVEF", is_yes_below=True, lowest=40, highest=40)
    reach = norm.ppf(0.95)
    mean = 40 + reach * np.array([1, 1, -1, -1]) - np.array([1e-7, 1e-3, 1e-7, 1e-3])
    expected = ExpectedEcho(mean, np.ones(4), np.full(4, 1e-6))
    assert contradicts(limit, {"LVEF": expected}, np.array([1, 1, 0, 0])).tolist() == [True, False, True, True]
    assert not contradicts(None, {}, np.array([1, 0])).any()


def advice(columns: dict[str, Any]) -> np.ndarray:
    return np.array(columns["advice"]) == "predict"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_contradicts_is_referred_on_both_sides_and_nothing_else_changes(protocol: str) -> None:
    own, alone = (answer_ecgs(card(with_number=one), protocol, *ecgs()) for one in (True, False))
    assert alone.numbers == []
    (number,) = own.numbers
    against = np.zeros(len(number["value"]), bool)
    for ours, theirs, threshold in zip(own.questions, alone.questions, (30, 40, 50), strict=True):
        other_side = np.where(ours["decision"] == 1, number["low"] >= threshold, number["high"] <= threshold)
        contradicted = advice(theirs) & other_side
        np.testing.assert_array_equal(advice(ours), advice(theirs) & ~other_side)
        for row, doubts in enumerate(ours["doubts"]):
            assert doubts == theirs["doubts"][row] + ["number contradicts"] * int(contradicted[row])
        for name in set(ours) - {"advice", "doubts"}:
            assert list(ours[name]) == list(theirs[name])
        against |= contradicted
    assert 0 < against.mean() < 0.5
    told = np.array(["number contradicts" in doubts for doubts in number["doubts"]])
    np.testing.assert_array_equal(told, against)
    for row, limit in enumerate(NESTED):
        assert own.questions[row]["endpoint"][0] == limit


def test_who_is_referred_has_a_doubt() -> None:
    own = card()
    mean, features, is_referred = ecgs()
    (number,) = answer_ecgs(own, "expected_echo", mean, features, is_referred).numbers
    assert own.typicality is not None
    (reading,) = own.card.numbers
    seen: set[str] = set()
    for row, doubts in enumerate(number["doubts"]):
        assert (number["advice"][row] == "predict") == (doubts == [])
        assert doubts == [doubt for doubt in NUMBER_DOUBTS if doubt in doubts]
        assert ("finding" in doubts) == is_referred[row]
        assert ("too wide" in doubts) == (number["deviation"][row] >= reading.widest)
        seen |= set(doubts)
    assert seen == set(NUMBER_DOUBTS)
    strange = np.array(["not typical" in doubts for doubts in number["doubts"]])
    np.testing.assert_array_equal(strange, ~own.typicality.is_typical(features))
    assert ((number["low"] >= 5) & (number["low"] <= number["value"])).all()
    assert ((number["high"] <= 90) & (number["high"] >= number["value"])).all()
    inside = (number["low"] > 5) & (number["high"] < 90)
    np.testing.assert_allclose(
        (number["high"] - number["low"])[inside], 2 * norm.ppf(0.95) * number["deviation"][inside]
    )
    assert set(number["unit"]) == {"%"}


def test_a_card_of_numbers_alone_has_no_questions() -> None:
    own = card()
    alone = replace(own, card=own.card.model_copy(update={"readings": ()}), readings=())
    said = answer_ecgs(alone, "zero_shot", *ecgs())
    assert said.questions == []
    assert advice(said.numbers[0]).any()
    nobody = answer_ecgs(alone, "zero_shot", *(part[:0] for part in ecgs()))
    assert isinstance(nobody, Answers)
    assert {len(values) for values in nobody.numbers[0].values()} == {0}
