"""The filter as a matrix, for recordings of full length: what `clean` computes, at a twentieth of its cost.

Band-pass and resampling are linear but for the median that pads the resampler. So `clean` is a matrix
(1000, time), which is never formed. Both sides are cut into blocks of 0.2 s:

- a block reaches its own and the two adjoining blocks of the result through a matrix that is the same
  everywhere (`near`: the response of the upper band edge dies away within 0.1 s);
- all else is the slow response of the lower band edge, and smooth: it goes through the first Legendre
  polynomials of each block, in and out (`far`);
- the first and the last block, where the ends of the recording bend the response, are kept sample by sample.

The matrices are measured on `band_pass` and `resample` themselves and proved against `clean` once for each
rate and recipe; where they do not agree, or do not exist, the filter is `clean`. Every product has a shape
that depends on the rate alone, so that a record's bytes do not depend on its neighbours. They do depend on how
many threads a product is split over: `process.finish` allows one.
"""

from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter

import numpy as np

from data_contracts.conventions import LEADS, SAMPLES, SAMPLING_FREQUENCY
from echoingecg.common import Refusal
from echoingecg.ecg.filter import band_pass, band_pass_and_resample, median, resample
from echoingecg.recipe import EcgSettings

_BLOCKS = 50
_OUT = SAMPLES // _BLOCKS  # samples of the result in a block
_DEGREES = 5  # Legendre polynomials a block
_COLUMNS = 64  # responses that are measured together: bounds memory
_MOST_HERTZ = 2000
_MOST_MV = 1e6  # beyond it float64 must do
_AGREE_MV = 0.0005  # on probes of about 1 mV


@dataclass(frozen=True)
class BlockedFilter:
    """`clean` at one rate; float32 throughout.

    Attributes:
        near: (block sample, 3 x 20 + degree): what a block adds to the block before, to its own and to the
            next one, and its polynomials.
        far: (48 x degree + 2 blocks of samples, 48 x degree + 2 x 20): polynomials of the inner blocks and
            all samples of the outer ones, in and out.
        spread: (degree, 20) polynomials of a block of the result.
        ends: (40,) of the first and the last block: what the resampler's padding adds for each unit of the median.
    """

    near: np.ndarray
    far: np.ndarray
    spread: np.ndarray
    ends: np.ndarray

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """Many records.

        Args:
            raw: float32 (..., 12, time), mV, 10 s without NaN.

        Returns:
            float32 (..., 12, 1000), mV at 100 Hz.
        """
        filtered = self.linear(raw)
        if self.ends.size:
            level = median(filtered)[..., None]  # of the result: `clean` takes that of the result at the source's rate
            filtered[..., :_OUT] += level * self.ends[:_OUT]
            filtered[..., -_OUT:] += level * self.ends[_OUT:]
        return filtered

    def linear(self, raw: np.ndarray) -> np.ndarray:
        """The same with the resampler padded by zeros."""
        *records, leads, _ = raw.shape
        size = len(self.near)
        parts = (raw.reshape(*records, -1, size) @ self.near).reshape(*records, leads, _BLOCKS, -1)
        result = np.ascontiguousarray(parts[..., _OUT : 2 * _OUT])
        result[..., :-1, :] += parts[..., 1:, :_OUT]
        result[..., 1:, :] += parts[..., :-1, 2 * _OUT : 3 * _OUT]
        smooth = parts[..., 1:-1, 3 * _OUT :].reshape(*records, leads, -1)
        spread = np.concatenate([smooth, raw[..., :size], raw[..., -size:]], axis=-1) @ self.far
        inner = smooth.shape[-1]
        polynomials = spread[..., :inner].reshape(*records, -1, _DEGREES)
        result[..., 1:-1, :] += (polynomials @ self.spread).reshape(*records, leads, -1, _OUT)
        result[..., 0, :] += spread[..., inner : inner + _OUT]
        result[..., -1, :] += spread[..., inner + _OUT :]
        return result.reshape(*records, leads, SAMPLES)


def filter_records(raw: np.ndarray, sampling_frequency: float, settings: EcgSettings) -> np.ndarray:
    """Records as `clean` filters them, to 1 uV; each gets the same bytes whatever is beside it.

    Args:
        raw: float32 (record, 12, time), mV, without NaN.
        sampling_frequency: of `raw`, Hz.
        settings: the recipe's section `ecg`.

    Returns:
        float32 (record, 12, 1000), mV at 100 Hz.

    Raises:
        Refusal: as `clean`.
    """
    size = sampling_frequency * SAMPLES / SAMPLING_FREQUENCY
    operator = _operator(sampling_frequency, *_band(settings)) if raw.shape[-1] == size else None
    if operator is not None and raw.max() < _MOST_MV and raw.min() > -_MOST_MV:
        return operator(raw)
    if operator is not None and len(raw) > 1:
        return np.concatenate([filter_records(one[None], sampling_frequency, settings) for one in raw])
    return np.stack([band_pass_and_resample(one.astype(np.float64), sampling_frequency, settings) for one in raw])


# What the filter reads of the settings: those that differ in thresholds alone share their operator.
_BAND = ("band_low", "band_high", "edge_limit", "filter_order", "kaiser_beta")
_band = attrgetter(*_BAND)


@lru_cache(maxsize=16)
def _operator(sampling_frequency: float, *band: float) -> BlockedFilter | None:
    """None where blocks do not hold whole samples, the filter refuses, or the matrices do not agree with it."""
    settings = EcgSettings(**dict(zip(_BAND, band, strict=True)))
    size = sampling_frequency / _BLOCKS * SAMPLES / SAMPLING_FREQUENCY
    if size != int(size) or not SAMPLING_FREQUENCY <= sampling_frequency <= _MOST_HERTZ:
        return None
    try:
        made = measure_filter(int(size), sampling_frequency, settings)
        probe = _probe(int(size) * _BLOCKS, sampling_frequency)
        exact = _filtered(probe.astype(np.float64), sampling_frequency, settings)
    except Refusal:
        return None
    return made if np.abs(made.linear(probe) - exact).max() < _AGREE_MV else None


def measure_filter(size: int, sampling_frequency: float, settings: EcgSettings) -> BlockedFilter:
    """The operator for blocks of `size` samples. Raises Refusal as `clean`."""
    before = _BLOCKS // 2 * size
    responses = _responses(np.eye(size), before, size, sampling_frequency, settings)
    first = before // size * _OUT - _OUT
    near = responses[:, first : first + 3 * _OUT]
    taken, spread = _legendre(size), _legendre(_OUT)
    rows = []
    for block in range(_BLOCKS):
        inputs = taken.T if 0 < block < _BLOCKS - 1 else np.eye(size)
        smooth = _responses(inputs, block * size, size, sampling_frequency, settings)
        for part, other in enumerate(range(block - 1, block + 2)):
            if 0 <= other < _BLOCKS:
                smooth[:, other * _OUT : (other + 1) * _OUT] -= inputs @ near[:, part * _OUT : (part + 1) * _OUT]
        inner = smooth[:, _OUT:-_OUT].reshape(len(inputs), _BLOCKS - 2, _OUT) @ spread
        rows.append(np.concatenate([inner.reshape(len(inputs), -1), smooth[:, :_OUT], smooth[:, -_OUT:]], axis=1))
    far = np.concatenate([*rows[1:-1], rows[0], rows[-1]])
    ones = np.ones((1, size * _BLOCKS))
    ends = (1 - _padded_by_zeros(ones, sampling_frequency, settings)[0])[[*range(_OUT), *range(-_OUT, 0)]]
    single = [np.ascontiguousarray(one, dtype=np.float32) for one in (near, taken, far, spread.T, ends)]
    return BlockedFilter(np.concatenate(single[:2], axis=1), *single[2:])


def _responses(inputs: np.ndarray, at: int, size: int, sampling_frequency: float, settings: EcgSettings) -> np.ndarray:
    """float64 (input, 1000): what `clean` without its median makes of each input (input, block sample)."""
    found = []
    for some in np.array_split(inputs, -(-len(inputs) // _COLUMNS)):
        whole = np.zeros((len(some), size * _BLOCKS))
        whole[:, at : at + size] = some
        found.append(_filtered(whole, sampling_frequency, settings))
    return np.concatenate(found)


def _filtered(signal: np.ndarray, sampling_frequency: float, settings: EcgSettings) -> np.ndarray:
    """`clean` in float64, with the resampler padded by zeros."""
    return _padded_by_zeros(band_pass(signal, sampling_frequency, settings), sampling_frequency, settings)


def _padded_by_zeros(signal: np.ndarray, sampling_frequency: float, settings: EcgSettings) -> np.ndarray:
    """`resample`, padded with zeros: a signal between two stretches of zeros as long has a median of 0."""
    zeros = np.zeros_like(signal)
    return resample(np.concatenate([zeros, signal, zeros], axis=1), sampling_frequency, settings)[:, SAMPLES:-SAMPLES]


def _legendre(size: int) -> np.ndarray:
    """float64 (size, degree): the first polynomials, orthonormal over the samples of a block."""
    return np.linalg.qr(np.polynomial.legendre.legvander(np.linspace(-1, 1, size), _DEGREES - 1))[0]


def _probe(samples: int, sampling_frequency: float) -> np.ndarray:
    """float32 (12, samples), mV: noise, a drift, steps and beats, up to both ends."""
    random = np.random.default_rng(0)
    time = np.arange(samples) / sampling_frequency
    probe = random.normal(0, 0.3, (len(LEADS), samples))
    probe[3:6] = np.cumsum(probe[3:6], axis=1) / np.sqrt(sampling_frequency)
    probe[6:9] += np.exp(-(((time % 0.8) - 0.05) ** 2) / 2e-4)
    probe[9:] += np.sign(np.sin(2 * np.pi * random.uniform(0.1, 2, (3, 1)) * time))
    return probe.astype(np.float32)
