"""The QRS check against LUDB's annotations, XQRS, and hearts of known rate."""

from pathlib import Path

import numpy as np
import pytest
import wfdb
from scipy import ndimage
from wfdb.processing import XQRS

from data_contracts.conventions import LEADS
from echoingecg.ecg.beats import contrast, find_beats, heart_rate, moving_maximum, moving_mean, slope_energy
from echoingecg.ecg.decode import decode
from echoingecg.ecg.decode.recording import arrange
from echoingecg.ecg.filter import band_pass_and_resample
from echoingecg.recipe import EcgSettings
from helpers.ecg.synthetic_hearts import twelve_leads
from helpers.paths import Recording


def beats_of(signal: np.ndarray, fs: float) -> tuple[np.ndarray, np.ndarray]:
    energy = slope_energy(band_pass_and_resample(signal, fs, EcgSettings()))
    beats = find_beats(energy)
    return beats, contrast(energy, beats)


def test_beats_stand_where_they_were_planted() -> None:
    beats, clarity = beats_of(twelve_leads(), 500)
    planted = np.arange(40, 1000, 80)
    np.testing.assert_allclose(np.flatnonzero(beats), planted, atol=3)
    assert heart_rate(beats) == pytest.approx(75, abs=0.5)
    assert clarity.min() > 20


def test_noise_has_contrast_one() -> None:
    beats, _ = beats_of(twelve_leads(), 500)
    generator = np.random.default_rng(0)
    noises = [band_pass_and_resample(generator.normal(size=(1, 5000)), 500, EcgSettings()) for _ in range(100)]
    silence = [contrast(slope_energy(noise), beats)[0] for noise in noises]
    assert np.mean(silence) == pytest.approx(1, abs=0.05)
    assert np.quantile(silence, 0.95) < EcgSettings().lead_contrast


@pytest.mark.parametrize("shape", [(12, 1000), (3, 12, 1000)])
def test_silence_has_no_beats(shape: tuple[int, ...]) -> None:
    energy = slope_energy(np.zeros(shape, np.float32))
    beats = find_beats(energy)
    assert not beats.any()
    assert not contrast(energy, beats).any()
    assert not heart_rate(beats).any()


def test_a_batch_is_what_its_records_are() -> None:
    signals = np.stack([band_pass_and_resample(twelve_leads(seed=seed), 500, EcgSettings()) for seed in range(3)])
    beats = find_beats(slope_energy(signals))
    for at, one in enumerate(signals):
        np.testing.assert_array_equal(beats[at], find_beats(slope_energy(one)))
    assert heart_rate(beats).shape == (3,)


def test_every_annotated_beat_of_ludb(recording: Recording) -> None:
    record = recording("ludb_wfdb/ludb-ecg.hea").with_suffix("")
    stored = decode(record)
    beats, _ = beats_of(arrange(stored)[:, :5000], stored.sampling_frequency)
    note = wfdb.rdann(str(record), "ii")
    annotated = [at / 5 for at, sign in zip(note.sample, note.symbol, strict=True) if sign == "N" and at < 5000]
    found = np.flatnonzero(beats)
    nearest = [np.abs(found - at).min() for at in annotated]
    assert len(annotated) >= 5
    assert max(nearest) <= 5  # 50 ms
    assert 0 <= len(found) - len(annotated) <= 2, "LUDB leaves the first and the last beat without annotation"


@pytest.mark.filterwarnings("ignore")  # wfdb's own
def test_counts_agree_with_xqrs(all_recordings: Path) -> None:
    """wfdb's detector on four leads of each recording of 250 Hz or more; it is not made for 100 Hz."""
    folders = ("ptbxl/records500", "code15_wfdb", "cinc2021_wfdb_mat")
    paths = sorted(path for folder in folders for path in (all_recordings / folder).rglob("*.hea"))[::4]
    differences = []
    for path in paths:
        stored = decode(path)
        fs = stored.sampling_frequency
        signal = arrange(stored)[:, : int(10 * fs)]
        recorded = int(signal.shape[1] * 100 / fs)
        counts = []
        for lead in ("I", "II", "V2", "V5"):
            detector = XQRS(signal[LEADS.index(lead)], fs)
            detector.detect(verbose=False)
            counts.append(len(detector.qrs_inds))
        energy = slope_energy(band_pass_and_resample(signal, fs, EcgSettings())[:, :recorded])
        differences.append(abs(np.count_nonzero(find_beats(energy)) - np.median(counts)))
    assert len(differences) >= 20
    assert max(differences) <= 2
    assert np.mean(np.array(differences) <= 1) > 0.9


@pytest.mark.parametrize("width", [1, 2, 12, 13])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("time", [13, 37, 1000])
def test_the_moving_mean_is_scipys_bit_for_bit(width: int, dtype: type, time: int) -> None:
    values = (10 ** np.random.default_rng(time).normal(0, 2, (3, time))).astype(dtype)
    expected = ndimage.uniform_filter1d(values, width, axis=-1, mode="nearest")
    mean = moving_mean(values, width)
    assert mean.dtype == expected.dtype
    np.testing.assert_array_equal(mean, expected)


@pytest.mark.parametrize("reach", [0, 1, 8, 20])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
@pytest.mark.parametrize("time", [1, 5, 37, 1000])
def test_the_moving_maximum_is_scipys(reach: int, dtype: type, time: int) -> None:
    values = np.random.default_rng(time).integers(0, 50, (3, time)).astype(dtype)
    expected = ndimage.maximum_filter1d(values, 2 * reach + 1, axis=-1, mode="nearest")
    np.testing.assert_array_equal(moving_maximum(values, reach), expected)
