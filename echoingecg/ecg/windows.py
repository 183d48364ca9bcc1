"""Which ten seconds of a recording count, and what fills up a shorter one."""

from math import ceil
from typing import Final

import numpy as np

from data_contracts.conventions import SAMPLES, SAMPLING_FREQUENCY
from echoingecg.common.errors import Refusal
from echoingecg.recipe import EcgSettings

DURATION: Final = SAMPLES / SAMPLING_FREQUENCY  # s


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


def windows(time: int, sampling_frequency: float, settings: EcgSettings) -> list[slice]:
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


def burden(quality: np.ndarray, findings: int, missing: np.ndarray) -> tuple[int, int, float]:
    """What speaks against a window, to be compared: findings on the recording, on leads, missing samples.

    Args:
        quality: uint8 (12,), bit mask a lead.
        findings: bit mask of the recording.
        missing: (12,) share of missing samples.
    """
    return findings.bit_count(), sum(int(lead).bit_count() for lead in quality), float(missing.sum())


def fill_up(filtered: np.ndarray, recorded: int, settings: EcgSettings) -> np.ndarray:
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
