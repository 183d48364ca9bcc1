"""Nested questions: chains by hand, the projection against scikit-learn, answers that never contradict."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from sklearn.isotonic import isotonic_regression

from echoingecg.evaluation.decision.nested import chains, consistent_distances, project, project_by_name
from echoingecg.recipe import Endpoint
from echoingecg.recipe.evaluation import ThresholdBySex
from helpers.cases.evaluation_case import lvef_below

values = arrays(float, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.floats(-20, 20))


def asked(name: str, comparison: str, threshold: Any, **changes: Any) -> Endpoint:
    values = lvef_below(40).model_dump() | {"name": name, "comparison": comparison, "threshold": threshold} | changes
    return Endpoint.model_validate(values)


def test_lvef_below_30_40_and_50_are_a_chain_in_any_order() -> None:
    questions = [lvef_below(value) for value in (40, 30, 50)]
    expected = [["LVEF below 30 %", "LVEF below 40 %", "LVEF below 50 %"]]
    assert chains(questions) == chains(questions[::-1]) == expected


@pytest.mark.parametrize(
    ("questions", "chain"),
    [
        ([("a", "<", 30), ("b", "<=", 30), ("c", "<", 31)], ["a", "b", "c"]),
        ([("a", ">", 30), ("b", ">=", 30), ("c", ">", 29)], ["a", "b", "c"]),
        ([("low", ">", 20), ("high", ">", 60)], ["high", "low"]),
        ([("low", ">=", 20), ("high", ">", 60)], ["high", "low"]),
        ([("low", "<=", 20), ("high", "<", 60)], ["low", "high"]),
    ],
)
def test_the_strictest_question_is_first(questions: list[tuple[str, str, float]], chain: list[str]) -> None:
    for order in (questions, questions[::-1]):
        assert chains([asked(*question) for question in order]) == [chain]


def test_opposite_directions_are_chains_of_their_own() -> None:
    questions = [asked("a", "<", 30), asked("b", "<", 40), asked("c", ">", 60), asked("d", ">=", 70)]
    assert chains(questions) == [["a", "b"], ["d", "c"]]


@pytest.mark.parametrize(
    "changes",
    [
        {"measurement": "septum"},
        {"unit": "1", "valid_range": (0.0, 1.0), "threshold": 0.5},
        {"valid_range": (10.0, 90.0)},
        {"comparison": ">"},
        {"threshold": ThresholdBySex(F=50, M=55)},
    ],
)
def test_what_differs_in_more_than_the_threshold_is_not_nested(changes: dict[str, Any]) -> None:
    assert chains([lvef_below(40), asked("other", **({"comparison": "<", "threshold": 50} | changes))]) == []


def test_thresholds_by_sex_are_nested_where_both_sexes_agree() -> None:
    def by_sex(name: str, women: float, men: float, comparison: str = ">") -> Endpoint:
        return asked(name, comparison, ThresholdBySex(F=women, M=men))

    assert chains([by_sex("mild", 50, 55), by_sex("severe", 60, 65)]) == [["severe", "mild"]]
    assert chains([by_sex("mild", 50, 55), by_sex("severe", 50, 65)]) == [["severe", "mild"]]
    assert chains([by_sex("a", 50, 55), by_sex("b", 60, 50)]) == []
    assert chains([by_sex("a", 30, 35, "<"), by_sex("b", 40, 45, "<")]) == [["a", "b"]]
    assert chains([by_sex("a", 50, 55), by_sex("b", 50, 55, ">=")]) == [["a", "b"]]


def test_a_question_alone_is_no_chain() -> None:
    assert chains([]) == chains([lvef_below(40)]) == []


@given(st.lists(st.tuples(st.sampled_from(["<", "<=", ">", ">="]), st.integers(10, 80)), min_size=2, max_size=6))
def test_whoever_meets_a_question_meets_the_next(questions: list[tuple[str, int]]) -> None:
    meets = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}
    named = {f"q{number}": question for number, question in enumerate(questions)}
    lvef = np.arange(9, 82, 0.5)
    for chain in chains([asked(name, *question) for name, question in named.items()]):
        holds = [meets[named[name][0]](lvef, named[name][1]) for name in chain]
        for strict, wide in pairwise(holds):
            assert (wide | ~strict).all()


@given(values)
def test_the_projection_is_scikit_learns_row_by_row(rows: np.ndarray) -> None:
    expected = np.stack([isotonic_regression(row) for row in rows])
    np.testing.assert_allclose(project(rows), expected, atol=1e-9)


@given(values)
def test_a_projection_rises_stays_where_it_rose_and_keeps_the_mean(rows: np.ndarray) -> None:
    projected = project(rows)
    assert (np.diff(projected, axis=1) >= 0).all()
    np.testing.assert_allclose(project(projected), projected, atol=1e-9)
    np.testing.assert_allclose(projected.mean(axis=1), rows.mean(axis=1), atol=1e-9)
    rising = (np.diff(rows, axis=1) >= 0).all(axis=1)
    np.testing.assert_array_equal(projected[rising], rows[rising])
    assert (projected >= rows.min(axis=1, keepdims=True) - 1e-9).all()
    assert (projected <= rows.max(axis=1, keepdims=True) + 1e-9).all()


@given(values, st.integers(0, 99))
def test_a_projection_keeps_the_order_of_rows(rows: np.ndarray, seed: int) -> None:
    """So the ends of intervals stay about the probability."""
    above = rows + np.random.default_rng(seed).exponential(size=rows.shape)
    assert (project(rows) <= project(above) + 1e-9).all()


def test_projection_by_hand() -> None:
    rows = np.array([[1.0, 2, 3], [3, 2, 1], [1, 3, 2], [2, 1, 3]])
    np.testing.assert_allclose(project(rows), [[1, 2, 3], [2, 2, 2], [1, 2.5, 2.5], [1.5, 1.5, 3]])


def test_questions_outside_a_chain_stay_as_they_are_and_absent_ones_are_skipped() -> None:
    given_values = {"wide": np.array([0.1, 0.8]), "strict": np.array([0.5, 0.2]), "other": np.array([0.9, 0.0])}
    projected = project_by_name(given_values, [["strict", "missing", "wide"]])
    assert {name: column.tolist() for name, column in projected.items()} == {
        "wide": [0.3, 0.8], "strict": [0.3, 0.2], "other": [0.9, 0.0],
    }  # fmt: skip
    assert project_by_name({"wide": given_values["wide"]}, [["strict", "wide"]])["wide"] is given_values["wide"]


CHAIN = ["LVEF < 30 %", "LVEF < 40 %", "LVEF < 50 %"]
three_distances = arrays(float, st.tuples(st.integers(0, 30), st.just(3)), elements=st.floats(-5, 5))


def by_name(columns: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(CHAIN, columns.T, strict=True))


@settings(max_examples=100, deadline=None)
@given(three_distances)
def test_decisions_and_probabilities_never_contradict(distance: np.ndarray) -> None:
    own, exact = by_name(distance), by_name(np.zeros_like(distance))
    found = consistent_distances(own, exact, [CHAIN])
    decision = np.stack([found[name].distance >= 0 for name in CHAIN], axis=1)
    assert (np.diff(decision.astype(int), axis=1) >= 0).all()
    probability = project_by_name({name: 1 / (1 + np.exp(-column)) for name, column in own.items()}, [CHAIN])
    assert (np.diff(np.stack([probability[name] for name in CHAIN], axis=1), axis=1) >= 0).all()
    rises = (np.diff(distance, axis=1) >= 0).all(axis=1)
    for place, name in enumerate(CHAIN):
        at_threshold = ~rises & (own[name] == 0)  # its own decision hangs on the last bit
        expected = (decision[:, place] == (own[name] >= 0)) & ~at_threshold
        np.testing.assert_array_equal(found[name].is_kept[~at_threshold], expected[~at_threshold])
        assert found[name].is_kept[rises].all()
        np.testing.assert_array_equal(found[name].distance[rises], own[name][rises])


@settings(max_examples=300, deadline=None)
@given(
    arrays(float, (40, 3), elements=st.sampled_from([-1.0, -0.2, -0.05, -0.01, 0.0, 0.01, 0.05, 0.2, 1.0])),
    arrays(float, (40, 3), elements=st.sampled_from([0.0, 0.02, 0.06])),
    st.integers(0, 2**32 - 1),
)
def test_another_computation_decides_alike_or_the_ecg_is_referred(
    distance: np.ndarray, rounding: np.ndarray, seed: int
) -> None:
    """Of two computations within rounding of each other; projections by scikit-learn."""
    first = consistent_distances(by_name(distance), by_name(rounding), [CHAIN])
    other = distance + 0.999 * rounding * np.random.default_rng(seed).choice([-1, 0, 1], distance.shape)
    projected = np.stack([isotonic_regression(row) for row in other])
    for place, name in enumerate(CHAIN):
        found = first[name]
        is_answered = found.is_kept & (
            np.abs(found.distance) > found.rounding + 1e-12
        )  # a tie is summed to 0 or near it
        decision = found.distance[is_answered] >= 0
        np.testing.assert_array_equal(projected[is_answered, place] >= 0, decision)
        np.testing.assert_array_equal(other[is_answered, place] >= 0, decision)
        assert (np.abs(projected[:, place] - found.distance) <= found.rounding + 1e-12).all()


def test_a_contradiction_is_known_by_its_decision_that_was_not_kept() -> None:
    strict, wide = np.array([2.0, 1.0, -3.0, 0.5, 1.0]), np.array([-1.0, -2.0, -2.0, 0.2, 1e-7])
    rounding = {"strict": np.full(5, 1e-6), "wide": np.full(5, 2e-6), "alone": np.full(5, 1e-6)}
    alone = np.array([1e-7, -1e-7, 0.0, 1.0, -1.0])
    found = consistent_distances({"strict": strict, "wide": wide, "alone": alone}, rounding, [["strict", "wide"]])
    np.testing.assert_allclose(found["strict"].distance, [0.5, -0.5, -3, 0.35, 0.5], atol=1e-6)
    np.testing.assert_allclose(found["wide"].distance, [0.5, -0.5, -2, 0.35, 0.5], atol=1e-6)
    assert found["strict"].is_kept.tolist() == [True, False, True, True, True]
    assert found["wide"].is_kept.tolist() == [False, True, True, True, False], "the last by rounding alone"
    assert found["alone"].is_kept.all(), "an ECG at the threshold of a question alone is undecided, not contradictory"
    assert {name: column.rounding[0] for name, column in found.items()} == {
        "strict": 2e-6, "wide": 2e-6, "alone": 1e-6,
    }  # fmt: skip


def test_a_recipes_endpoints_are_chained_whatever_their_prompts() -> None:
    other = lvef_below(50, positive_prompts=("WEAK.",), source="another guideline")
    assert chains([lvef_below(40), other]) == [["LVEF below 40 %", "LVEF below 50 %"]]


@given(st.integers(0, 2**32 - 1))
def test_no_projected_value_leaves_the_range_of_its_row(seed: int) -> None:
    """Sums of probabilities near 1 round up: one would be 1.0000000000000002, which no probability is."""
    random = np.random.default_rng(seed)
    values = 1 - random.choice([0.0, 1e-16, 2e-16, 3e-16, 0.1, 0.3], size=(200, 3))
    projected = project(values)
    assert (projected <= values.max(axis=1, keepdims=True)).all()
    assert (projected >= values.min(axis=1, keepdims=True)).all()
