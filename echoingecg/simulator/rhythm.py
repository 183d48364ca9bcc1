"""When the heart beats: shared by the ECG and by the echo's contraction."""

from typing import Final

import numpy as np

from echoingecg.simulator.patient import Heart

_SINUS_ARRHYTHMIA: Final = 0.03  # relative swing of the RR interval with respiration
_SINUS_JITTER: Final = 0.012  # relative beat-to-beat scatter
_FIBRILLATION_SCATTER: Final = 0.20  # of log RR: "irregularly irregular"
_SHORTEST_RR: Final = 0.33  # s, refractory atrioventricular node


def beat_times(heart: Heart, duration: float, rng: np.random.Generator) -> np.ndarray:
    """Times of the R peaks.

    Args:
        heart: rate and rhythm are read.
        duration: s. Beats from before 0 to after `duration` are given, so that no edge lacks a neighbour.

    Returns:
        float64 (beat,), s, ascending.
    """
    mean = 60 / heart.heart_rate
    count = int(np.ceil(duration / mean)) + 12
    if heart.atrial_fibrillation:
        intervals = mean * np.exp(rng.normal(-(_FIBRILLATION_SCATTER**2) / 2, _FIBRILLATION_SCATTER, count))
    else:
        breath = np.sin(2 * np.pi * rng.uniform(0.2, 0.3) * mean * np.arange(count) + rng.uniform(0, 2 * np.pi))
        intervals = mean * (1 + _SINUS_ARRHYTHMIA * breath + rng.normal(0, _SINUS_JITTER, count))
    times = np.cumsum(np.maximum(intervals, _SHORTEST_RR))
    return times - times[4] - rng.uniform(0, mean)
