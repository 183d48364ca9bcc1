"""What an electrode adds to an ECG: drift, mains, muscle (the kinds of Friesen et al., IEEE TBME 1990;37:85)."""

from typing import Final

import numpy as np

MAINS: Final = 60.0  # Hz, as in MIMIC's hospital
_MAINS_MV: Final = 0.006
_DRIFT_MV: Final = 0.05
_TWO_ELECTRODES: Final = np.sqrt(2)  # a limb lead is the difference of two: amplitudes below are those of a lead


def electrode_noise(
    electrodes: int, time: np.ndarray, breath: np.ndarray, muscle_mv: float, rng: np.random.Generator
) -> np.ndarray:
    """Noise of electrodes, each its own.

    Args:
        electrodes: how many.
        time: (time,) s, evenly spaced.
        breath: (time,) respiration, -1 to 1.
        muscle_mv: standard deviation of muscle noise in a limb lead, mV.
        rng: draws all of it.

    Returns:
        float64 (electrodes, time), mV.
    """
    noise = _drift(electrodes, time, breath, rng) + _mains(electrodes, time, rng)
    return (noise + _muscle(electrodes, len(time), muscle_mv, rng)) / _TWO_ELECTRODES


def _drift(electrodes: int, time: np.ndarray, breath: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Baseline wander: respiration and two slower swings."""
    slow = np.sin(2 * np.pi * (np.outer((0.07, 0.17), time) + rng.random((2, 1))))
    return rng.normal(0, _DRIFT_MV, (electrodes, 3)) @ np.vstack([breath, slow])


def _mains(electrodes: int, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.outer(rng.rayleigh(_MAINS_MV, electrodes), np.sin(2 * np.pi * (MAINS * time + rng.random())))


def _muscle(electrodes: int, samples: int, muscle_mv: float, rng: np.random.Generator) -> np.ndarray:
    """White noise, with the slow half of its power removed, that swells and fades."""
    white = rng.standard_normal((electrodes, samples + 1))
    swell = 1 + 0.5 * np.sin(2 * np.pi * (np.linspace(0, rng.uniform(0.5, 2), samples) + rng.random()))
    return muscle_mv * np.diff(white, axis=1) / np.sqrt(2) * swell
