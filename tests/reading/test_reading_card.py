"""Card, interval and refer rule: round trip, oracles, damage."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from data_contracts.reading_card import FILENAME, METADATA, ReadingCard
from echoingecg.errors import ContractError, StoreError
from echoingecg.evaluation.line import Line
from echoingecg.evaluation.reading_card import QUANTILES, Judged, quantiles
from echoingecg.evaluation.refer import choose_refer_band


def test_the_interval_holds_the_middle_of_the_draws() -> None:
    generator = np.random.default_rng(5)
    line = Line(generator.normal(0, 3, 16), -0.7)
    mean, log_var = generator.normal(0, 0.3, (3, 16)), generator.normal(-3, 1, (3, 16))
    low, high = line.interval(mean, log_var, 0.9)
    for at in range(3):
        draws = line.scores(generator.normal(mean[at], np.exp(log_var[at] / 2), (200_000, 16)))
        below, above = (draws < low[at]).mean(), (draws > high[at]).mean()
        np.testing.assert_allclose([below, above], 0.05, atol=0.0025)  # five standard errors


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.floats(0, 1), st.floats(0, 1))
def test_the_band_holds_the_share_nearest_to_the_threshold(scores: list[float], threshold: float, share: float) -> None:
    score = np.array(scores)
    band = choose_refer_band(score, threshold, share)
    inside = (score >= band.low) & (score <= band.high)
    assert inside.sum() >= min(len(score), share * len(score))
    if share > 0:
        assert band.low <= threshold <= band.high
        distance = np.abs(score - threshold)
        for side in (score < threshold, score > threshold):  # on either side the nearer ones are in
            assert distance[side & inside].max(initial=0) <= distance[side & ~inside].min(initial=1)
    else:
        assert not inside.any()


def judged(uncertainty: list[float], share: float = 0.25) -> Judged:
    score = np.array([0.1, 0.3, 0.6, 0.9])
    values = {"endpoint": "e", "question": "q", "protocol": "p", "threshold": 0.5, "threshold_says": "so"}
    reading = values | {"refer": choose_refer_band(score, 0.5, share)}
    return Judged(
        ReadingCard(student="s", ecg={}, readings=(reading,)), (Line(np.ones(2), 0.0),), np.array(uncertainty)
    )


def test_referred_are_the_near_and_those_more_uncertain_than_all_of_validation() -> None:
    card = judged([-3.0, -2.0])
    (reading,) = card.card.readings
    assert (reading.refer.low, reading.refer.high) == (0.5, 0.6)
    score, uncertainty = np.array([0.55, 0.6, 0.61, 0.1, 0.1]), np.array([-3.0, -3.0, -2.0, -2.0, -1.9])
    assert card.referred(reading, score, uncertainty).tolist() == [True, True, False, False, True]
    assert card.percentile(np.array([-4.0, -3.0, -2.5, -2.0, 0.0])).tolist() == [0, 50, 50, 100, 100]


def test_without_validation_everything_is_referred() -> None:
    card = judged([])
    assert card.referred(card.card.readings[0], np.array([0.0, 1.0]), np.zeros(2)).all()
    assert card.percentile(np.zeros(1)).tolist() == [None]
    band = choose_refer_band(np.empty(0), 0.5, 0.2)
    assert (band.low, band.high) == (0, 1)


def test_many_uncertainties_become_quantiles() -> None:
    values = np.random.default_rng(0).normal(size=5000)
    kept = quantiles(values)
    assert len(kept) == QUANTILES
    assert (kept[0], kept[500], kept[-1]) == (values.min(), pytest.approx(np.median(values)), values.max())
    np.testing.assert_array_equal(quantiles(values[:QUANTILES]), np.sort(values[:QUANTILES]))


def test_round_trip_and_equal_bytes(tmp_path: Path) -> None:
    card, again = judged([-3.0, -2.0]), tmp_path / "again"
    again.mkdir()
    card.save(tmp_path)
    found = Judged.load(tmp_path)
    assert found.card == card.card
    np.testing.assert_array_equal(found.lines[0].weight, card.lines[0].weight)
    np.testing.assert_array_equal(found.uncertainty, card.uncertainty)
    found.save(again)
    assert (again / FILENAME).read_bytes() == (tmp_path / FILENAME).read_bytes()


def test_a_card_that_is_absent_cut_or_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="run stage evaluation again"):
        Judged.load(tmp_path)
    judged([]).save(tmp_path)
    path = tmp_path / FILENAME
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StoreError, match="cannot be read"):
        Judged.load(tmp_path)
    save_file({"weight": np.ones((1, 2))}, path, {METADATA: "{}"})
    with pytest.raises(ContractError, match="another release"):
        Judged.load(tmp_path)
