"""Which ten seconds of a recording count, and what fills up a shorter one.

Windows of recordings, filtered and judged, those of one rate and length together.

A window's bytes and findings do not depend on its company: every product has a shape of its own (batch.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from data_contracts.conventions import SAMPLES, SAMPLING_FREQUENCY
from echoingecg.common import Refusal
from echoingecg.ecg.fast_filter import filter_records
from echoingecg.ecg.quality import assess_quality, check_plausible, recorded_samples, typical_amplitude
from echoingecg.recipe import EcgSettings

DURATION = SAMPLES / SAMPLING_FREQUENCY  # s


def check_length(time: int, sampling_frequency: float, settings: EcgSettings) -> None:
    """Raises Refusal(too_short) when the recipe asks for more; one sample may be missing.

    Args:
        time: samples of the recording.
        sampling_frequency: Hz.
        settings: `min_duration` and `short`.
    """
    needed = max(DURATION, settings.min_duration) if settings.short == "refuse" else settings.min_duration
    if time + 1 < needed * sampling_frequency:
        raise Refusal("too_short", f"{time / sampling_frequency:.2f} s, the recipe asks for {needed:g}")


def window_slices(time: int, sampling_frequency: float, settings: EcgSettings) -> list[slice]:
    """Windows of 10 s that may count, in the order of preference among equals; a shorter recording is one.

    Args:
        time: samples of the recording.
        sampling_frequency: Hz.
        settings: `long`, `window_step` and `most_windows`.
    """
    width = ceil(DURATION * sampling_frequency)
    if time <= width or settings.long == "first":
        return [slice(0, min(time, width))]
    step = max(1, round(settings.window_step * sampling_frequency))
    starts = [*range(0, time - width, step), time - width]
    if settings.long == "several":
        starts = starts[: settings.most_windows]
    return [slice(start, start + width) for start in starts]


def count_defects(quality: np.ndarray, findings: int, missing: np.ndarray) -> tuple[int, int, float]:
    """What speaks against a window, to be compared: findings on the recording, on leads, missing samples.

    Args:
        quality: uint8 (12,), bit mask a lead.
        findings: bit mask of the recording.
        missing: (12,) share of missing samples.
    """
    return findings.bit_count(), sum(int(lead).bit_count() for lead in quality), float(missing.sum())


def fill_short_window(filtered: np.ndarray, recorded: int, settings: EcgSettings) -> np.ndarray:
    """The filtered signal with what follows its recorded part as the recipe wants it.

    Args:
        filtered: float32 (lead, 1000); 0 mV, the filter's rest, after `recorded`.
        recorded: samples at 100 Hz that are recorded.
        settings: `short`.

    Returns:
        `filtered` itself, or for `repeat` the recorded part over and over.
    """
    if settings.short != "repeat" or recorded >= filtered.shape[-1]:
        return filtered
    return filtered[..., np.arange(filtered.shape[-1]) % recorded]


# Beyond this the gain must be wrong: surface ECGs stay under 10 mV, pacing spikes included (filtered).
_MAX_MV = 50.0
_TOGETHER = 16  # windows that are filtered and judged together: 4 MB at 500 Hz


@dataclass(frozen=True)
class Window:
    """At most 10 s of a recording.

    Attributes:
        raw: float32 (12, time), mV, without NaN, leads in the order of data_contracts.conventions.LEADS.
        missing: (12,) share of samples that were missing.
        start: in the recording, samples of the source.
    """

    raw: np.ndarray
    missing: np.ndarray
    start: int


@dataclass(frozen=True)
class Processed:
    """One ECG, ready for the pool.

    Attributes:
        signal: float32 (12, 1000), mV at 100 Hz, leads in the order of data_contracts.conventions.LEADS.
        quality: uint8 (12,), bit mask of data_contracts.ecg.QUALITY_FLAGS.
        findings: bit mask of data_contracts.ecg.RECORD_FLAGS.
        start: of the window in the recording, samples of the source.
        defects: what speaks against it, to be compared with another window.
    """

    signal: np.ndarray
    quality: np.ndarray
    findings: int
    start: int
    defects: tuple[int, int, float]


def filter_windows(parts: list[tuple[Window, float]], settings: EcgSettings) -> list[Processed | Refusal]:
    """One outcome a window, in order.

    Args:
        parts: windows and their sampling frequencies in Hz, alike or not.
        settings: the recipe's section `ecg`.
    """
    outcomes: dict[int, Processed | Refusal] = {}
    alike: dict[tuple[float, int], list[int]] = {}
    for at, (window, frequency) in enumerate(parts):
        alike.setdefault((frequency, window.raw.shape[1]), []).append(at)
    for (frequency, _), members in alike.items():
        for start in range(0, len(members), _TOGETHER):
            some = members[start : start + _TOGETHER]
            found = _judged_together([parts[at][0] for at in some], frequency, settings)
            outcomes.update(zip(some, found, strict=True))
    return [outcomes[at] for at in range(len(parts))]


def _judged_together(
    windows: Sequence[Window], sampling_frequency: float, settings: EcgSettings
) -> Sequence[Processed | Refusal]:
    """One outcome for each window of one rate and length."""
    raw = np.stack([window.raw for window in windows])
    try:
        filtered = filter_records(raw, sampling_frequency, settings)
    except Refusal as refusal:
        return [refusal] * len(windows)
    recorded = recorded_samples(raw.shape[-1], sampling_frequency)
    refusals = _implausible(filtered, recorded, settings)
    kept = [at for at in range(len(windows)) if at not in refusals]
    outcomes: dict[int, Processed | Refusal] = {**refusals}
    if refusals:
        raw, filtered = raw[kept], filtered[kept]
    if kept:
        missing = np.stack([windows[at].missing for at in kept])
        found = zip(kept, filtered, *assess_quality(raw, missing, filtered, sampling_frequency, settings), strict=True)
        for at, signal, leads, whole in found:
            window, findings = windows[at], int(whole)
            against = count_defects(leads, findings, window.missing)
            signal = fill_short_window(signal, recorded, settings)
            outcomes[at] = Processed(signal, leads, findings, window.start, against)
    return [outcomes[at] for at in range(len(windows))]


def _implausible(filtered: np.ndarray, recorded: int, settings: EcgSettings) -> dict[int, Refusal]:
    """By their place, those of (record, 12, 1000) whose gain must be wrong."""
    refusals: dict[int, Refusal] = {}
    largest = np.maximum(filtered.max(axis=(1, 2)), -filtered.min(axis=(1, 2)))
    amplitudes = typical_amplitude(filtered[..., :recorded], SAMPLING_FREQUENCY)
    for at, (most, amplitude) in enumerate(zip(largest, amplitudes, strict=True)):
        try:
            if not most <= _MAX_MV:
                raise Refusal("implausible", f"{most:.3g} mV after filtering")
            check_plausible(float(amplitude), settings)
        except Refusal as refusal:
            refusals[at] = refusal
    return refusals
