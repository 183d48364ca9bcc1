"""Parts that are no ECG: found wherever they stand, at every rate and in every lead, and never in sound recordings.

The variants are drawn anew for each seed: rate, steps of the recorder, place, length, level and noise.
"""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import resample_poly

from data_contracts.conventions import LEADS
from data_contracts.ecg import QUALITY_FLAGS, RECORD_FLAGS
from echoingecg.common import Refusal
from echoingecg.ecg.decode import decode
from echoingecg.ecg.decode.recording import arrange
from echoingecg.ecg.process import Processed, best_window, cut_windows, process_loaded
from echoingecg.ecg.quality import finding_names, strictest_rule
from echoingecg.ecg.stretches import find_bad_blocks
from echoingecg.recipe import EcgSettings
from helpers.ecg.synthetic_hearts import twelve_leads

SETTINGS = EcgSettings()
RATES = (100.0, 125.0, 250.0, 257.0, 360.0, 400.0, 500.0, 1000.0)
STEPS_MV = (0.001, 0.0025, 0.00488)  # of recorders: PTB-XL, Philips and MUSE
FOLDERS = ("ptbxl", "cinc2021_wfdb_mat", "code15_wfdb", "ecg_dicom", "muse_xml", "philips_xml", "hl7_aecg", "scp_ecg",
           "ludb_wfdb")  # fmt: skip


class Draw:
    """A sound heart of irregular beats, as a recorder with steps stores it, and a place in it."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.fs = RATES[seed % len(RATES)]
        self.step = float(self.random.choice(STEPS_MV))
        self.signal = self.rounded(self._irregular(seed))

    def _irregular(self, seed: int) -> np.ndarray:
        """The regular heart on a time axis that is stretched by up to a tenth, with noise."""
        regular = twelve_leads(1000, 12.0, seed, noise=0.0)
        pace = 1 + 0.05 * np.sin(2 * np.pi * np.arange(12) * self.random.uniform(0.2, 0.4) + self.random.uniform(0, 6))
        place = np.interp(np.arange(round(10 * self.fs)) / self.fs, np.arange(12), np.cumsum(pace) - pace[0])
        heart = np.stack([np.interp(1000 * place, np.arange(12_000), lead) for lead in regular])
        return heart + twelve_leads(self.fs, 10.0, seed, noise=0.01) - twelve_leads(self.fs, 10.0, seed, noise=0.0)

    def rounded(self, signal: np.ndarray) -> np.ndarray:
        return np.round(signal / self.step) * self.step

    def part(self, shortest: float, longest: float) -> slice:
        length = self.random.uniform(shortest, longest)
        start = self.random.choice([0.0, 10 - length, self.random.uniform(0, 10 - length)])
        return slice(int(start * self.fs), int((start + length) * self.fs))


def processed(signal: np.ndarray, fs: float) -> Processed:
    return best_window(signal, fs, SETTINGS)


def found(done: Processed) -> tuple[dict[str, set[str]], set[str]]:
    """Finding -> leads, and the recording's findings."""
    leads = {
        name: {lead for lead, mask in zip(LEADS, done.quality, strict=True) if mask & bit}
        for name, bit in QUALITY_FLAGS.items()
    }
    return {name: some for name, some in leads.items() if some}, set(finding_names(done.findings, RECORD_FLAGS))


def rule(done: Processed) -> str:
    return strictest_rule(done.quality, done.findings, SETTINGS)


@pytest.mark.parametrize("seed", range(16))
def test_a_sound_heart_has_none_of_them(seed: int) -> None:
    draw = Draw(seed)
    done = processed(draw.signal, draw.fs)
    assert found(done) == ({}, set())
    assert not done.bad_seconds.any()


@pytest.mark.parametrize("seed", range(32))
def test_leads_that_hold_one_value_for_a_part(seed: int) -> None:
    draw = Draw(seed)
    part = draw.part(2.0, 8.5)
    rows = draw.random.choice(12, draw.random.integers(1, 13), replace=False)
    level = [0.0, draw.signal[rows, part.start][:, None], draw.random.uniform(-1, 1)][seed % 3]
    steps = seed % 3  # of noise on the held value
    noise = draw.random.integers(-steps, steps + 1, (len(rows), part.stop - part.start)) * draw.step
    draw.signal[rows, part] = draw.rounded(level + noise)
    done = processed(draw.signal, draw.fs)
    assert found(done)[0]["flat_seconds"] == {LEADS[row] for row in rows}
    assert rule(done) in ("refer", "refuse")
    seconds = (part.stop - part.start) / draw.fs
    assert (np.abs(done.bad_seconds[rows] - seconds) < 1.3).all()
    assert not np.delete(done.bad_seconds, rows).any()


@pytest.mark.parametrize("seed", range(8))
def test_padding_by_zeros_at_either_end_or_at_both(seed: int) -> None:
    """CODE-15 stores 7 s in 10.24 s."""
    draw = Draw(seed)
    pads = [(0.0, 2.7), (2.7, 0.0), (1.6, 1.6)][seed % 3]
    before, after = (round(seconds * draw.fs) for seconds in pads)
    draw.signal[:, :before] = draw.signal[:, draw.signal.shape[1] - after :] = 0.0
    done = processed(draw.signal, draw.fs)
    assert found(done)[0]["flat_seconds"] == set(LEADS)
    assert rule(done) == "refer"


@pytest.mark.parametrize("seed", range(8))
def test_a_page_of_three_rows_and_four_columns(seed: int) -> None:
    """Each lead 2.5 s of ten; lead II is whole where the page has a rhythm strip."""
    draw = Draw(seed)
    page = np.zeros_like(draw.signal)
    width = draw.signal.shape[1] // 4
    columns = (("I", "II", "III"), ("aVR", "aVL", "aVF"), ("V1", "V2", "V3"), ("V4", "V5", "V6"))
    for column, leads in enumerate(columns):
        for lead in leads:
            row, part = LEADS.index(lead), slice(column * width, (column + 1) * width)
            page[row, part] = draw.signal[row, part]
    if seed % 2:
        page[LEADS.index("II")] = draw.signal[LEADS.index("II")]
    (outcome,) = process_loaded([cut_windows(page.astype(np.float32), draw.fs, SETTINGS)], SETTINGS)
    assert isinstance(outcome, Refusal) or rule(outcome) == "refer"
    done = processed(page, draw.fs)
    assert found(done)[0]["flat_seconds"] >= set(LEADS) - {"II"}
    assert (done.bad_seconds[[LEADS.index(lead) for lead in LEADS if lead != "II"]] >= 7).all()


@pytest.mark.parametrize("seed", range(16))
def test_clipped_runs(seed: int) -> None:
    """A rail that R waves or S waves reach for 50 ms of a second."""
    draw = Draw(seed)
    row, sign = int(draw.random.integers(12)), draw.random.choice([1, -1])
    lead = sign * draw.signal[row]
    lead = np.minimum(lead, np.quantile(lead, draw.random.uniform(0.88, 0.93)))
    draw.signal[row] = draw.rounded(sign * lead)
    done = processed(draw.signal, draw.fs)
    assert found(done)[0]["clipped"] == {LEADS[row]}
    assert done.bad_seconds[row] >= 1
    assert rule(done) == "refer"


@pytest.mark.parametrize("end", [slice(0, 50), slice(-50, None)])
def test_a_value_held_at_an_end_for_a_tenth_of_a_second_is_not_clipped(end: slice) -> None:
    """PTB-XL at 500 Hz ends so; the held value may be the lead's highest."""
    signal = twelve_leads()
    signal[:, end] = 1.01 * signal.max(axis=1, keepdims=True)
    assert "clipped" not in found(processed(signal, 500))[0]
    signal[:, 2000:2050] = signal[:, end]
    assert found(processed(signal, 500))[0]["clipped"] == set(LEADS)


def common_pulse(draw: Draw, part: slice, height: float) -> np.ndarray:
    """Instead of the heart in every lead."""
    signal = draw.signal.copy()
    signal[:, part] = height
    return signal


def added_pulse(draw: Draw, part: slice, height: float) -> np.ndarray:
    """On the heart in every lead."""
    signal = draw.signal.copy()
    signal[:, part] += height
    return signal


def pulse_of_eight(draw: Draw, part: slice, height: float) -> np.ndarray:
    """Makes a recording as a recorder does that measures I, II and V1 to V6 and computes the other leads."""
    signal = draw.signal.copy()
    computed = {"III": 0.0, "aVR": -1.0, "aVL": 0.5, "aVF": 0.5}
    signal[:, part] = height * np.array([[computed.get(lead, 1.0)] for lead in LEADS])
    return signal


@pytest.mark.parametrize("seed", range(16))
@pytest.mark.parametrize("planted", [common_pulse, added_pulse, pulse_of_eight])
def test_a_calibration_pulse(planted: Callable[[Draw, slice, float], np.ndarray], seed: int) -> None:
    draw = Draw(seed)
    part = draw.part(0.2, 1.2)
    if planted is pulse_of_eight:  # away from the R waves of these hearts, which hide its edges
        quiet = np.flatnonzero(np.abs(draw.signal).max(axis=0)[: -round(1.5 * draw.fs)] < 0.3)
        start = int(draw.random.choice(quiet[quiet > draw.fs]))
        stop = start + round(draw.random.uniform(0.2, 1.2) * draw.fs)
        part = slice(start, stop)
    done = processed(draw.rounded(planted(draw, part, (1.0, 3.0)[seed % 2])), draw.fs)
    assert "calibration_pulse" in found(done)[1]
    assert rule(done) == "refer"


@pytest.mark.parametrize("seed", range(24))
def test_a_block_stored_again_and_again(seed: int) -> None:
    draw = Draw(seed)
    period = round((5.0 if seed % 4 == 0 else draw.random.uniform(1.8, 5.0)) * draw.fs)
    copies = np.tile(draw.signal[:, :period], (1, 6))[:, : draw.signal.shape[1]]
    done = processed(copies, draw.fs)
    assert "repeated_block" in found(done)[1]
    assert rule(done) == "refer"


@pytest.mark.parametrize("seed", range(24))
def test_a_block_stored_twice_and_resampled(seed: int) -> None:
    """The copies differ by part of a sample's time, and by the new rounding."""
    draw = Draw(seed)
    period = round(draw.random.uniform(2.0, 5.0) * draw.fs)
    copies = np.tile(draw.signal[:, :period], (1, 6))[:, : draw.signal.shape[1]]
    rate = float(draw.random.choice([100.0, 250.0, 400.0, 500.0]))
    ratio = Fraction(rate / draw.fs).limit_denominator(1000)
    resampled = resample_poly(copies, ratio.numerator, ratio.denominator, axis=1)[:, : round(10 * rate)]
    assert "repeated_block" in found(processed(draw.rounded(resampled), rate))[1]


@pytest.mark.parametrize("noise", [0.0, 0.001, 0.005, 0.02])
@pytest.mark.parametrize("fs", [100.0, 250.0, 500.0])
def test_equal_beats_are_a_rhythm_and_no_copy(fs: float, noise: float) -> None:
    assert "repeated_block" not in found(processed(twelve_leads(fs, noise=noise), fs))[1]


@pytest.mark.parametrize("seed", range(6))
def test_what_is_found_does_not_depend_on_the_batch(seed: int) -> None:
    draw = Draw(2 * seed + 6)
    pulse = draw.signal.copy()
    pulse[:, 100:160] = 1.0
    half = draw.signal.copy()
    half[:, half.shape[1] // 2 :] = half[:, [half.shape[1] // 2]]
    tiled = np.tile(draw.signal[:, : draw.signal.shape[1] // 2], (1, 2))
    signals = [draw.signal, pulse, half, tiled, np.zeros_like(half), 0.2 * draw.signal]
    loaded = [cut_windows(signal.astype(np.float32), draw.fs, SETTINGS) for signal in signals]
    for alone, beside in zip(
        [process_loaded([ecg], SETTINGS)[0] for ecg in loaded], process_loaded(loaded, SETTINGS), strict=True
    ):
        assert type(alone) is type(beside)
        if isinstance(alone, Processed):
            assert isinstance(beside, Processed)
            assert alone.signal.tobytes() == beside.signal.tobytes()
            assert (alone.findings, alone.start) == (beside.findings, beside.start)
            np.testing.assert_array_equal(alone.quality, beside.quality)
            np.testing.assert_array_equal(alone.bad_seconds, beside.bad_seconds)
        else:
            assert str(alone) == str(beside)


def test_bad_seconds_by_a_slow_count() -> None:
    """Whole seconds of one value, on the quarter seconds of the blocks."""
    signal = twelve_leads()
    for row, seconds in enumerate((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0)):
        signal[row, : 500 * seconds] = 0.1 * row
    blocks = find_bad_blocks(signal, 500.0, SETTINGS)
    assert blocks.bad_seconds().tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0]
    assert blocks.flat.shape == (12, 40)


@pytest.mark.parametrize(("seconds", "expected"), [(0.95, False), (1.3, True)])
def test_a_second_must_be_flat(seconds: float, expected: bool) -> None:
    signal = twelve_leads()
    signal[3, 1010 : 1010 + round(500 * seconds)] = 0.3
    assert ("flat_seconds" in found(processed(signal, 500))[0]) is expected


def test_good_recordings_are_not_referred(all_recordings: Path) -> None:
    """Few real recordings of 10 s are referred: spikes beyond 12 mV, odd chest leads, gains of one LUDB copy."""
    referred = {}
    for folder in FOLDERS:
        for path in sorted((all_recordings / folder).rglob("*")):
            if path.suffix.lower() not in {".hea", ".dcm", ".xml", ".scp"}:
                continue
            stored = decode(path)
            if stored.signal.shape[1] + 1 < 10 * stored.sampling_frequency:
                continue
            done = best_window(arrange(stored), stored.sampling_frequency, SETTINGS)
            if rule(done) != "keep":
                leads, whole = found(done)
                referred[path.stem] = whole | {name for name in leads if name not in ("baseline", "mains")}
    assert referred == {
        "00008_hr": {"limb_electrodes"},  # an old inferior infarction: lead II points away from where V1 to V6 say
        "00008_lr": {"limb_electrodes"},
        "00027_lr": {"limb_electrodes"},  # left axis deviation
        "1111813": {"amplitude"},
        "1111815": {"amplitude"},
        "1111827": {"amplitude"},
        "1111981": {"amplitude"},
        "E07501": {"chest_leads"},  # low voltage, and R waves that do not grow from V1 to V4
        "E07503": {"chest_leads"},
        "JS13888": {"chest_leads"},
        "ludb-ecg": {"limb_leads"},
        "synthetic_muse": {"repeated_block"},  # the name says it
    }
