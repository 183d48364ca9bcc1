"""What an electrode adds to an ECG: drift, mains, muscle."""

from typing import Final

import numpy as np

_MAINS: Final = 60.0  # Hz, as in MIMIC's hospital
_MAINS_MV: Final = 0.006
_DRIFT_MV: Final = 0.05


def lead_noise(
    leads: int, time: np.ndarray, breath: np.ndarray, muscle_mv: float, rng: np.random.Generator
) -> np.ndarray:
    """Noise of independent leads.

    Args:
        leads: how many.
        time: (time,) s, evenly spaced.
        breath: (time,) respiration, -1 to 1.
        muscle_mv: standard deviation of muscle noise, mV.
        rng: draws all of it.

    Returns:
        float64 (leads, time), mV.
    """
    return _drift(leads, time, breath, rng) + _mains(leads, time, rng) + _muscle(leads, len(time), muscle_mv, rng)


def _drift(leads: int, time: np.ndarray, breath: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Baseline wander: respiration and two slower swings."""
    slow = np.sin(2 * np.pi * (np.outer((0.07, 0.17), time) + rng.random((2, 1))))
    return rng.normal(0, _DRIFT_MV, (leads, 3)) @ np.vstack([breath, slow])


def _mains(leads: int, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.outer(rng.rayleigh(_MAINS_MV, leads), np.sin(2 * np.pi * (_MAINS * time + rng.random())))


def _muscle(leads: int, samples: int, muscle_mv: float, rng: np.random.Generator) -> np.ndarray:
    """White noise, with the slow half of its power removed, that swells and fades."""
    white = rng.standard_normal((leads, samples + 1))
    swell = 1 + 0.5 * np.sin(2 * np.pi * (np.linspace(0, rng.uniform(0.5, 2), samples) + rng.random()))
    return muscle_mv * np.diff(white, axis=1) / np.sqrt(2) * swell
