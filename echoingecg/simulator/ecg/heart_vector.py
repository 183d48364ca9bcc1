"""The heart as an electrical dipole: when it beats, and the Gaussian waves (P, QRS, ST, T) of every beat.

Axes are Frank's: x to the left, y downward, z to the back; mV and s. Model: McSharry et al., IEEE Trans Biomed Eng
2003;50:289 (Gaussian waves), Sameni et al., EURASIP J Adv Signal Process 2007:043407 (three-dimensional dipole). Forms:
Surawicz & Knilans, Chou's Electrocardiography in Clinical Practice, 6th ed. 2008; for bundle branch block the criteria
of Surawicz et al., J Am Coll Cardiol 2009;53:976 (AHA/ACCF/HRS, part III). The numbers are tuned by eye to these forms.
"""

from dataclasses import dataclass

import numpy as np

from echoingecg.ecg.electrodes import DOWER
from echoingecg.simulator.population.patient import Heart

_SINUS_ARRHYTHMIA = 0.03  # relative swing of the RR interval with respiration
_SINUS_JITTER = 0.012  # relative beat-to-beat scatter
_FIBRILLATION_SCATTER = 0.20  # of log RR: "irregularly irregular"
_SHORTEST_RR = 0.33  # s, refractory atrioventricular node
_COUPLING = (0.55, 0.70)  # of the RR interval: from a beat to the ectopic one after it
_ECTOPIC_DURATION = 0.150  # s
_FIRST, _SECOND = DOWER[:2, :2]
# Lead I and aVF, the latter at the gain of a bipolar lead, to x and y.
_FROM_LIMB_LEADS = np.linalg.inv(np.stack([_FIRST, (_SECOND - _FIRST / 2) * 2 / np.sqrt(3)]))
# Where an ectopic QRS points: from the right outflow tract, the right apex, the left free wall.
_FOCI = ((0.35, 0.75, 0.56), (0.66, -0.55, 0.51), (-0.62, 0.35, -0.70))


@dataclass(frozen=True)
class Beats:
    """Beats, sorted by time.

    Attributes:
        times: float64 (beat,), s, of the R peaks.
        ectopic: bool (beat,), whether the beat began in a ventricle.
    """

    times: np.ndarray
    ectopic: np.ndarray

    def ectopic_within(self, duration: float) -> int:
        """Counts the ectopic beats between 0 and `duration`, s."""
        return int(np.count_nonzero(self.ectopic & (self.times >= 0) & (self.times < duration)))


def draw_beats(heart: Heart, duration: float, rng: np.random.Generator) -> Beats:
    """Draws the beats of a heart.

    A ventricular ectopic beat comes early and leaves the sinus node's clock alone: the pause after it is
    compensatory, so that the two intervals around it sum to two others (Surawicz & Knilans, Chou's
    Electrocardiography in Clinical Practice, 6th ed. 2008, "Ventricular arrhythmias"). Two never follow
    each other.

    Args:
        heart: rate, rhythm and share of ectopic beats are read.
        duration: s. Beats start before 0 and end after `duration`, so that none at the edges lacks a neighbour.
        rng: draws everything.
    """
    mean = 60 / heart.heart_rate
    count = int(np.ceil(duration / mean)) + 12
    if heart.atrial_fibrillation:
        intervals = mean * np.exp(rng.normal(-(_FIBRILLATION_SCATTER**2) / 2, _FIBRILLATION_SCATTER, count))
    else:
        breath = np.sin(2 * np.pi * rng.uniform(0.2, 0.3) * mean * np.arange(count) + rng.uniform(0, 2 * np.pi))
        intervals = mean * (1 + _SINUS_ARRHYTHMIA * breath + rng.normal(0, _SINUS_JITTER, count))
    intervals = np.maximum(intervals, _SHORTEST_RR)
    ectopic = _choose_ectopic(heart.ectopic_share, rng.random(count))
    early = np.flatnonzero(ectopic)
    gained = np.minimum(1 - rng.uniform(*_COUPLING, count)[early], 1 - _SHORTEST_RR / intervals[early])
    shift = np.zeros(count)
    shift[early] = gained * intervals[early]
    times = np.cumsum(intervals) - shift
    return Beats(times - times[4] - rng.uniform(0, mean), ectopic)


def _choose_ectopic(share: float, chances: np.ndarray) -> np.ndarray:
    """Chooses `share` of the beats, no two in a row, none at the ends: bool (beat,)."""
    chosen = np.zeros(len(chances), bool)
    for beat in range(1, len(chances) - 1):
        # After an ordinary beat, so that the share of all beats comes out as asked.
        chosen[beat] = not chosen[beat - 1] and chances[beat] < share / (1 - share)
    return chosen


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


def sum_waves(heart: Heart, beats: Beats, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sums all waves of all beats.

    Args:
        heart: shapes the waves.
        beats: conducted and ectopic beats.
        time: (time,) s.
        rng: draws amplitude and width of each beat, and one focus for all ectopic beats.

    Returns:
        float64 (3, time), mV.
    """
    stretch = np.sqrt(np.clip(np.diff(beats.times, prepend=2 * beats.times[0] - beats.times[1]), 0.35, 1.5))
    kinds = [(waves(heart), ~beats.ectopic)]
    if beats.ectopic.any():
        kinds.append((ectopic_waves(heart, _FOCI[rng.integers(len(_FOCI))]), beats.ectopic))
    vector = np.zeros((3, len(time)))
    for shapes, chosen in kinds:
        peaks, stretched = beats.times[chosen], stretch[chosen]
        for wave in shapes:
            centres = peaks + wave.centre * (stretched if wave.follows_rate else 1.0)
            sizes = rng.normal(1, 0.03, len(peaks))
            widths = wave.width * rng.normal(1, 0.02, len(peaks))
            vector += np.outer(wave.vector, _gaussians(time, centres, widths, sizes))
    return vector


def fibrillation(time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draws fibrillatory waves of 4-9 Hz: (3, time), mV; largest in V1, as in patients."""
    phases = 2 * np.pi * (np.outer(rng.uniform(4, 9, 5), time) + rng.random((5, 1)))
    swell = 1 + 0.4 * np.sin(2 * np.pi * rng.uniform(0.1, 0.4) * time)
    return np.outer((-0.006, 0.012, -0.016), np.sin(phases).sum(axis=0) * swell)


def _gaussians(time: np.ndarray, centres: np.ndarray, widths: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Sums Gaussians, (time,); each is evaluated within 5 standard deviations, beyond which it is under 4e-6."""
    total = np.zeros(len(time))
    for centre, width, size in zip(centres, widths, sizes, strict=True):
        first, last = np.searchsorted(time, (centre - 5 * width, centre + 5 * width))
        total[first:last] += size * np.exp(-0.5 * ((time[first:last] - centre) / width) ** 2)
    return total


def sway(vector: np.ndarray, breath: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turns the heart vector by a few degrees in the frontal plane, as respiration does: (3, time)."""
    angle = np.radians(rng.uniform(1, 5)) * breath
    x, y, z = vector
    return np.stack([x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle), z])


def waves(heart: Heart) -> tuple[Wave, ...]:
    """Lists the waves of one conducted beat at a rate of 60/min."""
    if heart.left_bundle_branch_block:
        ventricles = _left_blocked_qrs(heart)
    elif heart.right_bundle_branch_block:
        ventricles = _right_blocked_qrs(heart)
    else:
        ventricles = _normal_qrs(heart)
    return (() if heart.atrial_fibrillation else _p_wave(heart)) + ventricles + _st_segment(heart) + _t_wave(heart)


def ectopic_waves(heart: Heart, direction: tuple[float, float, float]) -> tuple[Wave, ...]:
    """Lists the waves of a beat that begins in a ventricle: no P, a wide QRS, ST and T opposite to it.

    Args:
        heart: its voltage is read.
        direction: x, y, z of the QRS, a unit vector: away from the focus.
    """
    spread = np.array(direction) * (0.6 + 0.7 * heart.qrs_voltage)

    def wave(share: float, centre: float, width: float, follows_rate: bool = False) -> Wave:
        x, y, z = (float(component) for component in share * spread)
        return Wave((x, y, z), centre, width, follows_rate)

    return (
        wave(0.85, -0.14 * _ECTOPIC_DURATION, 0.115 * _ECTOPIC_DURATION),
        wave(0.62, 0.17 * _ECTOPIC_DURATION, 0.135 * _ECTOPIC_DURATION),
        wave(-0.10, 0.13, 0.04),
        wave(-0.26, 0.24, 0.055),
        wave(-0.20, 0.30, 0.035),
    )


def _p_wave(heart: Heart) -> tuple[Wave, ...]:
    """Right atrium first, to the front; then the left, to the back: biphasic in V1."""
    onset = -(heart.pr_interval + heart.qrs_duration / 2) / 1000
    return (
        Wave((0.03, 0.09, -0.06), onset + 0.042, 0.018),
        Wave((0.08, 0.05, 0.05), onset + 0.072, 0.018),
    )


def _normal_qrs(heart: Heart) -> tuple[Wave, ...]:
    """Septum (to the right and front), free wall (the axis) and its lateral part after it, base (to the back)."""
    duration = heart.qrs_duration / 1000
    size = heart.qrs_voltage
    x, y = _frontal(heart)
    return (
        Wave((-0.10 * size, -0.05 * size, -0.28 * size), -0.25 * duration, 0.085 * duration),
        Wave((0.90 * size * x, 0.90 * size * y, 0.15 * size), -0.02 * duration, 0.105 * duration),
        Wave((0.40 * size * x, 0.40 * size * y, 0.14 * size), 0.13 * duration, 0.125 * duration),
        Wave((0.0, -0.06 * size, 0.35 * size), 0.24 * duration, 0.105 * duration),
    )


def _left_blocked_qrs(heart: Heart) -> tuple[Wave, ...]:
    """Left bundle branch block: no septal wave, slow and notched activation to the left and back.

    What goes to the back shows in the limb leads too: a little more y leaves the frontal axis as it is.
    """
    duration = heart.qrs_duration / 1000
    size = heart.qrs_voltage
    x, y = _frontal(heart)
    return (
        Wave((0.80 * size * x, 0.80 * size * y + 0.07 * size, 0.50 * size), -0.20 * duration, 0.11 * duration),
        Wave((1.05 * size * x, 1.05 * size * y + 0.12 * size, 0.85 * size), 0.14 * duration, 0.13 * duration),
    )


def _right_blocked_qrs(heart: Heart) -> tuple[Wave, ...]:
    """Right bundle branch block: the left ventricle as ever, then alone the right one, slowly, to the right and front.

    Hence rsR' in V1 and a wide S in I and V6.
    """
    duration = heart.qrs_duration / 1000
    size = heart.qrs_voltage
    x, y = _frontal(heart)
    return (
        Wave((-0.10 * size, -0.05 * size, -0.28 * size), -0.34 * duration, 0.055 * duration),
        Wave((1.10 * size * x, 1.10 * size * y, 0.22 * size), -0.16 * duration, 0.070 * duration),
        Wave((0.0, -0.02 * size, 0.30 * size), 0.0, 0.065 * duration),
        Wave((-0.45 * size, 0.04 * size, -0.50 * size), 0.22 * duration, 0.125 * duration),
    )


def _st_segment(heart: Heart) -> tuple[Wave, ...]:
    """Depression from the J point to the T wave, `st_depression` deep in V5; raised in V1, its mirror."""
    if heart.st_depression == 0:
        return ()
    x, y, z = (heart.st_depression * share for share in (-0.85, -0.35, -0.10))
    end = heart.qrs_duration / 2000
    return (
        Wave((0.7 * x, 0.7 * y, 0.7 * z), end + 0.030, 0.025),
        Wave((0.9 * x, 0.9 * y, 0.9 * z), end + 0.095, 0.040, follows_rate=True),
    )


def _t_wave(heart: Heart) -> tuple[Wave, ...]:
    """Slow upstroke, faster downstroke. In block the T vector points away from the late QRS (secondary change).

    Strain, the depressed ST of an inverted T, draws the slow part out further and leaves the fast one.
    """
    end = heart.qt_corrected / 1000 - heart.qrs_duration / 2000
    direction = np.array((0.72, 0.50, -0.42)) * heart.t_amplitude
    if heart.left_bundle_branch_block:
        direction += np.array((-0.22, -0.05, -0.38)) * heart.qrs_voltage
    elif heart.right_bundle_branch_block:
        direction += np.array((0.10, 0.0, 0.20)) * heart.qrs_voltage
    strain = min(heart.st_depression / 0.1, 1.0) if heart.t_amplitude < 0 else 0.0
    x, y, z = (float(component) for component in direction)
    return (
        Wave((0.55 * x, 0.55 * y, 0.55 * z), end - 0.135 + 0.005 * strain, 0.048 + 0.008 * strain, follows_rate=True),
        Wave((0.65 * x, 0.65 * y, 0.65 * z), end - 0.085 + 0.006 * strain, 0.031 - 0.006 * strain, follows_rate=True),
    )


def _frontal(heart: Heart) -> tuple[float, float]:
    """Unit vector, Frank's x and y, of a QRS whose limb leads show the axis: they stand askew to Frank's."""
    angle = np.radians(heart.qrs_axis)
    x, y = _FROM_LIMB_LEADS @ (np.cos(angle), np.sin(angle))
    length = float(np.hypot(x, y))
    return float(x) / length, float(y) / length
