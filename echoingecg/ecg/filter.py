"""The filter of EchoingECG: a zero-phase Butterworth band-pass at the source rate, then resampling to 100 Hz."""

from fractions import Fraction
from functools import lru_cache
from math import ceil

import numpy as np

from data_contracts.conventions import SAMPLES, SAMPLING_FREQUENCY
from echoingecg.common import Refusal
from echoingecg.recipe import EcgSettings

# Largest term of the resampling ratio: exact for rates of up to 1 kHz with two decimals; bounds the window.
_MAX_RATIO_TERM = 100_000
# Zero crossings of the anti-aliasing sinc on each side, as in scipy.signal.resample_poly.
_ZERO_CROSSINGS = 10
# By then the response of a band from 0.5 Hz has died away, so that the far end of a mirror adds nothing.
_EDGE_SECONDS = 8


def band_pass_and_resample(
    signal: np.ndarray, sampling_frequency: float, settings: EcgSettings, context: tuple[int, int] = (0, 0)
) -> np.ndarray:
    """The filtered signal at 100 Hz.

    Args:
        signal: float64 (lead, time), mV, without NaN.
        sampling_frequency: of `signal`, Hz.
        settings: band, order, window and edge.
        context: samples of `signal` before and after the window, which lend the filter what the recording holds there;
            only for the edge `mirror`, and of lengths that `longest_context` allows.

    Returns:
        float32 (lead, 1000), mV; zeros, the filter's rest, after the end of a shorter signal.

    Raises:
        Refusal: the sampling frequency is too low for the band, or the signal too short for the filter.
    """
    resampled = filtered_at_100_hertz(signal, sampling_frequency, settings, context)[:, :SAMPLES]
    padded = np.zeros((len(signal), SAMPLES), dtype=np.float32)
    padded[:, : resampled.shape[1]] = resampled
    return padded


def filtered_at_100_hertz(
    signal: np.ndarray, sampling_frequency: float, settings: EcgSettings, context: tuple[int, int] = (0, 0)
) -> np.ndarray:
    """Does the work of `band_pass_and_resample` in float64, (lead, time); only the window, and nothing after it."""
    before, after = context
    inside = slice(before, signal.shape[-1] - after)
    if settings.edge == "published":
        return resample(band_pass(signal[..., inside], sampling_frequency, settings), sampling_frequency, settings)
    mirrored = min(longest_context(sampling_frequency), signal.shape[-1] - 1)
    is_on_grid = _is_grid_fine(sampling_frequency)
    if is_on_grid:
        mirrored = whole_context(mirrored, sampling_frequency)
    filtered = band_pass(_mirrored(signal, mirrored), sampling_frequency, settings)
    start, stop = mirrored + before, mirrored + signal.shape[-1] - after
    if not is_on_grid:
        return resample(filtered[..., start:stop], sampling_frequency, settings)
    ratio = _ratio(sampling_frequency)
    assert (start * ratio).denominator == 1, "the context does not end on a sample of the result"
    first, count = int(start * ratio), ceil((stop - start) * ratio)
    return resample(filtered, sampling_frequency, settings)[..., first : first + count]


@lru_cache(maxsize=64)
def longest_context(sampling_frequency: float) -> int:
    """Samples of about 8 s, of a length that `whole_context` allows."""
    return whole_context(round(_EDGE_SECONDS * sampling_frequency), sampling_frequency)


def whole_context(samples: int, sampling_frequency: float) -> int:
    """The most of so many samples that may be context: a sample of the result falls on the first one after it.

    At 250 Hz that is an even number. At a rate where this happens too rarely it is all of them, and the window is cut
    before it is resampled.
    """
    grid = _ratio(sampling_frequency).denominator
    return samples // grid * grid if _is_grid_fine(sampling_frequency) else samples


def _is_grid_fine(sampling_frequency: float) -> bool:
    return _ratio(sampling_frequency).denominator <= sampling_frequency


def _mirrored(signal: np.ndarray, samples: int) -> np.ndarray:
    """The signal with so many samples mirrored at each end, the last sample not repeated."""
    widths = [(0, 0)] * (signal.ndim - 1) + [(samples, samples)]
    return np.pad(signal, widths, mode="reflect")


def band_pass(signal: np.ndarray, sampling_frequency: float, settings: EcgSettings) -> np.ndarray:
    """Butterworth band-pass, forward and backward, so that no phase shifts. float64 (lead, time).

    The upper edge is at most `edge_limit` of both the target's and the source's rate, so that it stays
    under the source's Nyquist frequency.
    """
    from scipy import signal as dsp  # most of a second, which decoders of most recordings do without

    high = min(settings.band_high, settings.edge_limit * min(SAMPLING_FREQUENCY, sampling_frequency))
    if high <= settings.band_low:
        raise Refusal("missing_sampling_frequency", f"{sampling_frequency:g} Hz is too low for the filter's band")
    sections = _sections(settings.filter_order, settings.band_low, high, sampling_frequency)
    try:
        return dsp.sosfiltfilt(sections, signal, axis=-1)
    except ValueError as fault:
        raise Refusal("too_short", f"{signal.shape[-1]} samples are too few for the filter") from fault


@lru_cache(maxsize=64)
def _ratio(sampling_frequency: float) -> Fraction:
    """Samples of the result a sample of the source."""
    exact = Fraction(SAMPLING_FREQUENCY) / Fraction(sampling_frequency)
    return exact.limit_denominator(int(_MAX_RATIO_TERM / max(Fraction(1), exact)))


def resample(signal: np.ndarray, sampling_frequency: float, settings: EcgSettings) -> np.ndarray:
    """Rational polyphase resampling to 100 Hz; each lead's median pads its ends. float64 (lead, time)."""
    from scipy import signal as dsp

    ratio = _ratio(sampling_frequency)
    if ratio == 1:
        return signal
    window = _window(max(ratio.numerator, ratio.denominator), settings.kaiser_beta)
    return dsp.resample_poly(
        signal, ratio.numerator, ratio.denominator, axis=-1, window=window, padtype="median"
    )  # fmt: skip


@lru_cache(maxsize=16)
def _sections(order: int, low: float, high: float, sampling_frequency: float) -> np.ndarray:
    from scipy import signal as dsp

    return dsp.butter(order, (low, high), btype="bandpass", fs=sampling_frequency, output="sos")


@lru_cache(maxsize=4)
def _window(rate: int, kaiser_beta: float) -> np.ndarray:
    """The low-pass that scipy.signal.resample_poly designs anew on every call, designed once."""
    from scipy import signal as dsp

    return dsp.firwin(2 * _ZERO_CROSSINGS * rate + 1, 1 / rate, window=("kaiser", kaiser_beta))


def median(values: np.ndarray) -> np.ndarray:
    """Median over the last axis, of the same dtype: numpy.median for values without NaN, at a third of its cost."""
    count = values.shape[-1]
    half = (count - 1) // 2
    ordered = np.partition(values, half, axis=-1)
    lower = ordered[..., half]
    if count % 2:
        return lower
    return (lower + ordered[..., half + 1 :].min(axis=-1)) / 2
