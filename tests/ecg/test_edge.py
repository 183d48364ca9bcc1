"""What the filter sees beyond the ends of a window: the recording where it goes on, else its mirror."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from data_contracts.conventions import LEADS
from echoingecg.ecg.decode import decode
from echoingecg.ecg.decode.recording import arrange
from echoingecg.ecg.fast_filter import filter_records
from echoingecg.ecg.filter import band_pass_and_resample, filtered_at_100_hertz, longest_context
from echoingecg.ecg.process import best_window, cut_windows
from echoingecg.prediction.locate import ecg_settings
from echoingecg.recipe import EcgSettings
from flows.request import find_recipe
from helpers.ecg.synthetic_hearts import twelve_leads
from helpers.paths import Recording

MIRROR, PUBLISHED = EcgSettings(), EcgSettings(edge="published")
MICROVOLT = 1e-3


def long_recording(fs: float, seconds: float = 40.0) -> np.ndarray:
    """float32 (12, time), mV: beats on a wandering baseline."""
    beats = twelve_leads(fs, seconds)
    time = np.arange(beats.shape[1]) / fs
    wander = {
        "I": 0.2,
        "II": 0.3,
        "III": 0.1,
        "aVR": -0.25,
        "aVL": 0.05,
        "aVF": 0.2,
    }  # as of electrodes
    size = np.array([wander.get(lead, 0.3) for lead in LEADS])
    return (beats + size[:, None] * np.sin(2 * np.pi * 0.07 * time)).astype(np.float32)


@pytest.mark.parametrize("fs", [50.0, 100.0, 125.0, 250.0, 257.0, 360.0, 400.0, 499.5, 500.0, 1000.0])
def test_a_window_within_a_recording_is_that_part_of_the_filtered_whole(fs: float) -> None:
    signal = long_recording(fs)
    grid = (Fraction(fs) / 100).numerator  # samples until one falls on a sample at 100 Hz again
    start = round(15 * fs) // grid * grid
    (window,) = cut_windows(signal[:, start - round(9 * fs) : start + round(19 * fs)], fs, MIRROR).windows
    assert window.before.shape[1] == 0, "the first window begins with the recording"
    whole = filtered_at_100_hertz(signal.astype(np.float64), fs, MIRROR)
    width = int(np.ceil(10 * fs))
    context = longest_context(fs)
    part = signal[:, start - context : start + width + context].astype(np.float64)
    found = band_pass_and_resample(part, fs, MIRROR, (context, context))
    first = round(start * 100 / fs)
    # Where samples rarely meet those at 100 Hz the window is resampled alone: its first and last 0.1 s differ.
    ends = 10 if fs == 499.5 else 0
    inner = slice(ends, 1000 - ends)
    expected = whole[:, first : first + 1000]
    np.testing.assert_allclose(found[:, inner], expected[:, inner], atol=MICROVOLT)


def test_windows_of_a_long_recording_have_context_on_both_sides() -> None:
    signal = long_recording(500)
    loaded = cut_windows(signal, 500, EcgSettings(long="several", most_windows=9))
    sizes = [(window.before.shape[1], window.after.shape[1]) for window in loaded.windows]
    assert sizes[0] == (0, 4000)
    assert sizes[1] == (2500, 4000)
    assert sizes[2] == (4000, 4000)
    assert sizes[-1] == (4000, 0)
    window = loaded.windows[2]
    np.testing.assert_array_equal(window.before, signal[:, 1000:5000])
    np.testing.assert_array_equal(window.after, signal[:, 10000:14000])
    assert not any(np.shares_memory(part, signal) for part in (window.raw, window.before, window.after))


def test_the_published_edge_has_no_context() -> None:
    signal = long_recording(500)
    np.testing.assert_array_equal(
        best_window(signal, 500, PUBLISHED).signal, best_window(signal[:, :5000], 500, PUBLISHED).signal
    )


def _missing(beyond: np.ndarray) -> None:
    beyond[3, 200] = np.nan


def _pulse(beyond: np.ndarray) -> None:
    beyond[:, 100:200] = 1.0


def _added_pulse(beyond: np.ndarray) -> None:
    beyond[:, 300:350] += 1.0


def _rail(beyond: np.ndarray) -> None:
    beyond[6, 50:] = 30.0


def _held(beyond: np.ndarray) -> None:
    beyond[:, 600:] = beyond[:, 600:601]


@pytest.mark.parametrize(("spoil", "kept"), [(_missing, 200), (_pulse, 0), (_added_pulse, 0), (_rail, 0), (_held, 0)])
@pytest.mark.parametrize("side", ["before", "after"])
def test_what_is_not_sound_is_no_context(spoil: object, kept: int, side: str) -> None:
    """The window's signal is then that of the window alone, or of the sound samples beside it."""
    signal = long_recording(500)[:, :14000].copy()
    beyond = signal[:, 9000:] if side == "after" else signal[:, 4999::-1]
    spoil(beyond)  # type: ignore[operator]
    part = signal[:, 4000:] if side == "after" else signal[:, :10000]
    window = cut_windows(part, 500, EcgSettings(long="several")).windows[0 if side == "after" else -1]
    assert window.start == (0 if side == "after" else 5000)
    assert getattr(window, side).shape[1] == kept


def outer_errors(settings: EcgSettings, recordings: list[Path]) -> np.ndarray:
    """(lead of each ECG,) mV: the largest error in the outer seconds of 5 s, against filtering 10 s as a whole."""
    errors = []
    for path in recordings:
        stored = decode(path)
        signal, fs = arrange(stored), stored.sampling_frequency
        whole = filtered_at_100_hertz(signal, fs, MIRROR)[:, 250:750]
        start = round(2.5 * fs)
        part = filtered_at_100_hertz(signal[:, start : start + round(5 * fs)], fs, settings)
        outer = np.abs(part - whole)[:, [*range(100), *range(400, 500)]]
        errors.append(outer.max(axis=1))
    return np.concatenate(errors)


def test_a_mirror_errs_less_than_the_published_edge(recordings: Path) -> None:
    files = sorted((recordings / "ptbxl").rglob("*_hr.hea"))
    mirrored, published = outer_errors(MIRROR, files), outer_errors(PUBLISHED, files)
    assert np.median(mirrored) < 0.6 * np.median(published)
    assert np.quantile(mirrored, 0.95) < 0.5 * np.quantile(published, 0.95)


def agreement(recordings: Path, settings: EcgSettings, until: int) -> np.ndarray:
    """(records, 12): correlation of PTB-XL's versions at 500 and at 100 Hz, up to a sample of the result."""
    folder = recordings / "ptbxl"
    low = {path.name[:5]: path for path in folder.rglob("*_lr.hea")}
    rows = []
    for path in sorted(folder.rglob("*_hr.hea")):
        if path.name[:5] in low:
            pair = [
                filter_records(arrange(decode(one))[None].astype(np.float32), fs, settings)[0][:, :until]
                for one, fs in ((path, 500.0), (low[path.name[:5]], 100.0))
            ]
            rows.append([np.corrcoef(one, other)[0, 1] for one, other in zip(*pair, strict=True)])
    return np.array(rows)


def test_two_versions_of_one_ecg_agree(recordings: Path) -> None:
    """PTB-XL's 500 Hz files hold their last value for 0.1 s, where those of 100 Hz go on: that part cannot agree."""
    whole, sound = agreement(recordings, MIRROR, 1000), agreement(recordings, MIRROR, 990)
    assert (sound >= 0.99).mean() > 0.94
    assert sound.min() > 0.96
    assert (whole >= 0.99).mean() > (agreement(recordings, PUBLISHED, 1000) >= 0.99).mean() + 0.2


def test_the_calibration_pulse_after_philips_ten_seconds_leaves_them_alone(recording: Recording) -> None:
    for name in ("129DYPRG.XML", "2020-5-18_15-48-11.xml"):
        stored = decode(recording(f"philips_xml/{name}"))
        signal, fs = arrange(stored), stored.sampling_frequency
        found = best_window(signal, fs, MIRROR)
        alone = best_window(signal[:, : round(10 * fs)], fs, MIRROR)
        assert not found.findings
        np.testing.assert_array_equal(found.signal, alone.signal)


def test_a_short_recording_is_mirrored_as_far_as_it_goes() -> None:
    signal = long_recording(500)[:, :1200].astype(np.float64)
    found = band_pass_and_resample(signal, 500, MIRROR)
    assert found.shape == (len(LEADS), 1000)
    assert not found[:, 240:].any()
    assert np.abs(found[:, :240]).max() < 3


def test_what_was_made_before_there_was_a_choice_has_the_published_edge() -> None:
    earlier = {name: value for name, value in EcgSettings().model_dump(mode="json").items() if name != "edge"}
    assert EcgSettings.of_artefact(earlier) == PUBLISHED
    assert EcgSettings.of_artefact(MIRROR.model_dump(mode="json")) == MIRROR
    assert EcgSettings.model_validate(earlier) == MIRROR
    assert ecg_settings(None, None).edge == "published", "released weights"
    assert find_recipe("paper", []).ecg.edge == "published"
    assert {find_recipe(name, []).ecg.edge for name in ("demo", "smoke", "findings")} == {"mirror"}
