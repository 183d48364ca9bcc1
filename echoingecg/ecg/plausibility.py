"""Amplitudes that no ECG has: a gain or a unit that the file states wrongly."""

from functools import lru_cache
from math import isnan
from typing import Final

import numpy as np

from echoingecg.common.errors import Refusal
from echoingecg.ecg.levels import median
from echoingecg.recipe import EcgSettings

_WINDOW: Final = 2.0  # s: holds a beat at 30 a minute, and little of the baseline's wander


def typical_amplitude(signal: np.ndarray, sampling_frequency: float) -> np.ndarray:
    """Peak to peak in mV: the median over leads of the median over windows of 2 s, each without its trend.

    Leads that never change, dead ones, are left out; so are windows with missing samples.

    Args:
        signal: float (..., 12, time), mV; may hold NaN.
        sampling_frequency: of `signal`, Hz.

    Returns:
        (...,); NaN when every lead is dead or missing.
    """
    time = signal.shape[-1]
    width = max(1, min(time, round(_WINDOW * sampling_frequency)))
    count = time // width
    windows = signal[..., : count * width].reshape(*signal.shape[:-1], count, width)
    ramp = _ramp(width).astype(signal.dtype, copy=False)
    straight = windows - (windows @ ramp / max(float(ramp @ ramp), 1.0))[..., None] * ramp
    heights = straight.max(axis=-1) - straight.min(axis=-1)
    dead = np.ptp(signal, axis=-1) == 0  # NaN is not 0
    if np.isfinite(heights).all() and not dead.any():
        return median(median(heights))
    heights[dead] = np.nan
    return _over_what_is_there(_over_what_is_there(np.where(np.isfinite(heights), heights, np.nan)))


def _over_what_is_there(values: np.ndarray) -> np.ndarray:
    """Median along the last axis without NaN; NaN where nothing else is."""
    there = ~np.isnan(values)
    found = np.nanmedian(np.where(there.any(axis=-1, keepdims=True), values, 0), axis=-1)
    return np.where(there.any(axis=-1), found, np.nan)


@lru_cache(maxsize=8)
def _ramp(width: int) -> np.ndarray:
    return np.linspace(-1.0, 1.0, width, dtype=np.float32)


def check_plausible(amplitude: float, settings: EcgSettings) -> None:
    """Refuses a recording whose gain must be wrong. One in which every lead is dead is not judged here.

    Args:
        amplitude: of `typical_amplitude`; the stage gives that of the filtered signal.
        settings: `typical_low_mv` and `typical_high_mv`.

    Raises:
        Refusal: implausible.
    """
    if not isnan(amplitude) and not settings.typical_low_mv <= amplitude <= settings.typical_high_mv:
        raise Refusal("implausible", f"a typical amplitude of {amplitude:.3g} mV from peak to peak")
