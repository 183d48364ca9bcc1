"""The page on trust says what the results say."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from echoingecg.ecg.disturbance import DISTURBANCES
from echoingecg.evaluation.data import names
from experiments.measures import t_interval
from experiments.trust_page import claims

FALLING = [0.6, 0.5, 0.4, 0.3, 0.2, 0.1]


def hospitals(answered: list[float], *, deviation: float = 2.0, stated: float = 2.0) -> list[dict[str, Any]]:
    """Results of ten hospitals that differ a little, all disturbances alike."""
    results = []
    for seed in range(10):
        shift = 0.001 * (seed % 3 - 1)
        numbers: dict[str, Any] = {"calibration slope": 1.0 + shift}
        for kind in DISTURBANCES:
            numbers[f"answered | {kind}"] = [value + shift * (step % 2) for step, value in enumerate(answered)]
            numbers[f"wrong | {kind}"] = [0.1 * value for value in FALLING]
            numbers[f"uncertainty | {kind}"] = [1.0 + 0.1 * step for step in range(6)]
        for case in ("clean", "mixture"):
            numbers |= {f"aurc {case}, doubt": 0.05 + shift, f"aurc {case}, distance": 0.06}
        numbers |= {"halves by doubt": 20 + shift, "halves by deviation": deviation + 100 * shift}
        numbers |= {"halves by deviation, expected": stated, "spread of log deviation": 0.1}
        numbers |= {"spread of log distance": 1.0, "rank correlation of deviation and residual": 0.2 + shift}
        for protocol in (names.ZERO_SHOT, names.ZERO_SHOT_TEACHER, names.EXPECTED_ECHO):
            numbers |= {f"auroc {protocol}": 0.8 + shift, f"accuracy {protocol}": 0.7 + shift}
        numbers |= {f"coverage{part}": 0.9 + shift for part in ("", ", low half", ", high half")}
        results.append(numbers)
    return results


def holds(results: list[dict[str, Any]], ending: str) -> set[bool]:
    """Verdicts of the claims whose sentence ends so."""
    return {verdict for claim, _, verdict in claims(results) if claim.endswith(ending)}


def test_a_share_that_falls_at_every_step_holds_and_one_that_rises_does_not() -> None:
    assert holds(hospitals(FALLING), "the share answered rises at no step") == {True}
    rising = [0.6, 0.5, 0.55, 0.3, 0.2, 0.1]
    assert holds(hospitals(rising), "the share answered rises at no step") == {False}
    assert holds(hospitals(rising), "the share answered falls") == {True}
    assert holds(hospitals(FALLING[::-1]), "the share answered falls") == {False}


def test_few_points_by_deviation_need_a_reason_that_agrees() -> None:
    assert holds(hospitals(FALLING, deviation=6.0), "or the measured reason") == {True}
    assert holds(hospitals(FALLING, deviation=2.0, stated=2.02), "or the measured reason") == {True}
    assert holds(hospitals(FALLING, deviation=3.0, stated=1.0), "or the measured reason") == {True}
    assert holds(hospitals(FALLING, deviation=2.0, stated=4.0), "or the measured reason") == {False}
    assert holds(hospitals(FALLING, deviation=3.0, stated=8.0), "or the measured reason") == {False}


@pytest.mark.parametrize("comparisons", [1, 50])
def test_intervals_that_hold_together_are_those_of_the_t_distribution(comparisons: int) -> None:
    values = np.random.default_rng(3).normal(size=10)
    expected = stats.t.interval(1 - 0.05 / comparisons, 9, loc=values.mean(), scale=stats.sem(values))
    interval = t_interval(list(values), comparisons)
    assert (interval.low, interval.high) == pytest.approx(expected)
