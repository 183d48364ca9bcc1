"""Reading card: round trip, oracles, damage, cards of earlier releases."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from safetensors import safe_open
from safetensors.numpy import save_file

from data_contracts.prediction import (
    CENTRE,
    DEVIATIONS,
    DISTANCES,
    DISTURBED,
    FILENAME,
    MEAN_WEIGHT,
    METADATA,
    WEIGHT,
    WHITENING,
    Calibration,
    ReadingCard,
)
from echoingecg.common import ContractError, StoreError, UserError
from echoingecg.evaluation.decision.reading_card import MAX_QUANTILES, LoadedReadingCard, percentile, quantiles
from helpers.cases.reading_cards import NESTED, nested_card


def judged(features: int = 5, calibration: str = "isotonic") -> LoadedReadingCard:
    features_of_ecgs = np.random.default_rng(0).normal(size=(80, features))
    return nested_card(features_of_ecgs, 4, calibration=calibration, with_number=True)


def test_percentiles_by_hand() -> None:
    values = np.array([-4.0, -3.0, -2.5, -2.0, 0.0, np.inf])
    assert percentile(values, np.array([-3.0, -2.0])).tolist() == [0, 50, 50, 100, 100, 100]
    assert percentile(np.zeros(2), np.empty(0)).tolist() == [None, None]


def test_percentiles_count_values_that_differ_by_rounding_as_equal() -> None:
    among = np.sort(np.random.default_rng(1).uniform(0.5, 2, 50).astype(np.float32)).astype(np.float64)
    for side in (-np.inf, np.inf):
        near = np.nextafter(among.astype(np.float32), np.float32(side)).astype(np.float64)
        np.testing.assert_array_equal(percentile(near, among), percentile(among, among))


def test_many_deviations_become_quantiles() -> None:
    values = np.random.default_rng(0).normal(size=5000)
    kept = quantiles(values)
    assert len(kept) == MAX_QUANTILES
    assert (kept[0], kept[500], kept[-1]) == (values.min(), pytest.approx(np.median(values)), values.max())
    np.testing.assert_array_equal(quantiles(values[:MAX_QUANTILES]), np.sort(values[:MAX_QUANTILES]))


@pytest.mark.parametrize("calibration", ["platt", "isotonic", "none"])
def test_round_trip_and_equal_bytes(tmp_path: Path, calibration: str) -> None:
    card, again = judged(calibration=calibration), tmp_path / "again"
    again.mkdir()
    card.save(tmp_path)
    found = LoadedReadingCard.load(tmp_path)
    assert found.card == card.card
    assert found.typicality is not None
    assert card.typicality is not None
    for name in ("centre", "whitening", "disturbed"):
        np.testing.assert_array_equal(getattr(found.typicality, name), getattr(card.typicality, name))
    assert found.typicality.limits == card.typicality.limits
    np.testing.assert_array_equal(found.distances, card.distances)
    for ours, theirs in zip(found.readings, card.readings, strict=True):
        assert ours.reading == theirs.reading
        np.testing.assert_array_equal(ours.score.weight, theirs.score.weight)
        np.testing.assert_array_equal(ours.deviations, theirs.deviations)  # of unequal length
        assert (ours.predictive is None) == (theirs.predictive is None) == (ours.reading.protocol == "zero_shot")
        if ours.predictive is not None and theirs.predictive is not None:
            np.testing.assert_array_equal(ours.predictive.mean_weight, theirs.predictive.mean_weight)
            np.testing.assert_array_equal(ours.predictive.log_variance_weight, theirs.predictive.log_variance_weight)
    for our, their in zip(found.numbers, card.numbers, strict=True):
        assert our.reading == their.reading
        for name in ("scalars", "mean_weight", "log_variance_weight"):
            np.testing.assert_array_equal(getattr(our.predictive, name), getattr(their.predictive, name))
    found.save(again)
    assert (again / FILENAME).read_bytes() == (tmp_path / FILENAME).read_bytes()


def test_a_card_without_typicality_or_readings_comes_back(tmp_path: Path) -> None:
    """With equal bytes, whatever lay in memory before."""
    card = ReadingCard(student="s", ecg={}, readings=(), answered_by="", typical=None)
    saved = []
    for number in range(3):
        np.full(1, 1.5 + number)  # memory that another array leaves behind
        LoadedReadingCard(card, (), None, np.empty(0)).save(tmp_path)
        saved.append((tmp_path / FILENAME).read_bytes())
    assert len(set(saved)) == 1
    found = LoadedReadingCard.load(tmp_path)
    assert (found.card, found.readings, found.typicality, found.dim) == (card, (), None, None)


@pytest.mark.parametrize("name", [WEIGHT, MEAN_WEIGHT, DEVIATIONS, CENTRE, WHITENING, DISTURBED, DISTANCES])
def test_arrays_that_are_lost_or_of_another_shape_are_found(tmp_path: Path, name: str) -> None:
    judged().save(tmp_path)
    path = tmp_path / FILENAME
    with safe_open(path, framework="numpy") as file:
        metadata, arrays = file.metadata(), {one: file.get_tensor(one) for one in file.keys()}  # noqa: SIM118
    lost = {one: values for one, values in arrays.items() if one != name}
    for damaged in (lost, arrays | {name: arrays[name][None]}):
        save_file(damaged, path, metadata)
        with pytest.raises(ContractError, match="its arrays are not those of its 6 readings"):
            LoadedReadingCard.load(tmp_path)


def test_an_unknown_protocol_is_named_with_those_there_are() -> None:
    with pytest.raises(UserError, match="'tea_leaves': this evaluation knows zero_shot, expected_echo"):
        judged().readings_under("tea_leaves")
    assert [entry.reading.endpoint for entry in judged().readings_under("expected_echo")] == list(NESTED)


def test_a_card_that_is_absent_cut_or_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="run stage evaluation again"):
        LoadedReadingCard.load(tmp_path)
    judged().save(tmp_path)
    path = tmp_path / FILENAME
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StoreError, match="cannot be read"):
        LoadedReadingCard.load(tmp_path)
    save_file({"weight": np.ones((1, 2))}, path, {METADATA: "{}"})
    with pytest.raises(ContractError, match="another release"):
        LoadedReadingCard.load(tmp_path)


# As evaluation contract version 4 wrote it: a band about the threshold, no calibrator; and as version 5 did.
FORMER = (
    '{"endpoint":"e","question":"q","protocol":"p","threshold":0.5,"threshold_says":"so","refer":'
    '{"low":0.4,"high":0.6,"says":"so"}}',
    '{"endpoint":"e","question":"q","protocol":"p","threshold_says":"so","calibration":{"method":"none","slope":1.0,'
    '"intercept":0.0,"score":[],"probability":[],"says":"so"},"referral":{"kind":"conformal","threshold":0.5,'
    '"one_from":0.4,"zero_to":0.6,"most_uncertain":-4.0,"says":"so"}}',
)


@pytest.mark.parametrize("reading", FORMER)
def test_a_card_of_a_former_release_is_refused_in_one_line(tmp_path: Path, reading: str) -> None:
    arrays = {"weight": np.ones((1, 2)), "bias": np.zeros(1), "uncertainty": np.zeros(3)}
    save_file(arrays, tmp_path / FILENAME, {METADATA: f'{{"student":"s","ecg":{{}},"readings":[{reading}]}}'})
    with pytest.raises(ContractError, match="of another release: run stage evaluation again") as refused:
        LoadedReadingCard.load(tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("points", [{"score": (0.5,)}, {"score": (0.5,), "probability": (0.5,), "method": "platt"}, {}])
def test_points_of_a_calibrator_are_checked(points: dict) -> None:
    with pytest.raises(ValidationError, match="as many probabilities as scores"):
        Calibration(**({"method": "isotonic", "says": ""} | points))
