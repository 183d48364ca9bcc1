"""Where the heart beats: a light QRS check on filtered signals, all records and leads at once.

Energy of the slope, summed over leads, smoothed and thresholded, with a refractory period: the steps of Pan and
Tompkins (IEEE Trans Biomed Eng 1985) on twelve leads together. It says whether there are QRS complexes and
about where; it measures nothing.
"""

from typing import Final

import numpy as np
from scipy import ndimage

from data_contracts.conventions import SAMPLING_FREQUENCY
from echoingecg.ecg.levels import median

_WIDTH: Final = 12  # samples, 120 ms: the widest normal QRS
_REFRACTORY: Final = 20  # samples, 200 ms (Pan and Tompkins, section III)
_PIECE: Final = 200  # samples, 2 s: holds a beat at 30 a minute and more
_SHARE: Final = 0.3  # of the usual energy of a QRS: what a peak must reach
_AROUND: Final = 8  # samples on each side, 80 ms: a QRS and the jitter of its peak
_EDGE: Final = 50  # samples, 0.5 s at each end, where a drift leaves the filter's transient
_SILENT: Final = 1e-6  # mV a sample: less slope is none


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
