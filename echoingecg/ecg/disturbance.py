"""Disturbances of recorded ECGs at five levels each: what a stress test adds to a cohort's recordings.

Noise arises at the electrodes, so that Einthoven's and Goldberger's identities hold in what it adds; lost leads,
clipping and gain act on recorded channels. Kinds of noise: Friesen et al., IEEE TBME 1990;37:85; kinds of faults:
Silva et al., Comput Cardiol 2011;38:273; electrode reversals: Rudiger et al., Am J Emerg Med 2007;25:174.

Shapes: E ECGs, 12 leads in the order of data_contracts.conventions.LEADS, T samples.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import signal as dsp

from data_contracts.conventions import LEADS, SAMPLES, SAMPLING_FREQUENCY
from echoingecg.ecg.electrodes import ELECTRODES, INDEPENDENT, LEADS_OF_ELECTRODES, exchange_electrodes, twelve_leads
from echoingecg.ecg.process import cut_windows, process_loaded
from echoingecg.ecg.windows import Processed
from echoingecg.recipe import EcgSettings

_RECORDED_HZ = 500
_MUSCLE_HZ = 50.0  # white up to here; the ECG filter passes the part below 40 Hz
_WANDER_HZ = (0.5, 1.0)  # what lies lower does not pass the ECG filter
_MAINS_HZ = (50.0, 60.0)
_BURSTS = 2
_BURST_SECONDS = (0.6, 2.5)
_BURST_HZ = (1.0, 10.0)

Disturb = Callable[[np.ndarray, float, float, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Disturbance:
    """One kind of disturbance.

    Attributes:
        name: in tables and figures.
        unit: of the levels.
        levels: five, from slight to severe.
        apply: takes one ECG, float (12, T) in mV, its sampling frequency in Hz, a level and a random generator; returns
            a new array. The same generator gives the same course at every level.
    """

    name: str
    unit: str
    levels: tuple[float, ...]
    apply: Disturb

    def draw_levels(self, count: int, random: np.random.Generator) -> np.ndarray:
        """Draws levels, (count,) float64: between the least and the most; of kinds that are counted one of them."""
        if all(float(level).is_integer() for level in self.levels):
            return random.choice(np.array(self.levels, np.float64), count)
        low, high = np.log(min(self.levels)), np.log(max(self.levels))
        return np.exp(random.uniform(low, high, count))


class DisturbedEcgs(NamedTuple):
    """ECGs after a disturbance and the stage `ecg`, k of E.

    Attributes:
        kept: (E,) bool, those that the stage did not refuse.
        signals: float32 (k, 12, 1000), mV at 100 Hz.
        quality: (k, 12), bit mask of data_contracts.ecg.QUALITY_FLAGS.
        findings: (k,), bit mask of data_contracts.ecg.RECORD_FLAGS.
    """

    kept: np.ndarray
    signals: np.ndarray
    quality: np.ndarray
    findings: np.ndarray


def process_disturbed(
    signals: np.ndarray, kind: Disturbance | None, levels: np.ndarray, seed: Sequence[int], settings: EcgSettings
) -> DisturbedEcgs:
    """Takes filtered ECGs for recordings of 500 Hz, disturbs them, and lets the stage `ecg` filter and assess them.

    What an ECG gets depends on the seed and its place, and only the size on the level.

    Args:
        signals: float32 (E, 12, 1000), mV at 100 Hz.
        kind: of the disturbance; None leaves the recordings as they are.
        levels: (E,) in the unit of the kind.
        seed: of the random course.
        settings: as for the undisturbed signals.
    """
    recordings = dsp.resample_poly(signals, _RECORDED_HZ // SAMPLING_FREQUENCY, 1, axis=-1).astype(np.float32)
    kept, loaded = np.zeros(len(signals), bool), []
    for place, recording in enumerate(recordings):
        if kind is not None:
            random = np.random.default_rng((*seed, place))
            recording = kind.apply(recording, _RECORDED_HZ, float(levels[place]), random).astype(np.float32)
        loaded.append(cut_windows(recording, _RECORDED_HZ, settings))
    processed = []
    for place, outcome in enumerate(process_loaded(loaded, settings)):
        if isinstance(outcome, Processed):
            kept[place] = True
            processed.append(outcome)
    return DisturbedEcgs(
        kept,
        np.array([outcome.signal for outcome in processed], np.float32).reshape(-1, len(LEADS), SAMPLES),
        np.array([outcome.quality for outcome in processed]).reshape(-1, len(LEADS)),
        np.array([outcome.findings for outcome in processed], np.int64),
    )


def _scaled(added: np.ndarray, level: float) -> np.ndarray:
    """What electrodes add, scaled to a root mean square over all leads of `level`, mV."""
    leads = LEADS_OF_ELECTRODES @ added
    return level * leads / max(float(np.sqrt(np.mean(leads**2))), 1e-12)


def _muscle(signal: np.ndarray, frequency: float, level: float, random: np.random.Generator) -> np.ndarray:
    samples = signal.shape[1]
    coarse = random.standard_normal((len(ELECTRODES), int(np.ceil(samples * 2 * _MUSCLE_HZ / frequency)) + 1))
    white = dsp.resample(coarse, int(np.ceil(coarse.shape[1] * frequency / (2 * _MUSCLE_HZ))), axis=1)[:, :samples]
    return signal + _scaled(white, level)


def _wander(signal: np.ndarray, frequency: float, level: float, random: np.random.Generator) -> np.ndarray:
    time = np.arange(signal.shape[1]) / frequency
    hertz, phase = random.uniform(*_WANDER_HZ), random.uniform(0, 2 * np.pi, (len(ELECTRODES), 1))
    strength = random.uniform(0.5, 1.5, (len(ELECTRODES), 1))
    return signal + _scaled(strength * np.sin(2 * np.pi * hertz * time + phase), level)


def _mains(signal: np.ndarray, frequency: float, level: float, random: np.random.Generator) -> np.ndarray:
    time = np.arange(signal.shape[1]) / frequency
    hertz, phase = random.choice(_MAINS_HZ), random.uniform(0, 2 * np.pi)
    strength = random.uniform(0.2, 1.8, (len(ELECTRODES), 1))
    return signal + _scaled(strength * np.sin(2 * np.pi * hertz * time + phase), level)


def _motion(signal: np.ndarray, frequency: float, level: float, random: np.random.Generator) -> np.ndarray:
    """Bursts of slow swings under single electrodes; the largest is `level` high in the leads."""
    time = np.arange(signal.shape[1]) / frequency
    added = np.zeros((len(ELECTRODES), len(time)))
    for _ in range(_BURSTS):
        length = random.uniform(*_BURST_SECONDS)
        since = time - random.uniform(0, max(time[-1] - length, 0))
        inside = (since > 0) & (since < length)
        window = np.where(inside, np.minimum(since / 0.05, 1) * np.cos(np.pi / 2 * since / length), 0)
        hertz, phase = random.uniform(*_BURST_HZ, (8, 1)), random.uniform(0, 2 * np.pi, (8, 1))
        strength = random.standard_normal((8, 1))
        added[random.integers(len(ELECTRODES))] += window * (strength * np.sin(2 * np.pi * hertz * time + phase)).sum(0)
    leads = LEADS_OF_ELECTRODES @ added
    return signal + level * leads / max(float(np.abs(leads).max()), 1e-12)


def _lost(signal: np.ndarray, frequency: float, level: float, random: np.random.Generator) -> np.ndarray:
    """Leads that hold 0 mV throughout."""
    lost = signal.copy()
    lost[random.permutation(len(signal))[: int(level)]] = 0
    return lost


# Each row exchanges electrodes pair by pair, from the least to the most visible reversal. Left arm and left leg
# exchanged give an ECG that another heart would give as well (Kors and van Herpen, J Electrocardiol 2001;34 Suppl:125).
_REVERSALS = (
    (("LA", "LL"),),
    (("V1", "V2"),),
    (("V1", "V3"),),
    (("RA", "LA"),),
    (("RA", "LL"), ("V1", "V6")),
)


def _swap(signal: np.ndarray, frequency: float, level: float, random: np.random.Generator) -> np.ndarray:
    leads = signal[[LEADS.index(lead) for lead in INDEPENDENT]]
    for first, second in _REVERSALS[int(level) - 1]:
        leads = exchange_electrodes(leads, first, second)
    return twelve_leads(leads)


def _gain(signal: np.ndarray, frequency: float, level: float, random: np.random.Generator) -> np.ndarray:
    """Every other ECG, at random, is so many times too large, the others too small."""
    return signal * (level if random.random() < 0.5 else 1 / level)


def _shift(signal: np.ndarray, frequency: float, level: float, random: np.random.Generator) -> np.ndarray:
    """The recording begins late; before it the recorder wrote 0 mV."""
    gap = round(level * frequency)
    late = np.zeros_like(signal)
    late[:, gap:] = signal[:, : signal.shape[1] - gap]
    return late


def _clip(signal: np.ndarray, frequency: float, level: float, random: np.random.Generator) -> np.ndarray:
    """Channels saturate at a share of the ECG's largest deflection."""
    limit = level * float(np.abs(signal).max())
    return np.clip(signal, -limit, limit)


def _missing(signal: np.ndarray, frequency: float, level: float, random: np.random.Generator) -> np.ndarray:
    """Every lead holds 0 mV for some seconds, anywhere."""
    samples = min(round(level * frequency), signal.shape[1])
    start = random.integers(signal.shape[1] - samples + 1)
    lost = signal.copy()
    lost[:, start : start + samples] = 0
    return lost


DISTURBANCES: Mapping[str, Disturbance] = {
    entry.name: entry
    for entry in (
        Disturbance("muscle noise", "mV", (0.05, 0.1, 0.2, 0.4, 0.8), _muscle),
        Disturbance("baseline wander", "mV", (0.05, 0.1, 0.2, 0.4, 0.8), _wander),
        Disturbance("mains", "mV", (0.05, 0.1, 0.2, 0.4, 0.8), _mains),
        Disturbance("motion bursts", "mV", (0.25, 0.5, 1.0, 2.0, 4.0), _motion),
        Disturbance("lead loss", "leads", (1, 2, 3, 4, 6), _lost),
        Disturbance("electrode reversal", "kind", (1, 2, 3, 4, 5), _swap),
        Disturbance("gain", "times", (1.25, 1.5, 2.0, 4.0, 10.0), _gain),
        Disturbance("late start", "s", (0.25, 0.5, 1.0, 2.0, 4.0), _shift),
        Disturbance("clipping", "of the largest", (0.9, 0.7, 0.5, 0.35, 0.2), _clip),
        Disturbance("missing seconds", "s", (0.25, 0.5, 1.0, 2.0, 4.0), _missing),
    )
}
