"""Amplitudes that no ECG has: a gain or a unit that the file states wrongly."""

from functools import lru_cache
from math import isnan
from typing import Final

import numpy as np

from echoingecg.ecg.levels import median
from echoingecg.errors import Refusal
from echoingecg.recipe import EcgSettings

_WINDOW: Final = 2.0  # s: holds a beat at 30 a minute, and little of the baseline's wander


def typical_amplitude(signal: np.ndarray, sampling_frequency: float) -> float:
    """Peak to peak in mV: the median over leads of the median over windows of 2 s, each without its trend.

    Leads that never change, dead ones, are left out; so are windows with missing samples.

    Args:
        signal: float (12, time), mV; may hold NaN.
        sampling_frequency: of `signal`, Hz.

    Returns:
        NaN when every lead is dead or missing.
    """
    width = max(1, min(signal.shape[1], round(_WINDOW * sampling_frequency)))
    count = signal.shape[1] // width
    alive = signal[np.ptp(signal, axis=1) != 0]  # NaN is not 0
    windows = alive[:, : count * width].reshape(len(alive), count, width)
    time = _ramp(width).astype(signal.dtype, copy=False)
    slope = (windows @ time / max(float(time @ time), 1.0))[..., None]
    straight = windows - slope * time
    heights = straight.max(axis=2) - straight.min(axis=2)
    if np.isfinite(heights).all():
        return float(median(median(heights))) if heights.size else float("nan")
    leads = [np.median(row[np.isfinite(row)]) for row in heights if np.isfinite(row).any()]
    return float(np.median(leads)) if leads else float("nan")


@lru_cache(maxsize=8)
def _ramp(width: int) -> np.ndarray:
    return np.linspace(-1.0, 1.0, width, dtype=np.float32)


def check_plausible(signal: np.ndarray, sampling_frequency: float, settings: EcgSettings) -> None:
    """Refuses a recording whose gain must be wrong. One in which every lead is dead is not judged here.

    Args:
        signal: float (12, time), mV; the stage gives the filtered one.
        sampling_frequency: of `signal`, Hz.
        settings: `typical_low_mv` and `typical_high_mv`.

    Raises:
        Refusal: implausible.
    """
    amplitude = typical_amplitude(signal, sampling_frequency)
    if not isnan(amplitude) and not settings.typical_low_mv <= amplitude <= settings.typical_high_mv:
        raise Refusal("implausible", f"a typical amplitude of {amplitude:.3g} mV from peak to peak")
