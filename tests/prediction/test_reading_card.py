"""Card and interval: round trip, oracles, damage, cards of earlier releases."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from safetensors.numpy import save_file

from data_contracts.prediction import FILENAME, METADATA, Calibration, Reading, ReadingCard, Referral
from echoingecg.common import ContractError, StoreError
from echoingecg.evaluation.data.models import LinearScore
from echoingecg.evaluation.decision.reading_card import MAX_QUANTILES, LoadedReadingCard, quantiles


def test_the_interval_holds_the_middle_of_the_draws() -> None:
    generator = np.random.default_rng(5)
    line = LinearScore(generator.normal(0, 3, 16), -0.7)
    mean, log_var = generator.normal(0, 0.3, (3, 16)), generator.normal(-3, 1, (3, 16))
    low, high = line.interval(mean, log_var, 0.9)
    for at in range(3):
        draws = line.scores(generator.normal(mean[at], np.exp(log_var[at] / 2), (200_000, 16)))
        below, above = (draws < low[at]).mean(), (draws > high[at]).mean()
        np.testing.assert_allclose([below, above], 0.05, atol=0.0025)  # five standard errors


def judged(uncertainty: list[float]) -> LoadedReadingCard:
    limits = {"one_from": -np.inf, "zero_to": 0.25, "most_uncertain": -2.0}
    reading = Reading(
        endpoint="e",
        question="q",
        protocol="p",
        threshold_says="so",
        calibration=Calibration(method="isotonic", score=(0.1, 0.9), probability=(0.0, 1.0), says="so"),
        referral=Referral(kind="conformal", threshold=0.5, says="so", **limits),
    )
    return LoadedReadingCard(
        ReadingCard(student="s", ecg={}, readings=(reading,)), (LinearScore(np.ones(2), 0.0),), np.array(uncertainty)
    )


def test_percentiles_by_hand() -> None:
    uncertainty = np.array([-4.0, -3.0, -2.5, -2.0, 0.0])
    assert judged([-3.0, -2.0]).percentile(uncertainty).tolist() == [0, 50, 50, 100, 100]
    assert judged([]).percentile(np.zeros(1)).tolist() == [None]


def test_many_uncertainties_become_quantiles() -> None:
    values = np.random.default_rng(0).normal(size=5000)
    kept = quantiles(values)
    assert len(kept) == MAX_QUANTILES
    assert (kept[0], kept[500], kept[-1]) == (values.min(), pytest.approx(np.median(values)), values.max())
    np.testing.assert_array_equal(quantiles(values[:MAX_QUANTILES]), np.sort(values[:MAX_QUANTILES]))


def test_round_trip_and_equal_bytes(tmp_path: Path) -> None:
    card, again = judged([-3.0, -2.0]), tmp_path / "again"
    again.mkdir()
    card.save(tmp_path)
    found = LoadedReadingCard.load(tmp_path)
    assert found.card == card.card
    np.testing.assert_array_equal(found.linear_scores[0].weight, card.linear_scores[0].weight)
    np.testing.assert_array_equal(found.uncertainty, card.uncertainty)
    found.save(again)
    assert (again / FILENAME).read_bytes() == (tmp_path / FILENAME).read_bytes()


def test_a_card_that_is_absent_cut_or_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="run stage evaluation again"):
        LoadedReadingCard.load(tmp_path)
    judged([]).save(tmp_path)
    path = tmp_path / FILENAME
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StoreError, match="cannot be read"):
        LoadedReadingCard.load(tmp_path)
    save_file({"weight": np.ones((1, 2))}, path, {METADATA: "{}"})
    with pytest.raises(ContractError, match="another release"):
        LoadedReadingCard.load(tmp_path)


def test_a_card_of_the_release_before_is_refused_in_one_line(tmp_path: Path) -> None:
    """As evaluation contract version 4 wrote it: a band about the threshold, no calibrator."""
    reading = '{"endpoint":"e","question":"q","protocol":"p","threshold":0.5,"threshold_says":"so","refer":'
    reading += '{"low":0.4,"high":0.6,"says":"so"}}'
    arrays = {"weight": np.ones((1, 2)), "bias": np.zeros(1), "uncertainty": np.zeros(3)}
    save_file(arrays, tmp_path / FILENAME, {METADATA: f'{{"student":"s","ecg":{{}},"readings":[{reading}]}}'})
    with pytest.raises(ContractError, match="of another release: run stage evaluation again") as refused:
        LoadedReadingCard.load(tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("points", [{"score": (0.5,)}, {"score": (0.5,), "probability": (0.5,), "method": "platt"}, {}])
def test_points_of_a_calibrator_are_checked(points: dict) -> None:
    with pytest.raises(ValidationError, match="as many probabilities as scores"):
        Calibration(**({"method": "isotonic", "says": ""} | points))
