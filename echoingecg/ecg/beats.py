"""Where the heart beats, and what the median beat measures: what a baseline without a network knows.

Beats come from a light QRS check on filtered signals, all records and leads at once: the energy of the slope, summed
over leads, smoothed and thresholded, with a refractory period, which are the steps of Pan and Tompkins (IEEE Trans
Biomed Eng 1985). It says whether there are QRS complexes and about where they are.

The measurements serve comparison and are no diagnostic delineation: rate and irregularity from the beats; QRS
duration, axes, voltages, ST level and T wave from the median beat; not P wave and QT interval.
"""

import numpy as np

from data_contracts.conventions import LEADS, SAMPLING_FREQUENCY
from echoingecg.ecg.filter import median

# All samples are at 100 Hz, 10 ms each.
_QRS_WIDTH_SAMPLES = 12  # the widest normal QRS
_REFRACTORY_SAMPLES = 20  # Pan and Tompkins, section III
_PIECE_SAMPLES = 200  # holds a beat at 30 a minute and more
_PEAK_SHARE = 0.3  # of the usual energy of a QRS: what a peak must reach
_QRS_HALF_WIDTH_SAMPLES = 8  # on each side of a peak: a QRS and the jitter of its peak
_EDGE_SAMPLES = 50  # at each end, where a drift leaves the filter's transient
_SILENT_MV = 1e-6  # less slope than this, over two samples, is none

_LIMB_ROWS = {name: LEADS.index(name) for name in ("I", "aVF")}
_BEFORE_SAMPLES = 25  # before the QRS's middle
_AFTER_SAMPLES = 45  # after it: holds the T wave
_ISOELECTRIC = slice(_BEFORE_SAMPLES - 10, _BEFORE_SAMPLES - 7)  # 100 to 70 ms before: the PR segment
_QRS = slice(_BEFORE_SAMPLES - 7, _BEFORE_SAMPLES + 8)
_ST = slice(_BEFORE_SAMPLES + 10, _BEFORE_SAMPLES + 13)  # 100 to 120 ms after
_T = slice(_BEFORE_SAMPLES + 13, _BEFORE_SAMPLES + _AFTER_SAMPLES)
_QRS_SEARCH = slice(_BEFORE_SAMPLES - 12, _BEFORE_SAMPLES + 13)
_STEEP_SHARE = 0.02  # of the QRS's steepest energy: where the QRS begins and ends
_MS_PER_SAMPLE = 1000 / SAMPLING_FREQUENCY

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


def slope_energy(signal: np.ndarray) -> np.ndarray:
    """Squared slope of each lead, cut at twice its usual peak, so that a spike does not hide the beats.

    Args:
        signal: float (..., lead, time), mV at 100 Hz, band-passed.

    Returns:
        the shape and type of `signal`, mV² (over two samples); 0 at the ends.
    """
    energy = np.zeros_like(signal)
    slope = energy[..., 1:-1]
    np.subtract(signal[..., 2:], signal[..., :-2], out=slope)
    slope *= slope
    usual_peak = median(_peaks(energy))
    return np.minimum(energy, 2 * usual_peak[..., None], out=energy)


def find_beats(energy: np.ndarray) -> np.ndarray:
    """Peaks that could be QRS complexes; every lead counts the same, so that none drowns the others.

    Args:
        energy: (..., lead, time) of `slope_energy`, recorded time only.

    Returns:
        bool (..., time), True at each peak.
    """
    mean = energy.mean(axis=-1)
    weight = np.where(mean > _SILENT_MV**2, 1 / np.maximum(mean, _SILENT_MV**2), 0).astype(energy.dtype)
    summed = (weight[..., None, :] @ energy)[..., 0, :]
    summed = moving_mean(summed, _QRS_WIDTH_SAMPLES)
    needed = _PEAK_SHARE * median(_peaks(summed))[..., None]
    highest = moving_maximum(summed, _REFRACTORY_SAMPLES)
    return (summed == highest) & (summed > needed)


def _peaks(energy: np.ndarray) -> np.ndarray:
    """The highest value of each 2 s, (..., time) to (..., pieces)."""
    piece = min(_PIECE_SAMPLES, energy.shape[-1])
    pieces = energy.shape[-1] // piece
    return energy[..., : pieces * piece].reshape(*energy.shape[:-1], pieces, piece).max(axis=-1)


def contrast(energy: np.ndarray, beats: np.ndarray) -> np.ndarray:
    """How much steeper each lead is at the beats than between them: a ratio of mean energies.

    Near 1 in a lead of noise or drift, tens to hundreds in a lead that shows the QRS complexes.

    Args:
        energy: (..., lead, time) of `slope_energy`.
        beats: bool (..., time) of `find_beats`.

    Returns:
        (..., lead); 0 without beats and in a lead without slope.
    """
    near = moving_maximum(beats.view(np.uint8), _QRS_HALF_WIDTH_SAMPLES).astype(energy.dtype)
    edge = min(_EDGE_SAMPLES, energy.shape[-1] // 8)
    masks = np.stack([near, 1 - near], axis=-1)  # (..., time, 2)
    masks[..., :edge, :] = masks[..., near.shape[-1] - edge :, :] = 0
    inner = near[..., edge : near.shape[-1] - edge]
    beat_samples = inner.sum(axis=-1)
    samples = np.stack([beat_samples, inner.shape[-1] - beat_samples], axis=-1)
    at_beats, between = np.moveaxis(energy @ masks / np.maximum(samples, 1)[..., None, :], -1, 0)
    return np.where(at_beats > _SILENT_MV**2, at_beats / np.maximum(between, _SILENT_MV**2), 0)


# The two filters give the numbers of scipy.ndimage, whose import takes a decoder longer than a thousand ECGs.


def moving_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Mean of `width` values around each, of an even width one more before it; the values at the ends are repeated.

    Bit for bit scipy.ndimage.uniform_filter1d (mode nearest): the sum moves on in float64.

    Args:
        values: float (..., time).
        width: at least 1.

    Returns:
        the shape and type of `values`.
    """
    before = width // 2
    padded = _with_ends_repeated(values, before, width - before - 1).astype(np.float64)
    first = np.cumsum(padded[..., :width], axis=-1)[..., -1:]
    moves = padded[..., width:] - padded[..., :-width]
    return (np.cumsum(np.concatenate([first, moves], axis=-1), axis=-1) / width).astype(values.dtype)


def moving_maximum(values: np.ndarray, reach: int) -> np.ndarray:
    """Largest of the values up to `reach` before and after each, (..., time)."""
    width, known = 2 * reach + 1, 1
    highest = _with_ends_repeated(values, reach, reach)
    while known < width:  # windows of `known` values each; two that overlap or touch make a larger one
        step = min(known, width - known)
        highest = np.maximum(highest[..., :-step], highest[..., step:])
        known += step
    return highest


def _with_ends_repeated(values: np.ndarray, before: int, after: int) -> np.ndarray:
    ends = (np.repeat(values[..., :1], before, axis=-1), values, np.repeat(values[..., -1:], after, axis=-1))
    return np.concatenate(ends, axis=-1)


def heart_rate(beats: np.ndarray) -> np.ndarray:
    """Beats a minute of bool (..., time) at 100 Hz, from the first beat to the last; 0 for fewer than two."""
    count = np.count_nonzero(beats, axis=-1)
    last = beats.shape[-1] - 1 - np.argmax(beats[..., ::-1], axis=-1)
    span = np.maximum(last - np.argmax(beats, axis=-1), 1)
    return np.where(count > 1, 60 * SAMPLING_FREQUENCY * (count - 1) / span, 0.0)


def measure_ecgs(signals: np.ndarray) -> np.ndarray:
    """Measurements of ECGs, in the order of MEASUREMENT_NAMES.

    Args:
        signals: (n, 12, T) mV, filtered, 100 Hz, leads in the order of conventions.LEADS.

    Returns:
        (n, len(MEASUREMENT_NAMES)) float64: 1/min, share (standard deviation of the RR intervals over their mean),
        ms, cosine and sine of the frontal axes, mV. Zeros for an ECG with fewer than two complete beats.
    """
    measurements = np.zeros((len(signals), len(MEASUREMENT_NAMES)))
    beats = find_beats(slope_energy(signals))
    rates = heart_rate(beats)
    for row, signal in enumerate(signals):
        peaks = np.flatnonzero(beats[row])
        complete = peaks[(peaks >= _BEFORE_SAMPLES) & (peaks < signal.shape[-1] - _AFTER_SAMPLES)]
        if len(complete) >= 2:
            intervals = np.diff(peaks)
            variation = float(intervals.std() / intervals.mean())
            measurements[row] = [rates[row], variation, *_measure_beat(_median_beat(signal, complete))]
    return measurements


def _median_beat(signal: np.ndarray, peaks: np.ndarray) -> np.ndarray:
    """Median over beats, (12, T) to (12, 70), 0 mV at the PR segment of each lead; the QRS's middle at 250 ms."""
    beats = signal[:, peaks[:, None] + np.arange(-_BEFORE_SAMPLES, _AFTER_SAMPLES)]
    beat = np.median(beats, axis=1)
    return np.asarray(beat - beat[:, _ISOELECTRIC].mean(axis=1, keepdims=True))


def _measure_beat(beat: np.ndarray) -> np.ndarray:
    """Measurements of one beat, (12, 70), from QRS duration to T wave."""
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
    # aVF is shorter than I by 2 / sqrt(3).
    frontal = np.array([area[_LIMB_ROWS["I"]], area[_LIMB_ROWS["aVF"]] * 2 / np.sqrt(3)])
    return np.asarray(frontal / max(float(np.hypot(*frontal)), 1e-9))


def _qrs_duration(beat: np.ndarray) -> float:
    """Time from the first to the last steep sample around the QRS's middle, ms."""
    steepness = (np.gradient(beat, axis=1) ** 2).sum(axis=0)[_QRS_SEARCH]
    steep = np.flatnonzero(steepness > _STEEP_SHARE * steepness.max())
    return float((steep[-1] - steep[0]) * _MS_PER_SAMPLE)
