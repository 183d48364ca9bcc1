"""The filter as a matrix against the filter, on signals and on real recordings; its bytes whatever is beside."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from echoingecg.common import Refusal
from echoingecg.ecg.fast_filter import EDGES, SHIPPED, BlockedFilter, filter_records, measure_filter
from echoingecg.ecg.filter import band_pass_and_resample, median
from echoingecg.ecg.process import Loaded, Processed, Window, load, process_loaded
from echoingecg.recipe import EcgSettings
from helpers.ecg.wfdb_files import heartbeats

SETTINGS, MIRROR = EcgSettings(edge="published"), EcgSettings()
MIDDLE = slice(100, 900)


def filter_record(raw: np.ndarray, fs: float, recipe: EcgSettings) -> np.ndarray:
    return filter_records(raw[None], fs, recipe)[0]


def microvolts(raw: np.ndarray, fs: float, recipe: EcgSettings = SETTINGS) -> np.ndarray:
    """(12, 1000) distance of the two routes."""
    single = raw.astype(np.float32)
    return (
        np.abs(filter_record(single, fs, recipe) - band_pass_and_resample(single.astype(np.float64), fs, recipe)) * 1000
    )


def beats(fs: float = 500, seed: int = 0) -> np.ndarray:
    wander = np.cumsum(np.random.default_rng(seed).normal(0, 0.3 / fs**0.5, (round(10 * fs), 12)), axis=0)
    return (heartbeats(fs, seed=seed) + wander).T.astype(np.float32)


@pytest.mark.parametrize("edge", EDGES)
def test_the_shipped_matrices_are_those_that_the_filter_gives(edge: str) -> None:
    measured = measure_filter(100, 500.0, EcgSettings.model_validate({"edge": edge}))
    with np.load(SHIPPED, allow_pickle=False) as shipped:
        for part in fields(BlockedFilter):
            np.testing.assert_allclose(
                shipped[f"{edge}_{part.name}"], getattr(measured, part.name), rtol=1e-6, atol=1e-7
            )


def test_golden(golden: Path) -> None:
    case = np.load(golden / "ecg_filter.npz")
    error = np.abs(filter_record(case["raw_mv"].astype(np.float32), float(case["fs"]), SETTINGS) - case["filtered_mv"])
    assert error.max() < 0.005
    assert error[:, MIDDLE].max() < 0.0001


@pytest.mark.parametrize("fs", [200.0, 240.0, 250.0, 360.0, 400.0, 500.0, 1000.0])
@pytest.mark.parametrize("recipe", [SETTINGS, MIRROR], ids=["published", "mirror"])
def test_rates(fs: float, recipe: EcgSettings) -> None:
    error = microvolts(beats(fs), fs, recipe)
    assert 0 < error.max() < 5
    assert error[:, MIDDLE].max() < 0.2


@pytest.mark.parametrize(
    ("fs", "samples"), [(100.0, 1000), (257.0, 2570), (499.5, 4995), (500.0, 4999), (500.0, 3500), (2500.0, 25000)]
)
def test_what_is_not_cut_into_whole_blocks_is_filtered_as_before(fs: float, samples: int) -> None:
    assert not microvolts(np.resize(beats(), (12, samples)), fs).any()


def test_a_recipe_that_the_matrices_do_not_hold_is_filtered_as_before() -> None:
    assert not microvolts(beats(), 500, EcgSettings(band_low=9.0, band_high=11.0)).any()
    assert not microvolts(beats() * np.float32(1e8), 500).any()


@pytest.mark.parametrize("recipe", [EcgSettings(band_low=0.05, band_high=30.0), EcgSettings(filter_order=2)])
def test_other_recipes(recipe: EcgSettings) -> None:
    assert microvolts(beats(), 500, recipe).max() < 5


def test_every_real_recording(recordings: Path) -> None:
    paths = [path for path in sorted(recordings.rglob("*")) if path.suffix in {".hea", ".dcm"}]
    seen = 0
    for path in paths:
        try:
            one = load(path, SETTINGS)
        except Refusal:
            continue
        error = microvolts(one.windows[0].raw, one.sampling_frequency)
        assert error.max() < 5, path.name
        assert error[:, MIDDLE].max() < 0.1, path.name
        seen += 1
    assert seen


@given(gain=st.floats(0.01, 20), offset=st.floats(-20, 20))
@settings(max_examples=20, deadline=None)
def test_gain_and_offset(gain: float, offset: float) -> None:
    raw = beats()
    expected = gain * filter_record(raw, 500, SETTINGS)
    changed = (raw * np.float32(gain) + np.float32(offset)).astype(np.float32)
    np.testing.assert_allclose(filter_record(changed, 500, SETTINGS), expected, atol=1e-4 * max(1.0, gain))


@given(power=st.integers(-6, 4))
@settings(deadline=None)
def test_a_gain_of_two_changes_no_digit(power: int) -> None:
    raw, gain = beats(), np.float32(2.0**power)
    np.testing.assert_array_equal(filter_record(raw * gain, 500, SETTINGS), filter_record(raw, 500, SETTINGS) * gain)


@given(seed=st.integers(0, 99))
@settings(max_examples=10, deadline=None)
def test_sums(seed: int) -> None:
    """Of the matrices alone: the median of a sum is no sum."""
    operator = measure_filter(100, 500.0, SETTINGS)
    one, other = beats(seed=seed), beats(seed=seed + 1)
    both = operator.linear(one) + operator.linear(other)
    np.testing.assert_allclose(operator.linear(one + other), both, atol=1e-5)


@given(by=st.integers(-250, 250))
@settings(max_examples=20, deadline=None)
def test_time_shift(by: int) -> None:
    time = np.arange(5000) / 500

    def packet(centre: float) -> np.ndarray:
        wave = np.exp(-(((time - centre) / 0.15) ** 2)) * np.cos(2 * np.pi * 10 * (time - centre))
        return filter_record(np.tile(wave, (12, 1)).astype(np.float32), 500, SETTINGS)

    np.testing.assert_allclose(packet(5 + by / 100), np.roll(packet(5), by, axis=1), atol=1e-4)


@pytest.mark.parametrize("fs", [500.0, 100.0])
def test_bytes_do_not_depend_on_company_or_threads(fs: float) -> None:
    def loaded(raw: np.ndarray, rate: float) -> Loaded:
        return Loaded((Window(raw, np.zeros(12), 0),), rate)

    records = [loaded(beats(fs, seed), fs) for seed in range(20)]
    records.insert(7, loaded(beats(250, 1), 250.0))
    records.insert(3, loaded(beats(fs) * np.float32(1000), fs))
    together = process_loaded(records, SETTINGS)
    with threadpool_limits(2, user_api="blas"):
        alone = [process_loaded([one], SETTINGS)[0] for one in records]
    for one, other in zip(together, alone, strict=True):
        if isinstance(one, Refusal):
            assert isinstance(other, Refusal)
            assert one.reason == other.reason == "implausible"
            continue
        assert isinstance(other, Processed)
        assert one.signal.tobytes() == other.signal.tobytes()
        assert one.quality.tobytes() == other.quality.tobytes()
    assert sum(isinstance(one, Refusal) for one in together) == 1


@settings(deadline=None)
@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=40))
def test_levels_are_numpys(values: list[float]) -> None:
    rows = np.array([values, values[::-1]], np.float32)
    np.testing.assert_allclose(median(rows), np.median(rows, axis=-1), rtol=1e-6)
