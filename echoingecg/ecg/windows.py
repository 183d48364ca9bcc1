"""Windows of ten seconds: which of a recording may count, and how they are filtered and assessed in batches.

A window's bytes and findings do not depend on the windows beside it: every product has a shape of its own
(fast_filter.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import ceil

import numpy as np

from data_contracts.conventions import LEADS, SAMPLES, SAMPLING_FREQUENCY
from echoingecg.common import Refusal
from echoingecg.ecg import quality
from echoingecg.ecg.fast_filter import filter_records
from echoingecg.ecg.filter import longest_context, whole_context
from echoingecg.ecg.stretches import BadBlocks, find_bad_blocks, has_pulse
from echoingecg.recipe import EcgSettings

_WINDOW_SECONDS = SAMPLES / SAMPLING_FREQUENCY
# Beyond this the gain must be wrong: surface ECGs stay under 10 mV, pacing spikes included (filtered).
_MAX_MV = 50.0
_SEARCH_SECONDS = 300.0  # of a long recording that may have to be held until its first window is judged
WINDOWS_PER_BATCH = 16  # 4 MB at 500 Hz


def _no_context() -> np.ndarray:
    return np.zeros((len(LEADS), 0), np.float32)


@dataclass(frozen=True)
class Window:
    """At most 10 s of a recording, unfiltered.

    Attributes:
        raw: float32 (12, time), mV, without NaN, leads in the order of data_contracts.conventions.LEADS.
        missing: (12,) share of samples that were missing; 1 for a lead that is not there, whose samples are 0.
        start: in the recording, samples of the source.
        before, after: float32 (12, samples), what the recording holds there, as far as the filter may use it.
        heart_rate: that the file states, 1/min; NaN for none.
    """

    raw: np.ndarray
    missing: np.ndarray
    start: int
    before: np.ndarray = field(default_factory=_no_context)
    after: np.ndarray = field(default_factory=_no_context)
    heart_rate: float = float("nan")


@dataclass(frozen=True)
class Processed:
    """One filtered ECG, ready for the pool.

    Attributes:
        signal: float32 (12, 1000), mV at 100 Hz, leads in the order of data_contracts.conventions.LEADS.
        quality: uint16 (12,), bit mask of data_contracts.ecg.QUALITY_FLAGS.
        findings: bit mask of data_contracts.ecg.RECORD_FLAGS.
        bad_seconds: uint8 (12,), see data_contracts.ecg.BAD_SECONDS.
        start: of the window in the recording, samples of the source.
        defects: what speaks against it, to be compared with another window's: the number of findings on the
            recording, on its leads, and the sum of the leads' missing shares.
    """

    signal: np.ndarray
    quality: np.ndarray
    findings: int
    bad_seconds: np.ndarray
    start: int
    defects: tuple[int, int, float]


class Rows:
    """Arrays that are asked for one after another, as rows of arrays of `WINDOWS_PER_BATCH`: `stacked` copies none."""

    def __init__(self) -> None:
        self._free: list[np.ndarray] = []

    def __call__(self, shape: tuple[int, int]) -> np.ndarray:
        """The next row, float32; of a new array where none is left or where the shape is another."""
        if not self._free or self._free[0].shape != shape:
            self._free = list(np.empty((WINDOWS_PER_BATCH, *shape), np.float32))
        return self._free.pop(0)


def stacked(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays of equal shape as one: a copy, or the array of `Rows` whose rows they are, all of them and in order."""
    whole = rows[0].base
    if isinstance(whole, np.ndarray) and whole.shape == (len(rows), *rows[0].shape):  # a base may be bytes, too
        places = (row.__array_interface__ for row in rows)
        own = (row.__array_interface__ for row in whole)
        if all(place == mine for place, mine in zip(places, own, strict=True)):
            return whole
    return np.stack(rows)


def check_length(time: int, sampling_frequency: float, settings: EcgSettings) -> None:
    """Raises Refusal(too_short) for a recording shorter than the recipe asks for; one sample may be missing.

    Args:
        time: samples of the recording.
        sampling_frequency: Hz.
        settings: `min_duration` and `short`.
    """
    needed = max(_WINDOW_SECONDS, settings.min_duration) if settings.short == "refuse" else settings.min_duration
    if time + 1 < needed * sampling_frequency:
        raise Refusal("too_short", f"{time / sampling_frequency:.2f} s, the recipe asks for {needed:g}")


def window_slices(time: int, sampling_frequency: float, settings: EcgSettings) -> list[slice]:
    """Candidate windows of 10 s, in the order of preference among equals; a shorter recording is one window.

    Args:
        time: samples of the recording.
        sampling_frequency: Hz.
        settings: `long`, `window_step` and `most_windows`.
    """
    width = ceil(_WINDOW_SECONDS * sampling_frequency)
    if settings.long == "first":
        time = min(time, max(width, round(_SEARCH_SECONDS * sampling_frequency)))
    if time <= width:
        return [slice(0, time)]
    step = max(1, round(settings.window_step * sampling_frequency))
    starts = [*range(0, time - width, step), time - width]
    if settings.long == "several":
        starts = starts[: settings.most_windows]
    return [slice(start, start + width) for start in starts]


def with_context(window: Window, signal: np.ndarray, sampling_frequency: float, settings: EcgSettings) -> Window:
    """The window with what the recording holds before and after it, up to 8 s, where the filter may use that.

    Samples that are missing or held, pulses, and values that the window does not come near to are not used: they would
    disturb the window's ends more than a mirror does.

    Args:
        window: of `signal`.
        signal: float32 (12, time), mV, NaN where missing.
        sampling_frequency: Hz.
        settings: `edge` and the limits of findings.
    """
    if settings.edge != "mirror" or window.raw.shape[1] == signal.shape[1]:
        return window
    most, stop = longest_context(sampling_frequency), window.start + window.raw.shape[1]
    before, after = signal[:, max(0, window.start - most) : window.start], signal[:, stop : stop + most]
    reversed_raw, is_there = window.raw[:, ::-1], window.missing < 1
    return replace(
        window,
        before=_sound_part(reversed_raw, before[:, ::-1], is_there, sampling_frequency, settings)[:, ::-1],
        after=_sound_part(window.raw, after, is_there, sampling_frequency, settings),
    )


def _sound_part(
    raw: np.ndarray, beyond: np.ndarray, is_there: np.ndarray, sampling_frequency: float, settings: EcgSettings
) -> np.ndarray:
    """The part of `beyond`, (12, samples), that may be context; it begins where the window `raw` ends."""
    is_known = np.isfinite(beyond).all(axis=0)
    length = beyond.shape[1] if is_known.all() else int(is_known.argmin())
    length = whole_context(length, sampling_frequency)
    if length == 0:
        return _no_context()
    part = beyond[:, :length]
    highest, lowest = raw.max(axis=1), raw.min(axis=1)
    room = highest - lowest
    if (part.max(axis=1) > highest + room).any() or (part.min(axis=1) < lowest - room).any():
        return _no_context()
    seam = np.ascontiguousarray(np.concatenate([raw[:, -longest_context(sampling_frequency) :], part], axis=1))
    if has_pulse(seam, sampling_frequency):
        return _no_context()
    blocks = find_bad_blocks(seam, sampling_frequency, settings)
    is_held = blocks.flat[is_there].any() or blocks.clipped[is_there].any()
    return _no_context() if is_held else part.copy()  # a view would keep the whole recording in memory


def filter_windows(windows: list[tuple[Window, float]], settings: EcgSettings) -> list[Processed | Refusal]:
    """Filters and assesses windows; one outcome each, in order.

    Args:
        windows: each with its sampling frequency, Hz; rates and lengths may differ.
        settings: the recipe's section `ecg`.
    """
    outcomes: dict[int, Processed | Refusal] = {}
    groups: dict[tuple[float, ...], list[int]] = {}
    for number, (window, frequency) in enumerate(windows):
        lengths = (part.shape[1] for part in (window.raw, window.before, window.after))
        groups.setdefault((frequency, *lengths), []).append(number)
    for (frequency, *_), members in groups.items():
        for start in range(0, len(members), WINDOWS_PER_BATCH):
            batch = members[start : start + WINDOWS_PER_BATCH]
            processed = _filter_batch([windows[number][0] for number in batch], frequency, settings)
            outcomes.update(zip(batch, processed, strict=True))
    return [outcomes[number] for number in range(len(windows))]


def _filter_batch(
    windows: Sequence[Window], sampling_frequency: float, settings: EcgSettings
) -> Sequence[Processed | Refusal]:
    """One outcome for each window; all have one rate and length, of context too. What follows a short one is filled."""
    raw = stacked([window.raw for window in windows])
    context = windows[0].before.shape[1], windows[0].after.shape[1]
    whole = raw
    if context != (0, 0):
        whole = np.stack([np.concatenate([window.before, window.raw, window.after], axis=1) for window in windows])
    try:
        filtered = filter_records(whole, sampling_frequency, settings, context)
    except Refusal as refusal:
        return [refusal] * len(windows)
    recorded = quality.recorded_samples(raw.shape[-1], sampling_frequency)
    blocks = find_bad_blocks(raw, sampling_frequency, settings)
    refusals = _implausible(filtered, recorded, blocks, settings)
    kept = [row for row in range(len(windows)) if row not in refusals]
    outcomes: dict[int, Processed | Refusal] = {**refusals}
    if refusals:
        raw, filtered, blocks = raw[kept], filtered[kept], blocks.records(kept)
    if kept:
        missing = np.stack([windows[row].missing for row in kept])
        rates = np.array([windows[row].heart_rate for row in kept])
        flags = quality.assess_quality(raw, missing, filtered, sampling_frequency, settings, blocks, rates)
        if settings.short == "repeat" and recorded < SAMPLES:
            filtered = filtered[..., np.arange(SAMPLES) % recorded]
        bad_seconds = np.where(missing < 1, blocks.bad_seconds(), np.uint8(0))
        rows = zip(kept, filtered, *flags, bad_seconds, strict=True)
        for row, signal, lead_flags, record_flags, seconds in rows:
            window, findings = windows[row], int(record_flags)
            lead_findings = sum(int(lead).bit_count() for lead in lead_flags)
            defects = findings.bit_count(), lead_findings, float(window.missing.sum())
            outcomes[row] = Processed(signal, lead_flags, findings, seconds, window.start, defects)
    return [outcomes[row] for row in range(len(windows))]


def _implausible(filtered: np.ndarray, recorded: int, blocks: BadBlocks, settings: EcgSettings) -> dict[int, Refusal]:
    """Refusals, by row, of those records of (record, 12, 1000) whose gain must be wrong.

    A record without any signal is left to the finding `no_signal`.
    """
    refusals: dict[int, Refusal] = {}
    largest = np.maximum(filtered.max(axis=(1, 2)), -filtered.min(axis=(1, 2)))
    amplitudes = quality.typical_amplitude(filtered[..., :recorded], SAMPLING_FREQUENCY, blocks)
    is_silent = (blocks.height == 0).all(axis=-1)
    for row, (maximum, amplitude) in enumerate(zip(largest, amplitudes, strict=True)):
        if is_silent[row]:
            continue
        try:
            if not maximum <= _MAX_MV:
                raise Refusal("implausible", f"{maximum:.3g} mV after filtering")
            quality.check_plausible(float(amplitude), settings)
        except Refusal as refusal:
            refusals[row] = refusal
    return refusals
