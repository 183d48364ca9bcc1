"""Parts of a recording that are no ECG: held values, clipped runs, calibration pulses and blocks stored twice.

Held values and clipped runs are judged in blocks of a quarter of a second, on every record. Pulses and repeated blocks
are looked for in two steps: a cheap sign of them in the filtered signals of the whole batch, and then a proof in the
recorded samples of the few that show it. What is found in a record does not depend on the records beside it.
"""

from dataclasses import dataclass
from itertools import combinations
from math import ceil

import numpy as np

from data_contracts.conventions import LEADS, SAMPLING_FREQUENCY
from echoingecg.recipe import EcgSettings

_BLOCKS_PER_SECOND = 4
_NOISE_SHARE = 0.25  # of the lead's range: more is signal
_SAMPLES_PER_BLOCK = 5  # of the first look, for held values
_SAMPLES_PER_RUN = 4  # of the first look, of a clipped run that just counts
_NOISY_BLOCKS = 6  # how long a held value with noise must last: 1.5 s

_INDEPENDENT_ROWS = [LEADS.index(lead) for lead in ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")]
# Two sums of limb leads that are 0 in every ECG (Einthoven, Goldberger) and 1 mV where all leads carry 1 mV.
_COMMON_MODE = np.array(
    [
        [{"I": 1, "II": -1, "III": 1}.get(lead, 0) for lead in LEADS],
        [{"aVR": 1 / 3, "aVL": 1 / 3, "aVF": 1 / 3}.get(lead, 0) for lead in LEADS],
    ],
    dtype=np.float32,
)
_PULSE_MV = 0.3  # lowest pulse looked for
_PULSE_SIGN_MV = 0.2  # of the same after the filter
_STEP_MV = 0.5  # lowest step that all of I, II and V1 to V6 must share
_PULSE_SECONDS = (0.12, 2.5)  # shortest and longest: a QRS complex is shorter
_COMMON_PULSE_SECONDS = (0.05, 2.5)  # in sums that no QRS complex enters: a pulse may last 0.1 s
_PULSE_TOLERANCE = 0.25  # of its height: how far the leads' pulses may differ
_LONE_STEP_MV = 0.8  # of a pulse that the window cuts: the other step is outside of it
_PLATEAU_MV = 0.05  # by which leads that carry nothing but the pulse may differ in its course
_STEP_SAMPLES = 4  # at 100 Hz: within which the filtered edge of a pulse rises

_MIN_PERIOD_SECONDS = 1.5  # what repeats faster is one heart beat, or two
_MIN_COPY_SECONDS = 3.0
_MIN_BEAT_SECONDS = 0.2
_RHYTHM_SHARE = 0.8  # where single beats are nearly as alike as the blocks, a regular rhythm explains it
_LIKENESS = 0.15  # of the signs of the curvature, over the recording: from here on a copy is looked for
_HIGH_LIKENESS = 0.55  # no rhythm explains it: the most of any real recording is 0.42
_COPY_DIFFERENCE = 0.12  # of the curvature, between block and copy
_EXACT_DIFFERENCE = 0.01  # of copies that nothing was done to
_RHYTHM_DIFFERENCE = 1.5  # where beats differ by less than this many times what blocks differ by, they are a rhythm
_CANDIDATE_LAGS = 3
_SHARPEST_HERTZ = 500.0  # lags are found to a sample at this rate at least
_SIGNS = np.array([1, -1, 1, 1, -1, -1, 1, -1, 1, -1, -1, 1], dtype=np.float32)  # any mixture of leads would do


@dataclass(frozen=True)
class BadBlocks:
    """Blocks of a quarter of a second in which a lead holds one value or is clipped.

    Attributes:
        height: float (..., 12), mV, from peak to peak, unfiltered.
        flat: bool (..., 12, blocks), part of a second or more in which the lead holds one value.
        clipped: bool (..., 12, blocks), at the lead's highest or lowest value for too large a part of a second, and
            not flat.
    """

    height: np.ndarray
    flat: np.ndarray
    clipped: np.ndarray

    def records(self, rows: list[int]) -> "BadBlocks":
        """The blocks of some records of a batch."""
        return BadBlocks(self.height[rows], self.flat[rows], self.clipped[rows])

    def held_windows(self, seconds: float, count: int) -> np.ndarray:
        """bool (..., 12, count): windows of so many seconds, from the start, that are flat for more than a half."""
        width = round(seconds * _BLOCKS_PER_SECOND)
        held = np.zeros((*self.flat.shape[:-1], count), dtype=bool)
        for window in range(count if self.flat.any() else 0):
            part = self.flat[..., window * width : (window + 1) * width]
            held[..., window] = 2 * np.count_nonzero(part, axis=-1) > part.shape[-1]
        return held

    def bad_seconds(self) -> np.ndarray:
        """uint8 (..., 12): time that is flat or clipped, in whole seconds, rounded up."""
        count = np.count_nonzero(self.flat | self.clipped, axis=-1)
        return (-(-count // _BLOCKS_PER_SECOND)).astype(np.uint8)


def find_bad_blocks(raw: np.ndarray, sampling_frequency: float, settings: EcgSettings) -> BadBlocks:
    """Finds held values and clipped runs in recorded samples.

    Few samples tell whether a lead can hold a value (five a block) or be clipped (so many that three lie in a run that
    just counts). Only such leads are measured block by block.

    Args:
        raw: float (..., 12, time), mV, unfiltered, without NaN.
        sampling_frequency: of `raw`, Hz.
        settings: `flat_mv`, `flat_noise_mv` and `clipped_share`.
    """
    highest, lowest = raw.max(axis=-1), raw.min(axis=-1)
    width = min(max(1, round(sampling_frequency / _BLOCKS_PER_SECOND)), raw.shape[-1])
    count = raw.shape[-1] // width
    starts = np.arange(count) * width
    flat = np.zeros((*raw.shape[:-1], count), dtype=bool)
    places = sorted({place * width // _SAMPLES_PER_BLOCK for place in range(_SAMPLES_PER_BLOCK)})
    samples = [raw[..., place : count * width : width] for place in places]
    height = highest - lowest
    screened = _held(_combined(np.maximum, samples), _combined(np.minimum, samples), height, settings)
    for lead in zip(*np.nonzero(screened.any(axis=-1)), strict=True):
        above, below = np.maximum.reduceat(raw[lead], starts), np.minimum.reduceat(raw[lead], starts)
        flat[lead] = _held(above, below, height[lead], settings)
    clipped = np.zeros_like(flat)
    most = settings.clipped_share * _BLOCKS_PER_SECOND * width
    some = np.ascontiguousarray(raw[..., :: max(1, int(most / _SAMPLES_PER_RUN))])
    for extreme in (highest, lowest):
        for lead in zip(*np.nonzero(_count_equal(some, extreme) >= min(_SAMPLES_PER_RUN - 1, most)), strict=True):
            counts = np.add.reduceat(_inside(raw[lead] == extreme[lead]), starts, dtype=np.int64)
            clipped[lead] |= _widened(_windowed(np.add, counts, _BLOCKS_PER_SECOND) > most, count) & (counts > 0)
    return BadBlocks(height, flat, clipped & ~flat)


def _inside(chosen: np.ndarray) -> np.ndarray:
    """bool (time,) without its runs at both ends: recorders hold the last value there (PTB-XL for 0.1 s)."""
    others = np.flatnonzero(~chosen)
    inside = chosen.copy()
    if len(others):
        inside[: others[0]] = inside[others[-1] :] = False
    return inside


def _held(highest: np.ndarray, lowest: np.ndarray, height: np.ndarray, settings: EcgSettings) -> np.ndarray:
    """bool (..., blocks): part of a second under `flat_mv`, or of a second and a half under `flat_noise_mv`.

    No range at all counts under any limit. A lead of low voltage is no flat part of itself: `flat_noise_mv` counts up
    to a share of the lead's range.

    Args:
        highest, lowest: float (..., blocks), mV.
        height: float (...), mV, range of the whole lead.
        settings: `flat_mv` and `flat_noise_mv`.
    """
    held = np.zeros(highest.shape, dtype=bool)
    noise_mv = np.minimum(settings.flat_noise_mv, _NOISE_SHARE * height)[..., None]
    for blocks, limit_mv in ((_BLOCKS_PER_SECOND, settings.flat_mv), (_NOISY_BLOCKS, noise_mv)):
        part = _windowed(np.maximum, highest, blocks) - _windowed(np.minimum, lowest, blocks)
        held |= _widened((part < limit_mv) | (part == 0), highest.shape[-1])
    return held


def _combined(combine: np.ufunc, parts: list[np.ndarray]) -> np.ndarray:
    combined = parts[0].copy()
    for part in parts[1:]:
        combine(combined, part, out=combined)
    return combined


def _windowed(combine: np.ufunc, values: np.ndarray, width: int) -> np.ndarray:
    """Combines each `width` values on end over the last axis; all of them where there are fewer."""
    width = min(width, values.shape[-1])
    places = values.shape[-1] - width + 1
    combined = values[..., :places]
    for start in range(1, width):
        combined = combine(combined, values[..., start : start + places])
    return combined


def _widened(windows: np.ndarray, count: int) -> np.ndarray:
    """bool (..., count): values that lie in a chosen window, (..., places)."""
    places = windows.shape[-1]
    chosen = np.zeros((*windows.shape[:-1], count), dtype=bool)
    if windows.any():
        for start in range(count - places + 1):
            chosen[..., start : start + places] |= windows
    return chosen


def _count_equal(values: np.ndarray, level: np.ndarray) -> np.ndarray:
    """How many values over the last axis equal the level; three times faster than `(values == level).sum()`."""
    equal = values == level[..., None]
    return np.add.reduce(equal.view(np.uint8), axis=-1, dtype=np.uint32)


def find_pulses(raw: np.ndarray, filtered: np.ndarray, sampling_frequency: float) -> np.ndarray:
    """Whether a square calibration pulse stands in all leads at once; bool (...,).

    The pulse shows in sums of limb leads that are 0 in every ECG. A recorder that computes four limb leads from I and
    II keeps these sums at 0; there the pulse is a step of one height in all of I, II and V1 to V6, and back again.

    Args:
        raw: float (..., 12, time), mV, unfiltered.
        filtered: float (..., 12, samples), mV at 100 Hz, recorded part.
        sampling_frequency: of `raw`, Hz.
    """
    common = _COMMON_MODE[1].astype(filtered.dtype) @ filtered
    in_limbs = common.max(axis=-1) - common.min(axis=-1) > _PULSE_SIGN_MV
    # Every second sample is enough: an edge rises within less than the step's length.
    eight = [filtered[..., row, _STEP_SAMPLES::2] - filtered[..., row, :-_STEP_SAMPLES:2] for row in _INDEPENDENT_ROWS]
    rise, fall = _combined(np.minimum, eight).max(axis=-1), _combined(np.maximum, eight).min(axis=-1)
    in_eight = (rise > _STEP_MV) & (fall < -_STEP_MV) | (np.maximum(rise, -fall) > _LONE_STEP_MV)
    is_present = np.zeros(raw.shape[:-2], dtype=bool)
    for record in np.argwhere(in_limbs | in_eight):
        place = tuple(record)
        is_present[place] = has_pulse(raw[place], sampling_frequency)
    return is_present


def has_pulse(raw: np.ndarray, sampling_frequency: float) -> bool:
    """Whether float (12, time), mV, unfiltered, holds a calibration pulse: the proof, without the sign."""
    return _has_common_pulse(raw, sampling_frequency) or _has_equal_steps(raw, sampling_frequency)


def _has_common_pulse(raw: np.ndarray, sampling_frequency: float) -> bool:
    """Whether both sums of limb leads carry the same pulse."""
    sums = _COMMON_MODE.astype(raw.dtype) @ raw
    sums -= np.median(sums, axis=-1, keepdims=True)
    height = float(np.abs(sums[1]).max())
    if height < _PULSE_MV:
        return False
    agree = np.abs(sums[0] - sums[1]) < _PULSE_TOLERANCE * np.abs(sums[1])
    return any(
        _is_within(_COMMON_PULSE_SECONDS, start, end, sampling_frequency)
        for sign in (1, -1)
        for start, end in _runs(agree & (sign * sums[1] > max(_PULSE_MV, height / 2)))
    )


def _has_equal_steps(raw: np.ndarray, sampling_frequency: float) -> bool:
    """Whether all of the eight independent leads step by one height, and back, or hold one value in between."""
    eight = raw[_INDEPENDENT_ROWS]
    width = max(1, round(0.01 * sampling_frequency))
    if eight.shape[1] <= 2 * width:
        return False
    steps = eight[:, 2 * width :] - eight[:, : -2 * width]
    highest = max(float(steps.min(axis=0).max()), -float(steps.max(axis=0).min()))
    edges = sorted(
        ((start + end) // 2 + width, sign)
        for sign in (1, -1)
        # A QRS complex may hide the step in one lead.
        for start, end in _runs(np.count_nonzero(sign * steps > max(_STEP_MV, highest / 2), axis=0) >= len(eight) - 1)
    )
    ends = [(0, -edges[0][1]), (raw.shape[-1], -edges[-1][1])] if edges else []
    for (start, sign), (end, other) in combinations(sorted(edges + ends), 2):
        if sign == other or not _is_within(_PULSE_SECONDS, start, end, sampling_frequency):
            continue
        plateau = eight[:, start + 2 * width : end - 2 * width]
        apart = np.sort(np.ptp(plateau - np.median(plateau, axis=0), axis=1))[-2]
        inner = [edge for edge in (start, end) if 3 * width <= edge <= raw.shape[-1] - 3 * width]
        if apart < _PLATEAU_MV or (inner and all(_is_step_equal(eight, edge, width) for edge in inner)):
            return True
    return False


def _is_step_equal(signal: np.ndarray, edge: int, width: int) -> bool:
    """Whether all leads but one step by one height: the median of 20 ms after an edge less that of 20 ms before it."""
    before, after = signal[:, edge - 3 * width : edge - width], signal[:, edge + width : edge + 3 * width]
    height = np.median(after, axis=1) - np.median(before, axis=1)
    usual = float(np.median(height))
    return bool(np.sort(np.abs(height - usual))[-2] < _PULSE_TOLERANCE * abs(usual))


def _is_within(limits: tuple[float, float], start: int, end: int, sampling_frequency: float) -> bool:
    return limits[0] <= (end - start) / sampling_frequency <= limits[1]


def _runs(chosen: np.ndarray) -> list[tuple[int, int]]:
    """Start and end, exclusive, of each run of True in bool (time,)."""
    changes = np.flatnonzero(np.diff(np.concatenate([[False], chosen, [False]]).view(np.int8)))
    return [(int(start), int(end)) for start, end in changes.reshape(-1, 2)]


def find_repeats(raw: np.ndarray, filtered: np.ndarray, sampling_frequency: float) -> np.ndarray:
    """Whether a block of 3 s or more stands in the recording twice, 1.5 s or more apart; bool (...,).

    Beats resemble each other, noise does not: copies agree in the curvature's signs between beats, too. The proof
    allows for copies that were resampled and rounded anew.

    Args:
        raw: float (..., 12, time), mV, unfiltered.
        filtered: float (..., 12, samples), mV at 100 Hz, recorded part.
        sampling_frequency: of `raw`, Hz.
    """
    is_present = np.zeros(raw.shape[:-2], dtype=bool)
    shortest = round(_MIN_PERIOD_SECONDS * SAMPLING_FREQUENCY)
    if filtered.shape[-1] < shortest + _MIN_COPY_SECONDS * SAMPLING_FREQUENCY:
        return is_present
    likeness = _sign_likeness(_SIGNS.astype(filtered.dtype) @ filtered, filtered.shape[-1])
    highest = likeness[..., shortest : filtered.shape[-1] // 2 + 1].max(axis=-1)
    of_beats = likeness[..., round(_MIN_BEAT_SECONDS * SAMPLING_FREQUENCY) : shortest].max(axis=-1)
    is_block = (highest > _LIKENESS) & ((of_beats < _RHYTHM_SHARE * highest) | (highest > _HIGH_LIKENESS))
    for record in np.argwhere(is_block):
        is_present[tuple(record)] = _has_copy(raw[tuple(record)], sampling_frequency)
    return is_present


def _sign_likeness(mixture: np.ndarray, length: int) -> np.ndarray:
    """How alike the curvature's signs are at each lag around a circle of `length`, (..., time) to (..., length)."""
    curvature = mixture[..., 2:] - 2 * mixture[..., 1:-1] + mixture[..., :-2]
    waves = np.fft.rfft(np.sign(curvature), length)
    return np.asarray(np.fft.irfft(waves.real**2 + waves.imag**2, length) / mixture.shape[-1])


def _has_copy(raw: np.ndarray, sampling_frequency: float) -> bool:
    """Whether (12, time) holds a block twice: the likeliest lags are tried. A rhythm of equal beats does not count."""
    factor = ceil(_SHARPEST_HERTZ / sampling_frequency)
    rate = factor * sampling_frequency
    fine = _finer(raw, factor)
    time, spread = fine.shape[1], round(rate / SAMPLING_FREQUENCY)
    overlap = np.maximum(time - np.arange(time), rate)
    likeness = _sign_likeness(_SIGNS @ fine, 2 * time)[:time] * time / overlap
    curvature = fine[:, 2 * spread :] - 2 * fine[:, spread:-spread] + fine[:, : -2 * spread]
    shortest, beat = round(_MIN_PERIOD_SECONDS * rate), round(_MIN_BEAT_SECONDS * rate)
    longest = time - round(_MIN_COPY_SECONDS * rate)
    for _ in range(_CANDIDATE_LAGS):
        lag = shortest + int(likeness[shortest:longest].argmax())
        difference = _least_difference(curvature, lag, rate)
        if difference < _COPY_DIFFERENCE:
            middle = beat + int(likeness[beat:shortest].argmax())
            near = range(middle - spread // 2, middle + spread // 2 + 1)
            of_beats = min(_least_difference(curvature, lag, rate) for lag in near)
            return of_beats > _RHYTHM_DIFFERENCE * difference + _EXACT_DIFFERENCE
        likeness[max(0, lag - spread) : lag + spread + 1] = 0
    return False


def _finer(raw: np.ndarray, factor: int) -> np.ndarray:
    """The recording, (12, time), at a multiple of its sampling frequency."""
    if factor == 1:
        return raw
    from scipy import signal as dsp  # most of a second, which decoders of most recordings do without

    return dsp.resample_poly(raw, factor, 1, axis=1, padtype="line")


def _least_difference(curvature: np.ndarray, lag: int, rate: float) -> float:
    """By what share of both the curvature, (12, time), differs from that a lag later in the 3 s that differ least."""
    size = np.abs(curvature).sum(axis=0)
    pairs = np.stack([np.abs(curvature[:, lag:] - curvature[:, :-lag]).sum(axis=0), size[lag:] + size[:-lag]])
    sums = np.cumsum(pairs, axis=1, dtype=np.float64)
    width = round(_MIN_COPY_SECONDS * rate) - 2 * round(rate / SAMPLING_FREQUENCY) - 1
    difference, both = sums[:, width:] - sums[:, :-width]
    return float(np.where(both > 0, difference / np.where(both > 0, both, 1), 1).min())
