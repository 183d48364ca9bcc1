"""Measurements of a filtered ECG's median beat: what a baseline without a network knows.

Rate and irregularity from the beats; QRS duration, axes, voltages, ST level and T wave from the median beat. They
are plain measures for comparison, not a diagnostic delineation: P wave and QT interval are not measured.

Shape legend: n = ECGs.

Where the heart beats: a light QRS check on filtered signals, all records and leads at once.

Energy of the slope, summed over leads, smoothed and thresholded, with a refractory period: the steps of Pan and
Tompkins (IEEE Trans Biomed Eng 1985) on twelve leads together. It says whether there are QRS complexes and
about where; it measures nothing.
"""

import numpy as np
from scipy import ndimage

from data_contracts.conventions import LEADS, SAMPLING_FREQUENCY
from echoingecg.ecg.filter import median

_WIDTH = 12  # samples, 120 ms: the widest normal QRS
_REFRACTORY = 20  # samples, 200 ms (Pan and Tompkins, section III)
_PIECE = 200  # samples, 2 s: holds a beat at 30 a minute and more
_SHARE = 0.3  # of the usual energy of a QRS: what a peak must reach
_AROUND = 8  # samples on each side, 80 ms: a QRS and the jitter of its peak
_EDGE = 50  # samples, 0.5 s at each end, where a drift leaves the filter's transient
_SILENT = 1e-6  # mV a sample: less slope is none


def slope_energy(signal: np.ndarray) -> np.ndarray:
    """Squared slope of each lead, no higher than twice its usual peak: a spike does not swamp the beats.

    Args:
        signal: float (..., lead, time), mV at 100 Hz, band-passed.

    Returns:
        as `signal`, mV² (over two samples); 0 at the ends.
    """
    energy = np.zeros_like(signal)
    slope = energy[..., 1:-1]
    np.subtract(signal[..., 2:], signal[..., :-2], out=slope)
    slope *= slope
    usual = median(_peaks(energy))
    return np.minimum(energy, 2 * usual[..., None], out=energy)


def find_beats(energy: np.ndarray) -> np.ndarray:
    """Peaks that could be QRS complexes; every lead counts the same, so that none drowns the others.

    Args:
        energy: (..., lead, time) of `slope_energy`, recorded time only.

    Returns:
        bool (..., time), True at each peak.
    """
    mean = energy.mean(axis=-1)
    weight = np.where(mean > _SILENT**2, 1 / np.maximum(mean, _SILENT**2), 0).astype(energy.dtype)
    together = (weight[..., None, :] @ energy)[..., 0, :]
    together = ndimage.uniform_filter1d(together, _WIDTH, axis=-1, mode="nearest")
    needed = _SHARE * median(_peaks(together))[..., None]
    around = ndimage.maximum_filter1d(together, 2 * _REFRACTORY + 1, axis=-1, mode="nearest")
    return (together == around) & (together > needed)


def _peaks(energy: np.ndarray) -> np.ndarray:
    """The highest value of each 2 s, (..., time) to (..., pieces)."""
    piece = min(_PIECE, energy.shape[-1])
    pieces = energy.shape[-1] // piece
    return energy[..., : pieces * piece].reshape(*energy.shape[:-1], pieces, piece).max(axis=-1)


def contrast(energy: np.ndarray, beats: np.ndarray) -> np.ndarray:
    """How much steeper each lead is at the beats than between them: a ratio of mean energies.

    Near 1 in a lead of noise or drift, tens to hundreds in one that shows the QRS complexes.

    Args:
        energy: (..., lead, time) of `slope_energy`.
        beats: bool (..., time) of `find_beats`.

    Returns:
        (..., lead); 0 without beats and in a lead without slope.
    """
    near = ndimage.maximum_filter1d(beats.view(np.uint8), 2 * _AROUND + 1, axis=-1).astype(energy.dtype)
    edge = min(_EDGE, energy.shape[-1] // 8)
    both = np.stack([near, 1 - near], axis=-1)  # (..., time, 2)
    both[..., :edge, :] = both[..., near.shape[-1] - edge :, :] = 0
    at, between = np.moveaxis(energy @ both / np.maximum(both.sum(axis=-2), 1)[..., None, :], -1, 0)
    return np.where(at > _SILENT**2, at / np.maximum(between, _SILENT**2), 0)


def heart_rate(beats: np.ndarray) -> np.ndarray:
    """Beats a minute of bool (..., time) at 100 Hz, from the first beat to the last; 0 for fewer than two."""
    count = np.count_nonzero(beats, axis=-1)
    last = beats.shape[-1] - 1 - np.argmax(beats[..., ::-1], axis=-1)
    span = np.maximum(last - np.argmax(beats, axis=-1), 1)
    return np.where(count > 1, 60 * SAMPLING_FREQUENCY * (count - 1) / span, 0.0)


_LIMB = {name: LEADS.index(name) for name in ("I", "aVF")}
_BEFORE = 25  # samples, 250 ms before the QRS
_AFTER = 45  # samples, 450 ms after it: holds the T wave
_ISOELECTRIC = slice(_BEFORE - 10, _BEFORE - 7)  # 100 to 70 ms before the QRS: the PR segment
_QRS = slice(_BEFORE - 7, _BEFORE + 8)
_ST = slice(_BEFORE + 10, _BEFORE + 13)  # 100 to 120 ms after the QRS's middle
_T = slice(_BEFORE + 13, _BEFORE + _AFTER)
_QRS_SHARE = 0.02  # of the QRS's steepest energy: where it begins and ends
_MS = 1000 / SAMPLING_FREQUENCY

MEASUREMENT_NAMES = (
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
    found = np.zeros((len(signals), len(MEASUREMENT_NAMES)))
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
