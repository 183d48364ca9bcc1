"""The filter against the published recipe's numbers and against properties of zero-phase filters."""

from pathlib import Path

import numpy as np
import pytest
from scipy import signal as dsp

from echoingecg.common import Refusal
from echoingecg.ecg.filter import band_pass, band_pass_and_resample, resample
from echoingecg.recipe import EcgSettings

SETTINGS = EcgSettings(edge="published")


def test_golden(golden: Path) -> None:
    case = np.load(golden / "ecg_filter.npz")
    result = band_pass_and_resample(case["raw_mv"].astype(np.float64), float(case["fs"]), SETTINGS)
    microvolts = np.abs(result - case["filtered_mv"]) * 1000
    # The project may differ by 20 uV, and by 5 uV in the middle; this route is exact to rounding.
    assert microvolts.max() < 0.01
    assert result.dtype == np.float32


@pytest.mark.parametrize("fs", [240.0, 250.0, 360.0, 400.0, 500.0, 1000.0])
def test_resampling_is_scipys_own(fs: float) -> None:
    noise = np.random.default_rng(1).normal(size=(12, round(10 * fs)))
    exact = {240.0: (5, 12), 250.0: (2, 5), 360.0: (5, 18), 400.0: (1, 4), 500.0: (1, 5), 1000.0: (1, 10)}[fs]
    expected = dsp.resample_poly(noise, *exact, axis=-1, window=("kaiser", 5.0), padtype="median")
    np.testing.assert_allclose(resample(noise, fs, SETTINGS), expected, atol=1e-12)


@pytest.mark.parametrize("fs", [499.987, 500.4, 512.37, 240.0123, 60.01])
def test_odd_rates_stay_in_time(fs: float) -> None:
    wave = np.sin(2 * np.pi * 5 * np.arange(round(10 * fs)) / fs)[None]
    expected = np.sin(2 * np.pi * 5 * np.arange(200, 800) / 100)
    np.testing.assert_allclose(resample(wave, fs, SETTINGS)[0, 200:800], expected, atol=0.002)


@pytest.mark.parametrize("fs", [100.0, 128.0, 500.0])
@pytest.mark.parametrize(("hertz", "gain"), [(5.0, 1.0), (15.0, 1.0), (0.1, 0.0), (0.0, 0.0)])
def test_band(fs: float, hertz: float, gain: float) -> None:
    """A wave in the band passes without shift, one outside and an offset do not."""
    time, ticks = np.arange(round(20 * fs)) / fs, np.arange(400, 600) / 100
    wave = np.cos(2 * np.pi * hertz * time)[None]
    expected = gain * np.cos(2 * np.pi * hertz * ticks)
    np.testing.assert_allclose(band_pass_and_resample(wave, fs, SETTINGS)[0, 400:600], expected, atol=0.03)


def test_mains_hum_is_removed() -> None:
    time = np.arange(5000) / 500
    hum = np.sin(2 * np.pi * 60 * time)[None]
    assert np.abs(band_pass_and_resample(hum, 500, SETTINGS)[0, 400:600]).max() < 0.05


def test_time_reversal_commutes_with_the_band_pass() -> None:
    noise = np.random.default_rng(2).normal(size=(3, 30000))
    forward = band_pass(noise, 500, SETTINGS)
    backward = band_pass(noise[:, ::-1], 500, SETTINGS)[:, ::-1]
    np.testing.assert_allclose(forward[:, 14000:16000], backward[:, 14000:16000], atol=1e-6)


def test_the_upper_edge_stays_under_the_sources_nyquist_frequency() -> None:
    """60 Hz: the edge falls to 27 Hz, and the result is up-sampled."""
    time = np.arange(600) / 60
    wave = np.sin(2 * np.pi * 5 * time)[None]
    expected = np.sin(2 * np.pi * 5 * np.arange(300, 700) / 100)
    np.testing.assert_allclose(band_pass_and_resample(wave, 60, SETTINGS)[0, 300:700], expected, atol=0.03)


def test_a_rate_below_the_band_is_refused() -> None:
    with pytest.raises(Refusal, match="too low for the filter's band"):
        band_pass_and_resample(np.zeros((12, 10)), 1.0, SETTINGS)


def test_too_few_samples_for_the_filter_are_refused() -> None:
    with pytest.raises(Refusal, match="too_short"):
        band_pass_and_resample(np.zeros((12, 5)), 100.0, SETTINGS)


def test_a_shorter_signal_ends_in_zeros() -> None:
    result = band_pass_and_resample(np.random.default_rng(3).normal(size=(12, 400)), 100.0, SETTINGS)
    assert result.shape == (12, 1000)
    assert result[:, :400].any()
    assert not result[:, 400:].any()
