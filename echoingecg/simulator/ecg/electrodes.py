"""What electrodes and leads make of the heart vector: the lead matrix, noise, and faults of a recording.

All faults but saturation act on the potentials of the electrodes, so that every lead of an electrode shows the fault
(through Wilson's central terminal a limb electrode's also in V1 to V6), and Einthoven's and Goldberger's identities
hold. Saturation acts on a recorded channel; leads computed from it (III and the augmented leads) inherit it.
Kinds of noise: Friesen et al., IEEE TBME 1990;37:85. Kinds of faults: Silva et al., Comput Cardiol 2011;38:273
(missing, saturated, motion: the quality challenge of PhysioNet).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from echoingecg.ecg.electrodes import ELECTRODES, INDEPENDENT

MAINS = 60.0  # Hz, as in MIMIC's hospital
_MAINS_NOISE_MV = 0.006
_DRIFT_MV = 0.05
_TWO_ELECTRODES = np.sqrt(2)  # a limb lead is the difference of two: amplitudes below are those of a lead
Kind = Literal["electrode off", "arm electrodes swapped", "saturated lead", "motion artefact"]

# Swapped arms are the commonest reversal (Rudiger et al., Am J Emerg Med 2007;25:174); the shares are chosen.
_SHARES: dict[Kind, float] = {
    "electrode off": 0.35, "arm electrodes swapped": 0.2, "saturated lead": 0.15, "motion artefact": 0.3,
}  # fmt: skip
_MAINS_MV = (0.01, 0.15)  # of an open input, after the cardiograph's notch filter
_SATURATION_SHARE = (0.35, 0.7)  # of the largest deflection at which a channel saturates
_BURST_MV = (0.8, 2.5)
_BURST_SECONDS = (0.6, 2.5)


def electrode_noise(
    electrodes: int, time: np.ndarray, breath: np.ndarray, muscle_mv: float, rng: np.random.Generator
) -> np.ndarray:
    """Draws the noise of each electrode: drift, mains and muscle.

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
    """Baseline wander: respiration and two slower oscillations."""
    slow = np.sin(2 * np.pi * (np.outer((0.07, 0.17), time) + rng.random((2, 1))))
    return rng.normal(0, _DRIFT_MV, (electrodes, 3)) @ np.vstack([breath, slow])


def _mains(electrodes: int, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.outer(rng.rayleigh(_MAINS_NOISE_MV, electrodes), np.sin(2 * np.pi * (MAINS * time + rng.random())))


def _muscle(electrodes: int, samples: int, muscle_mv: float, rng: np.random.Generator) -> np.ndarray:
    """White noise without the slow half of its power, of changing strength."""
    white = rng.standard_normal((electrodes, samples + 1))
    swell = 1 + 0.5 * np.sin(2 * np.pi * (np.linspace(0, rng.uniform(0.5, 2), samples) + rng.random()))
    return muscle_mv * np.diff(white, axis=1) / np.sqrt(2) * swell


@dataclass(frozen=True)
class Fault:
    """One fault of one recording.

    Attributes:
        kind: what went wrong.
        place: the electrode, for "saturated lead" the channel; "RA" for swapped arms.
        seed: determines the course of the disturbance.
    """

    kind: Kind
    place: str
    seed: int


def draw_fault(rate: float, rng: np.random.Generator) -> Fault | None:
    """Draws a fault for `rate` of all recordings, else None; uses the same random numbers in both cases."""
    happens = rng.random() < rate
    kind: Kind = tuple(_SHARES)[rng.choice(len(_SHARES), p=tuple(_SHARES.values()))]
    electrode, channel = rng.choice(ELECTRODES), rng.choice(INDEPENDENT)
    seed = int(rng.integers(2**32))
    place = "RA" if kind == "arm electrodes swapped" else channel if kind == "saturated lead" else electrode
    return Fault(kind, str(place), seed) if happens else None


def disturb_electrodes(potentials: np.ndarray, time: np.ndarray, fault: Fault | None) -> np.ndarray:
    """Applies a fault of an electrode to the potentials.

    An open input carries mains only: a chest lead shows no heart, a limb lead what the other electrode sees.
    Swapped arms turn lead I upside down and exchange II with III and aVR with aVL; V1 to V6 stay (Batchvarov et
    al., Europace 2007;9:1081). Motion strains the skin under an electrode: a burst of slow swings and steps, with
    power in the band of the QRS and larger than it (Friesen et al., IEEE Trans Biomed Eng 1990;37:85).

    Args:
        potentials: (9, time), mV, electrodes in the order of `ELECTRODES`.
        time: (time,) s, evenly spaced.
        fault: None changes nothing.

    Returns:
        float64 (9, time), mV; a new array where a fault acts.
    """
    if fault is None or fault.kind == "saturated lead":
        return potentials
    delivered = potentials.copy()
    if fault.kind == "arm electrodes swapped":
        delivered[[0, 1]] = potentials[[1, 0]]
        return delivered
    rng = np.random.default_rng(fault.seed)
    row = ELECTRODES.index(fault.place)
    if fault.kind == "electrode off":
        delivered[row] = rng.uniform(*_MAINS_MV) * np.sin(2 * np.pi * (MAINS * time + rng.random()))
    else:
        delivered[row] += _burst(time, rng)
    return delivered


def disturb_leads(independent: np.ndarray, fault: Fault | None) -> np.ndarray:
    """Applies a fault of a channel, (8, time), mV, in the order of `INDEPENDENT`: saturation cuts off one end."""
    if fault is None or fault.kind != "saturated lead":
        return independent
    rng = np.random.default_rng(fault.seed)
    recorded = independent.copy()
    row = recorded[INDEPENDENT.index(fault.place)]
    side = 1.0 if row.max() > -row.min() else -1.0
    np.copyto(row, side * np.minimum(side * row, rng.uniform(*_SATURATION_SHARE) * np.abs(row).max()))
    return recorded


def frontal_axis(axis: float, fault: Fault | None) -> float:
    """QRS axis in the limb leads, degrees: swapped arms mirror it, as only lead I changes its sign."""
    if fault is None or fault.kind != "arm electrodes swapped":
        return axis
    return 180 - axis if axis >= 0 else -180 - axis


def _burst(time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(time,) mV: band-limited noise of 1-10 Hz under a window with a sudden start and a slow end."""
    length = rng.uniform(*_BURST_SECONDS)
    since = time - rng.uniform(0, time[-1] - length)
    window = np.where(
        (since > 0) & (since < length), np.minimum(since / 0.05, 1) * np.cos(np.pi / 2 * since / length), 0
    )
    swings = sum(
        rng.normal() * np.sin(2 * np.pi * (frequency * time + rng.random())) for frequency in rng.uniform(1, 10, 8)
    )
    shape = window * swings
    return rng.uniform(*_BURST_MV) * shape / np.abs(shape).max()
