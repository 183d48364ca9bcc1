"""Measurements of a filtered ECG's median beat: what a baseline without a network knows.

Rate and irregularity from the beats; QRS duration, axes, voltages, ST level and T wave from the median beat. They
are plain measures for comparison, not a diagnostic delineation: P wave and QT interval are not measured.

Shape legend: n = ECGs.
"""

from typing import Final

import numpy as np

from data_contracts.conventions import LEADS, SAMPLING_FREQUENCY
from echoingecg.ecg.qrs import find_beats, heart_rate, slope_energy

_LIMB: Final = {name: LEADS.index(name) for name in ("I", "aVF")}
_BEFORE: Final = 25  # samples, 250 ms before the QRS
_AFTER: Final = 45  # samples, 450 ms after it: holds the T wave
_ISOELECTRIC: Final = slice(_BEFORE - 10, _BEFORE - 7)  # 100 to 70 ms before the QRS: the PR segment
_QRS: Final = slice(_BEFORE - 7, _BEFORE + 8)
_ST: Final = slice(_BEFORE + 10, _BEFORE + 13)  # 100 to 120 ms after the QRS's middle
_T: Final = slice(_BEFORE + 13, _BEFORE + _AFTER)
_QRS_SHARE: Final = 0.02  # of the QRS's steepest energy: where it begins and ends
_MS: Final = 1000 / SAMPLING_FREQUENCY

NAMES: Final = (
    "heart_rate",
    "rr_variation",
    "qrs_duration",
    "qrs_axis_cos",
    "qrs_axis_sin",
    "t_axis_cos",
    "t_axis_sin",
    *(f"{wave}_{lead}" for wave in ("r", "s", "st", "t") for lead in LEADS),
)


def measure_ecgs(signals: np.ndarray) -> np.ndarray:
    """Measurements of ECGs, in the order of NAMES.

    Args:
        signals: (n, 12, T) mV, filtered, 100 Hz, leads in the order of conventions.LEADS.

    Returns:
        (n, len(NAMES)) float64: 1/min, share (standard deviation of the RR intervals over their mean), ms, cosine
        and sine of the frontal axes, mV. Zeros for an ECG with fewer than two whole beats.
    """
    found = np.zeros((len(signals), len(NAMES)))
    beats = find_beats(slope_energy(signals))
    rates = heart_rate(beats)
    for at, signal in enumerate(signals):
        peaks = np.flatnonzero(beats[at])
        whole = peaks[(peaks >= _BEFORE) & (peaks < signal.shape[-1] - _AFTER)]
        if len(whole) >= 2:
            found[at] = [rates[at], _variation(peaks), *_of_beat(median_beat(signal, whole))]
    return found


def median_beat(signal: np.ndarray, peaks: np.ndarray) -> np.ndarray:
    """Median over beats, (12, T) to (12, 70), each lead level with its PR segment; the QRS's middle at 250 ms."""
    beats = signal[:, peaks[:, None] + np.arange(-_BEFORE, _AFTER)]
    beat = np.median(beats, axis=1)
    return np.asarray(beat - beat[:, _ISOELECTRIC].mean(axis=1, keepdims=True))


def _variation(peaks: np.ndarray) -> float:
    intervals = np.diff(peaks)
    return float(intervals.std() / intervals.mean())


def _of_beat(beat: np.ndarray) -> np.ndarray:
    qrs, t = beat[:, _QRS], beat[:, _T]
    t_peak = np.take_along_axis(t, np.abs(t).argmax(axis=1)[:, None], axis=1)[:, 0]
    return np.concatenate(
        [
            [_qrs_duration(beat)],
            _axis(qrs.sum(axis=1)),
            _axis(t.sum(axis=1)),
            np.maximum(qrs.max(axis=1), 0),
            np.maximum(-qrs.min(axis=1), 0),
            beat[:, _ST].mean(axis=1),
            t_peak,
        ]
    )


def _axis(area: np.ndarray) -> np.ndarray:
    """Cosine and sine of the frontal axis from net areas, (12,): 0 degrees along I, 90 along aVF."""
    frontal = np.array([area[_LIMB["I"]], area[_LIMB["aVF"]] * 2 / np.sqrt(3)])  # aVF is shorter than I by that
    return np.asarray(frontal / max(float(np.hypot(*frontal)), 1e-9))


def _qrs_duration(beat: np.ndarray) -> float:
    """From the first to the last steep sample around the QRS's middle, ms."""
    steepness = (np.gradient(beat, axis=1) ** 2).sum(axis=0)
    around = steepness[_BEFORE - 12 : _BEFORE + 13]
    steep = np.flatnonzero(around > _QRS_SHARE * around.max())
    return float((steep[-1] - steep[0]) * _MS)
