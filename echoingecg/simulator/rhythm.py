"""When the heart beats: shared by the ECG and by the echo's contraction."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from echoingecg.simulator.population.patient import Heart

_SINUS_ARRHYTHMIA: Final = 0.03  # relative swing of the RR interval with respiration
_SINUS_JITTER: Final = 0.012  # relative beat-to-beat scatter
_FIBRILLATION_SCATTER: Final = 0.20  # of log RR: "irregularly irregular"
_SHORTEST_RR: Final = 0.33  # s, refractory atrioventricular node
_COUPLING: Final = (0.55, 0.70)  # of the RR interval: from a beat to the ectopic one after it


@dataclass(frozen=True)
class Beats:
    """Beats in ascending order.

    Attributes:
        times: float64 (beat,), s, of the R peaks.
        ectopic: bool (beat,), whether the beat began in a ventricle.
    """

    times: np.ndarray
    ectopic: np.ndarray

    def ectopic_within(self, duration: float) -> int:
        """How many ectopic beats lie between 0 and `duration`, s."""
        return int(np.count_nonzero(self.ectopic & (self.times >= 0) & (self.times < duration)))


def beat_times(heart: Heart, duration: float, rng: np.random.Generator) -> np.ndarray:
    """Times of the R peaks, ectopic beats among them: those of `draw_beats`.

    Args:
        heart: rate, rhythm and share of ectopic beats are read.
        duration: s. Beats from before 0 to after `duration` are given, so that no edge lacks a neighbour.
        rng: draws all of it.

    Returns:
        float64 (beat,), s, ascending.
    """
    return draw_beats(heart, duration, rng).times


def draw_beats(heart: Heart, duration: float, rng: np.random.Generator) -> Beats:
    """Beats of a heart; the same arguments as `beat_times`.

    A ventricular ectopic beat comes early and leaves the sinus node's clock alone: the pause after it is
    compensatory, so that the two intervals about it sum to two of the others (Surawicz & Knilans, Chou's
    Electrocardiography in Clinical Practice, 6th ed. 2008, "Ventricular arrhythmias"). Two never follow
    each other.
    """
    mean = 60 / heart.heart_rate
    count = int(np.ceil(duration / mean)) + 12
    if heart.atrial_fibrillation:
        intervals = mean * np.exp(rng.normal(-(_FIBRILLATION_SCATTER**2) / 2, _FIBRILLATION_SCATTER, count))
    else:
        breath = np.sin(2 * np.pi * rng.uniform(0.2, 0.3) * mean * np.arange(count) + rng.uniform(0, 2 * np.pi))
        intervals = mean * (1 + _SINUS_ARRHYTHMIA * breath + rng.normal(0, _SINUS_JITTER, count))
    intervals = np.maximum(intervals, _SHORTEST_RR)
    ectopic = _spread(heart.ectopic_share, rng.random(count))
    early = np.flatnonzero(ectopic)
    gained = np.minimum(1 - rng.uniform(*_COUPLING, count)[early], 1 - _SHORTEST_RR / intervals[early])
    shift = np.zeros(count)
    shift[early] = gained * intervals[early]
    times = np.cumsum(intervals) - shift
    return Beats(times - times[4] - rng.uniform(0, mean), ectopic)


def _spread(share: float, chances: np.ndarray) -> np.ndarray:
    """bool (beat,): `share` of the beats, no two in a row, none at the ends."""
    chosen = np.zeros(len(chances), bool)
    for beat in range(1, len(chances) - 1):
        # After an ordinary beat, so that the share of all beats comes out as asked.
        chosen[beat] = not chosen[beat - 1] and chances[beat] < share / (1 - share)
    return chosen
