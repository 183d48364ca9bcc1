"""The 12-lead ECG of a heart vector: P, QRS and T as Gaussian dipoles in time, seen through a lead matrix.

Model: McSharry et al., IEEE Trans Biomed Eng 2003;50:289 (Gaussian waves), Sameni et al., EURASIP J Adv
Signal Process 2007:043407 (three-dimensional dipole). Axes are Frank's: x to the left, y downward,
z to the back; mV and s.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from data_contracts.conventions import LEADS
from echoingecg.simulator.noise import lead_noise
from echoingecg.simulator.patient import Heart
from echoingecg.simulator.rhythm import beat_times

SAMPLING_FREQUENCY: Final = 500  # Hz (MIMIC-IV-ECG)
DURATION: Final = 10  # s

# Dower, Machado, Osborne: On deriving the electrocardiogram from vectorcardiographic leads,
# Clin Cardiol 1980;3:87-95. Row: lead, column: x, y, z.
INDEPENDENT: Final = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
DOWER: Final = np.array(
    [
        (0.632, -0.235, 0.059),
        (0.235, 1.066, -0.132),
        (-0.515, 0.157, -0.917),
        (0.044, 0.164, -1.387),
        (0.882, 0.098, -1.277),
        (1.213, 0.127, -0.601),
        (1.125, 0.127, -0.086),
        (0.831, 0.076, 0.230),
    ]
)


@dataclass(frozen=True)
class Wave:
    """One Gaussian dipole.

    Attributes:
        vector: x, y, z at its peak, mV.
        centre: time of the peak after the R peak, s.
        width: standard deviation, s.
        follows_rate: the centre scales with the square root of the preceding RR interval (Bazett), given at 1 s.
    """

    vector: tuple[float, float, float]
    centre: float
    width: float
    follows_rate: bool = False


def simulate_ecg(heart: Heart, rng: np.random.Generator) -> np.ndarray:
    """One recording.

    Returns:
        float64 (lead, time) = (12, 5000), mV, 500 Hz, leads in the order of `LEADS`.
    """
    time = np.arange(DURATION * SAMPLING_FREQUENCY) / SAMPLING_FREQUENCY
    breath = np.sin(2 * np.pi * rng.uniform(0.2, 0.3) * time + rng.uniform(0, 2 * np.pi))
    vector = heart_vector(heart, beat_times(heart, DURATION, rng), time, rng)
    if heart.atrial_fibrillation:
        vector += fibrillation(time, rng)
    seen = DOWER @ _sway(vector, breath, rng)
    seen += lead_noise(len(INDEPENDENT), time, breath, heart.ecg_noise, rng)
    return twelve_leads(seen)


def waves(heart: Heart) -> tuple[Wave, ...]:
    """The waves of one beat at a rate of 60/min."""
    ventricles = _blocked_qrs(heart) if heart.left_bundle_branch_block else _normal_qrs(heart)
    return (() if heart.atrial_fibrillation else _p_wave(heart)) + ventricles + _t_wave(heart)


def heart_vector(heart: Heart, beats: np.ndarray, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sum of all waves of all beats.

    Args:
        heart: shapes the waves.
        beats: (beat,) R peaks, s.
        time: (time,) s.
        rng: scatters amplitude and width from beat to beat.

    Returns:
        float64 (3, time), mV.
    """
    stretch = np.sqrt(np.clip(np.diff(beats, prepend=2 * beats[0] - beats[1]), 0.35, 1.5))
    vector = np.zeros((3, len(time)))
    for wave in waves(heart):
        centres = beats + wave.centre * (stretch if wave.follows_rate else 1.0)
        sizes = rng.normal(1, 0.03, len(beats))
        widths = wave.width * rng.normal(1, 0.02, len(beats))
        vector += np.outer(wave.vector, _gaussians(time, centres, widths, sizes))
    return vector


def fibrillation(time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Fibrillatory waves of 4-9 Hz: (3, time), mV; largest in V1, as in patients."""
    phases = 2 * np.pi * (np.outer(rng.uniform(4, 9, 5), time) + rng.random((5, 1)))
    swell = 1 + 0.4 * np.sin(2 * np.pi * rng.uniform(0.1, 0.4) * time)
    return np.outer((-0.006, 0.012, -0.016), np.sin(phases).sum(axis=0) * swell)


def twelve_leads(independent: np.ndarray) -> np.ndarray:
    """Adds III and the augmented leads by Einthoven's and Goldberger's identities.

    Args:
        independent: (8, time), leads in the order of `INDEPENDENT`.

    Returns:
        (12, time), leads in the order of `LEADS`.
    """
    named = dict(zip(INDEPENDENT, independent, strict=True))
    first, second = named["I"], named["II"]
    named |= {
        "III": second - first,
        "aVR": -(first + second) / 2,
        "aVL": first - second / 2,
        "aVF": second - first / 2,
    }
    return np.stack([named[lead] for lead in LEADS])


def _gaussians(time: np.ndarray, centres: np.ndarray, widths: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """(time,) sum of Gaussians; each is evaluated within 5 standard deviations, beyond it is under 4e-6."""
    total = np.zeros(len(time))
    for centre, width, size in zip(centres, widths, sizes, strict=True):
        first, last = np.searchsorted(time, (centre - 5 * width, centre + 5 * width))
        total[first:last] += size * np.exp(-0.5 * ((time[first:last] - centre) / width) ** 2)
    return total


def _sway(vector: np.ndarray, breath: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Respiration turns the heart by a few degrees in the frontal plane."""
    angle = np.radians(rng.uniform(1, 5)) * breath
    x, y, z = vector
    return np.stack([x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle), z])


def _p_wave(heart: Heart) -> tuple[Wave, ...]:
    """Right atrium first, to the front; then the left, to the back: biphasic in V1."""
    onset = -(heart.pr_interval + heart.qrs_duration / 2) / 1000
    return (
        Wave((0.03, 0.09, -0.06), onset + 0.042, 0.018),
        Wave((0.08, 0.05, 0.05), onset + 0.072, 0.018),
    )


def _normal_qrs(heart: Heart) -> tuple[Wave, ...]:
    """Septum (to the right and front), free wall (the axis), base (up and back)."""
    duration = heart.qrs_duration / 1000
    size = heart.qrs_voltage
    x, y = _frontal(heart)
    return (
        Wave((-0.10 * size, -0.05 * size, -0.28 * size), -0.25 * duration, 0.085 * duration),
        Wave((1.10 * size * x, 1.10 * size * y, 0.22 * size), 0.0, 0.105 * duration),
        Wave((0.0, -0.18 * size, 0.35 * size), 0.24 * duration, 0.105 * duration),
    )


def _blocked_qrs(heart: Heart) -> tuple[Wave, ...]:
    """Left bundle branch block: no septal wave, slow and notched activation to the left and back."""
    duration = heart.qrs_duration / 1000
    size = heart.qrs_voltage
    x, y = _frontal(heart)
    return (
        Wave((0.65 * size * x, 0.65 * size * y, 0.50 * size), -0.20 * duration, 0.11 * duration),
        Wave((0.85 * size * x, 0.85 * size * y, 0.85 * size), 0.14 * duration, 0.13 * duration),
    )


def _t_wave(heart: Heart) -> tuple[Wave, ...]:
    """Slow upstroke, faster downstroke. In block the T vector points away from the QRS (secondary change)."""
    end = heart.qt_corrected / 1000 - heart.qrs_duration / 2000
    direction = np.array((0.72, 0.50, -0.32)) * heart.t_amplitude
    if heart.left_bundle_branch_block:
        direction += np.array((-0.22, -0.05, -0.38)) * heart.qrs_voltage
    x, y, z = (float(one) for one in direction)
    return (
        Wave((0.55 * x, 0.55 * y, 0.55 * z), end - 0.135, 0.048, follows_rate=True),
        Wave((0.65 * x, 0.65 * y, 0.65 * z), end - 0.085, 0.031, follows_rate=True),
    )


def _frontal(heart: Heart) -> tuple[float, float]:
    angle = np.radians(heart.qrs_axis)
    return float(np.cos(angle)), float(np.sin(angle))
