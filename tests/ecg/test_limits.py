"""Each limit of the filter, the findings and the beats is where it is stated: just inside, just outside of it."""

import numpy as np
import pytest

from data_contracts.conventions import LEADS
from data_contracts.ecg import QUALITY_FLAGS, RECORD_FLAGS
from echoingecg.common import Refusal
from echoingecg.ecg import beats
from echoingecg.ecg.beats import MEASUREMENT_NAMES, contrast, find_beats, measure_ecgs, slope_energy
from echoingecg.ecg.filter import band_pass, band_pass_and_resample
from echoingecg.ecg.process import best_window
from echoingecg.ecg.quality import assess_quality, level_and_mains, typical_amplitude
from echoingecg.recipe import EcgSettings
from helpers.ecg.synthetic_hearts import twelve_leads

SETTINGS = EcgSettings()
HEART = twelve_leads()
FILTERED = band_pass_and_resample(HEART, 500, SETTINGS)
TIME = np.arange(HEART.shape[1]) / 500
ROW = LEADS.index("V4")


def is_flagged(
    finding: str, raw: np.ndarray, filtered: np.ndarray = FILTERED, settings: EcgSettings = SETTINGS
) -> bool:
    quality, _ = assess_quality(raw, np.zeros(12), filtered, 500, settings)
    return bool(quality[ROW] & QUALITY_FLAGS[finding])


def with_v4(values: np.ndarray, signal: np.ndarray = HEART) -> np.ndarray:
    changed = signal.copy()
    changed[ROW] = values
    return changed


@pytest.mark.parametrize(("height", "expected"), [(0.0099, True), (0.0101, False)])
def test_flat(height: float, expected: bool) -> None:
    assert is_flagged("flat", with_v4(height * (TIME % 1 > 0.5))) is expected


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("samples", "expected"), [(20, False), (21, True)])
def test_clipped(sign: int, samples: int, expected: bool) -> None:
    """4 % of the 500 samples of a second at the extreme."""
    lead = np.linspace(-1, 1, 5000)
    lead[2300 : 2300 + samples] = 1.1
    assert is_flagged("clipped", with_v4(sign * lead)) is expected


@pytest.mark.parametrize(("level", "expected"), [(1.99, False), (2.01, True), (-1.99, False), (-2.01, True)])
def test_baseline(level: float, expected: bool) -> None:
    assert is_flagged("baseline", with_v4(level + 0.1 * np.sin(2 * np.pi * TIME))) is expected


@pytest.mark.parametrize(("height", "expected"), [(7.99, False), (8.01, True), (-7.99, False), (-8.01, True)])
def test_amplitude(height: float, expected: bool) -> None:
    spike = FILTERED[ROW].copy()
    spike[500] = height
    assert is_flagged("amplitude", HEART, with_v4(spike, FILTERED)) is expected


@pytest.mark.parametrize("frequency", [50, 60])
@pytest.mark.parametrize(("share", "expected"), [(0.049, False), (0.051, True)])
def test_mains(frequency: float, share: float, expected: bool) -> None:
    """A sine whose power is that share of its own and the filtered lead's."""
    power = np.mean(FILTERED[ROW] ** 2) * share / (1 - share)
    wave = np.sqrt(2 * power) * np.sin(2 * np.pi * frequency * TIME)
    assert is_flagged("mains", with_v4(wave)) is expected


@pytest.mark.parametrize(("fs", "is_seen"), [(105.0, False), (106.0, True)])
def test_mains_is_measured_up_to_0_475_of_the_sampling_frequency(fs: float, is_seen: bool) -> None:
    wave = np.sin(2 * np.pi * 50 * np.arange(round(10 * fs)) / fs)[None]
    assert (level_and_mains(wave, fs, (50.0,))[1] > 0.4) == is_seen


@pytest.mark.parametrize(("leads", "expected"), [(2, True), (3, False)])
def test_three_leads_must_show_the_qrs_complexes(leads: int, expected: bool) -> None:
    noise = np.random.default_rng(3).normal(0, 0.1, (12, 1000)).astype(np.float32)
    noise[:leads] = FILTERED[:leads]
    _, findings = assess_quality(HEART, np.zeros(12), noise, 500, SETTINGS)
    assert bool(findings & RECORD_FLAGS["no_qrs"]) is expected


@pytest.mark.parametrize(("factor", "expected"), [(0.999, False), (1.001, True)])
def test_contrasts_are_compared_with_the_recipes(factor: float, expected: bool) -> None:
    energy = slope_energy(FILTERED)
    clarity = contrast(energy, find_beats(energy))
    by_leads = EcgSettings(lead_contrast=factor * float(clarity[ROW]))
    by_record = EcgSettings(qrs_contrast=factor * float(np.sort(clarity)[-3]))
    assert is_flagged("disconnected", HEART, settings=by_leads) is expected
    _, findings = assess_quality(HEART, np.zeros(12), FILTERED, 500, by_record)
    assert bool(findings & RECORD_FLAGS["no_qrs"]) is expected


def test_the_typical_amplitude_is_that_of_two_seconds() -> None:
    """A parabola without its trend rises by a second squared from the middle of two seconds to their end."""
    parabola = np.tile((np.arange(1000) / 100) ** 2, (12, 1))
    assert typical_amplitude(parabola, 100.0) == pytest.approx((199 / 200) ** 2, abs=1e-4)


@pytest.mark.parametrize(("height", "refused"), [(49.9, False), (50.1, True)])
def test_no_filtered_ecg_exceeds_50_millivolt(height: float, refused: bool) -> None:
    spike = with_v4(np.where(np.abs(TIME - 5) < 0.004, 1.0, 0.0), 0 * HEART)
    spike *= height / np.abs(band_pass_and_resample(spike, 500, SETTINGS)).max()
    signal = with_v4(spike[ROW], HEART)
    if refused:
        with pytest.raises(Refusal, match=r"implausible: 50\.1 mV after filtering"):
            best_window(signal, 500, SETTINGS)
    else:
        best_window(signal, 500, SETTINGS)


@pytest.mark.parametrize(
    ("fs", "band_high", "edge"), [(500.0, 40.0, 0.5), (500.0, 40.0, 40.0), (500.0, 49.0, 45.0), (60.0, 40.0, 27.0)]
)
def test_half_of_a_wave_at_the_bands_edge_passes(fs: float, band_high: float, edge: float) -> None:
    """The upper edge is at most 0.45 of 100 Hz and of the source's rate."""
    time = np.arange(round(60 * fs)) / fs
    passed = band_pass(np.cos(2 * np.pi * edge * time)[None], fs, EcgSettings(band_high=band_high))[0]
    middle = slice(round(20 * fs), round(40 * fs))
    assert np.sqrt(2 * np.mean(passed[middle] ** 2)) == pytest.approx(0.5, abs=0.005)


def impulses(heights: dict[int, float]) -> np.ndarray:
    energy = np.zeros((1, 1000))
    energy[0, list(heights)] = list(heights.values())
    return energy


EACH_SECOND_PIECE = {100: 1.0, 300: 1.0, 500: 1.0, 700: 1.0, 900: 1.0}


def test_energy_is_summed_over_a_qrs_of_120_ms() -> None:
    assert np.count_nonzero(find_beats(impulses(EACH_SECOND_PIECE))) == 5 * 12


@pytest.mark.parametrize(("distance", "found"), [(20, False), (21, True)])
def test_refractory_time_of_200_ms(distance: int, found: bool) -> None:
    found_beats = find_beats(impulses(EACH_SECOND_PIECE | {500 + distance: 0.9}))
    assert found_beats[500 + 7 : 600].any() == found


@pytest.mark.parametrize(("height", "found"), [(0.29, False), (0.31, True)])
def test_a_beat_has_three_tenths_of_the_usual_energy(height: float, found: bool) -> None:
    assert find_beats(impulses(EACH_SECOND_PIECE | {600: height}))[580:620].any() == found


def test_usual_peaks_are_those_of_two_seconds() -> None:
    """A step on the border of two pieces is a peak of both; a step three times as high is cut at twice its energy."""
    signal = np.zeros((1, 1000))
    signal[0, 200:] += 1
    signal[0, 500:] += 3
    assert slope_energy(signal).max() == 2


def test_contrast_compares_80_ms_around_beats_with_the_rest_but_half_a_second_at_the_ends() -> None:
    energy, peaks = np.ones((1, 1000)), np.zeros(1000, bool)
    peaks[[300, 700]] = True
    for peak in (300, 700):
        energy[0, peak - 8 : peak + 9] = 4
    energy[0, :50] = energy[0, 950:] = 100
    assert contrast(energy, peaks)[0] == pytest.approx(4)
    energy[0, 50] = energy[0, 949] = 434  # 866 samples lie between: their mean doubles
    assert contrast(energy, peaks)[0] == pytest.approx(2, rel=1e-3)


@pytest.mark.parametrize(("slope", "is_silent"), [(0.99e-6, True), (1.01e-6, False)])
def test_a_slope_under_a_nanovolt_is_none(slope: float, is_silent: bool) -> None:
    peaks = np.zeros(1000, bool)
    peaks[500] = True
    assert (contrast(np.full((1, 1000), slope**2), peaks)[0] == 0) == is_silent


def test_where_the_beat_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """From 250 ms before to 450 ms after the QRS's middle: samples 0 to 69, the middle is sample 25."""
    peaks = np.array([60, 240, 420, 780])
    monkeypatch.setattr(beats, "find_beats", lambda energy: np.isin(np.arange(energy.shape[-1]), peaks)[None])
    signal = np.random.default_rng(0).normal(0, 0.1, (12, 1000))
    for row, offset in enumerate((-8, -7, 7, 8, 12, 13, 44)):  # a spike on each side of each border
        signal[row, peaks + offset] += 5
    windows = [signal[:, peak - 25 : peak + 45] for peak in peaks]
    beat = np.median(windows, axis=0)
    beat -= beat[:, 15:18].mean(axis=1, keepdims=True)
    wave_t = beat[:, 38:]
    steepness = (np.gradient(beat, axis=1) ** 2).sum(axis=0)[13:38]
    steep = np.flatnonzero(steepness > 0.02 * steepness.max())
    expected = {"qrs_duration": 10.0 * (steep[-1] - steep[0])}
    for row, lead in enumerate(LEADS):
        expected[f"r_{lead}"] = max(beat[row, 18:33].max(), 0)
        expected[f"s_{lead}"] = max(-beat[row, 18:33].min(), 0)
        expected[f"st_{lead}"] = beat[row, 35:38].mean()
        expected[f"t_{lead}"] = wave_t[row, np.abs(wave_t[row]).argmax()]
    measured = dict(zip(MEASUREMENT_NAMES, measure_ecgs(signal[None])[0], strict=True))
    assert {name: measured[name] for name in expected} == pytest.approx(expected, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize(("share", "duration"), [(0.021, 110), (0.019, 10)])
def test_a_qrs_begins_at_two_hundredths_of_its_steepest_energy(
    share: float, duration: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small step 100 ms before a step of 1 mV, whose energy is that share of the other's."""
    peaks = np.array([200, 600])
    monkeypatch.setattr(beats, "find_beats", lambda energy: np.isin(np.arange(energy.shape[-1]), peaks)[None])
    signal = np.zeros((12, 1000))
    for peak in peaks:
        signal[0, peak:] += 1
        signal[0, peak - 10 :] += np.sqrt(share)
    measured = dict(zip(MEASUREMENT_NAMES, measure_ecgs(signal[None])[0], strict=True))
    assert measured["qrs_duration"] == duration
