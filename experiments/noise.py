"""Noise to be added to filtered ECGs, and what it does to a student."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Literal, get_args

import numpy as np

from data_contracts.conventions import SAMPLING_FREQUENCY
from echoingecg.evaluation.data.embed import GaussianTable, StudentModel

Noise = Literal["muscle", "wander"]
KINDS: tuple[Noise, ...] = get_args(Noise)
WANDER_HZ = (0.05, 0.5)  # breathing and slow drift of electrodes, as if no filter had taken them away
LEVELS = (0.0, 0.05, 0.1, 0.2, 0.4)  # mV, standard deviation of what is added to a lead


def added(kind: Noise, shape: tuple[int, int, int], seed: int) -> np.ndarray:
    """Noise of standard deviation 1 for every lead, to be scaled: (ecg, lead, time) float32.

    It goes onto signals that the ECG filter has passed, so that all of it reaches the network.
    'muscle' is white (to 50 Hz), 'wander' a sine of 0.05 to 0.5 Hz, each lead with a phase of its own.
    """
    random = np.random.default_rng(seed)
    if kind == "muscle":
        return random.standard_normal(shape, np.float32)
    ecgs, leads, samples = shape
    frequency = random.uniform(*WANDER_HZ, (ecgs, 1, 1))
    phase = random.uniform(0, 2 * np.pi, (ecgs, leads, 1))
    wave = np.sin(2 * np.pi * frequency * np.arange(samples) / SAMPLING_FREQUENCY + phase)
    wave -= wave.mean(axis=2, keepdims=True)  # under half a period is far from mean 0, deviation 1
    return (wave / wave.std(axis=2, keepdims=True)).astype(np.float32)


def rises(values: list[float]) -> bool:
    """Whether each value is above the one before."""
    return all(later > earlier for earlier, later in pairwise(values))


def under_noise(
    student: StudentModel, signals: np.ndarray, seed: int, measured: Mapping[str, Callable[[GaussianTable], float]]
) -> dict[str, dict[str, list[float]]]:
    """What noise does at each of LEVELS, by measure and kind of noise; the same noise, scaled, at every level.

    Args:
        student: the trained student.
        signals: (n, 12, time) float32, mV.
        seed: of the noise.
        measured: by name, a number for the n ECGs.
    """
    found: dict[str, dict[str, list[float]]] = {name: {} for name in measured}
    for kind in KINDS:
        noise = added(kind, signals.shape, seed)
        embedded = [
            GaussianTable.from_log_var(*student.embed_ecg(signals + np.float32(level) * noise)) for level in LEVELS
        ]
        for name, measure in measured.items():
            found[name][kind] = [measure(one) for one in embedded]
    return found
