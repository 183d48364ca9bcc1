"""The filter as a matrix, for recordings of full length: the numbers of filter.py at a twentieth of its cost.

Band-pass and resampling are linear, except for the median that pads the resampler. So `band_pass_and_resample` is a
matrix (1000, time). It is never formed. Input and result are cut into blocks of 0.2 s:

- a block of the input adds to its own and the two adjoining blocks of the result through a matrix that is the same
  everywhere (`banded`: the response of the upper band edge dies away within 0.1 s);
- everything else is the slow response of the lower band edge, and smooth: it goes through the first Legendre
  polynomials of each block, in and out (`low_rank`);
- the first and the last block, where the ends of the recording bend the response, are kept sample by sample.

The matrices are measured on `band_pass` and `resample` themselves and proved against them once for each rate and
recipe; those of the default band at 500 Hz, of both edges, lie beside this file (`make filters`), so that their records
need no SciPy. Where they do not agree, or cannot be made, `band_pass_and_resample` does the work. Every product has a
shape that depends on the rate alone, so that a record's bytes do not depend on the records beside it. They do depend on
the number of threads that a product is split over: callers hold `echoingecg.common.one_blas_thread`.
"""

from dataclasses import dataclass, fields
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from typing import get_args

import numpy as np

from data_contracts.conventions import LEADS, SAMPLES, SAMPLING_FREQUENCY
from echoingecg.common import Refusal
from echoingecg.ecg.filter import band_pass, band_pass_and_resample, filtered_at_100_hertz, median, resample
from echoingecg.recipe import EcgSettings

_BLOCKS = 50
_BLOCK = SAMPLES // _BLOCKS  # samples of the result in a block: 20
_DEGREES = 5  # Legendre polynomials a block
_RESPONSES_PER_BATCH = 64  # measured together: bounds memory
_MAX_HERTZ = 2000
_SHIPPED_HERTZ = 500.0
SHIPPED = Path(__file__).with_name("filter_500_hertz.npz")
EDGES: tuple[str, ...] = get_args(EcgSettings.model_fields["edge"].annotation)
_MAX_MV = 1e6  # beyond it the work needs float64
_TOLERANCE_MV = 0.0005  # on probes of about 1 mV


@dataclass(frozen=True)
class BlockedFilter:
    """`band_pass_and_resample` at one rate; float32 throughout.

    Attributes:
        banded: (block sample, 3 x 20 + degree): what a block adds to the block before, to its own and to the
            next one, and its polynomials.
        low_rank: (48 x degree + 2 blocks of samples, 48 x degree + 2 x 20): polynomials of the inner blocks and
            all samples of the outer ones, in and out.
        polynomials: (degree, 20) of a block of the result.
        padding: (40,) in the first and the last block: what the resampler's padding adds for each unit of the median.
    """

    banded: np.ndarray
    low_rank: np.ndarray
    polynomials: np.ndarray
    padding: np.ndarray

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """Filters many records.

        Args:
            raw: float32 (..., 12, time), mV, 10 s without NaN.

        Returns:
            float32 (..., 12, 1000), mV at 100 Hz.
        """
        filtered = self.linear(raw)
        level = median(filtered)[..., None]  # of the result; `resample` takes that of its input, at the source's rate
        filtered[..., :_BLOCK] += level * self.padding[:_BLOCK]
        filtered[..., -_BLOCK:] += level * self.padding[_BLOCK:]
        return filtered

    def linear(self, raw: np.ndarray) -> np.ndarray:
        """Filters many records, with the resampler padded by zeros. Arguments and result are those of a call."""
        *records, leads, _ = raw.shape
        size = len(self.banded)
        parts = (raw.reshape(*records, -1, size) @ self.banded).reshape(*records, leads, _BLOCKS, -1)
        result = np.ascontiguousarray(parts[..., _BLOCK : 2 * _BLOCK])
        result[..., :-1, :] += parts[..., 1:, :_BLOCK]
        result[..., 1:, :] += parts[..., :-1, 2 * _BLOCK : 3 * _BLOCK]
        smooth = parts[..., 1:-1, 3 * _BLOCK :].reshape(*records, leads, -1)
        spread = np.concatenate([smooth, raw[..., :size], raw[..., -size:]], axis=-1) @ self.low_rank
        inner = smooth.shape[-1]
        weights = spread[..., :inner].reshape(*records, -1, _DEGREES)
        result[..., 1:-1, :] += (weights @ self.polynomials).reshape(*records, leads, -1, _BLOCK)
        result[..., 0, :] += spread[..., inner : inner + _BLOCK]
        result[..., -1, :] += spread[..., inner + _BLOCK :]
        return result.reshape(*records, leads, SAMPLES)


def filter_records(
    raw: np.ndarray, sampling_frequency: float, settings: EcgSettings, context: tuple[int, int] = (0, 0)
) -> np.ndarray:
    """Filters records like `band_pass_and_resample`, to 1 uV; the bytes of each do not depend on the others.

    Args:
        raw: float32 (record, 12, time), mV, without NaN.
        sampling_frequency: of `raw`, Hz.
        settings: the recipe's section `ecg`.
        context: samples of `raw` before and after the window.

    Returns:
        float32 (record, 12, 1000), mV at 100 Hz.

    Raises:
        Refusal: see `band_pass_and_resample`.
    """
    size = sampling_frequency * SAMPLES / SAMPLING_FREQUENCY
    is_blocked = raw.shape[-1] == size and context == (0, 0)
    blocked = _blocked_filter(sampling_frequency, *_band(settings)) if is_blocked else None
    if blocked is not None and raw.max() < _MAX_MV and raw.min() > -_MAX_MV:
        return blocked(raw)
    if blocked is not None and len(raw) > 1:
        return np.concatenate([filter_records(record[None], sampling_frequency, settings) for record in raw])
    records = (record.astype(np.float64) for record in raw)
    return np.stack([band_pass_and_resample(record, sampling_frequency, settings, context) for record in records])


# The settings that the filter reads: recipes that differ in thresholds alone share its matrices.
_BAND = ("band_low", "band_high", "edge_limit", "filter_order", "kaiser_beta", "edge")
_band = attrgetter(*_BAND)


@lru_cache(maxsize=16)
def _blocked_filter(sampling_frequency: float, *band: float | str) -> BlockedFilter | None:
    """None where blocks do not hold whole samples, the filter refuses, or the matrices do not agree with it."""
    settings = EcgSettings(**dict(zip(_BAND, band, strict=True)))
    if sampling_frequency == _SHIPPED_HERTZ and band == _band(EcgSettings(edge=settings.edge)):
        with np.load(SHIPPED, allow_pickle=False) as arrays:
            return BlockedFilter(*(arrays[f"{settings.edge}_{part.name}"] for part in fields(BlockedFilter)))
    size = sampling_frequency / _BLOCKS * SAMPLES / SAMPLING_FREQUENCY
    if size != int(size) or not SAMPLING_FREQUENCY <= sampling_frequency <= _MAX_HERTZ:
        return None
    try:
        blocked = measure_filter(int(size), sampling_frequency, settings)
        probe = _probe(int(size) * _BLOCKS, sampling_frequency)
        exact = _filtered(probe.astype(np.float64), sampling_frequency, settings)
    except Refusal:
        return None
    return blocked if np.abs(blocked.linear(probe) - exact).max() < _TOLERANCE_MV else None


def ship() -> None:
    """Measures the filters that lie beside this file and writes them, float32."""
    size = int(_SHIPPED_HERTZ / _BLOCKS * SAMPLES / SAMPLING_FREQUENCY)
    filters = {edge: measure_filter(size, _SHIPPED_HERTZ, EcgSettings(edge=edge)) for edge in EDGES}
    parts = [part.name for part in fields(BlockedFilter)]
    np.savez(SHIPPED, **{f"{edge}_{part}": getattr(filters[edge], part) for edge in EDGES for part in parts})


def measure_filter(size: int, sampling_frequency: float, settings: EcgSettings) -> BlockedFilter:
    """The matrices for blocks of `size` samples, from the filter's responses. Raises Refusal like the filter."""
    middle = _BLOCKS // 2
    responses = _responses(np.eye(size), middle * size, size, sampling_frequency, settings)
    first = (middle - 1) * _BLOCK
    banded = responses[:, first : first + 3 * _BLOCK]
    polynomials_in, polynomials_out = _legendre(size), _legendre(_BLOCK)
    rows = []
    for block in range(_BLOCKS):
        inputs = polynomials_in.T if 0 < block < _BLOCKS - 1 else np.eye(size)
        smooth = _responses(inputs, block * size, size, sampling_frequency, settings)
        for part, other in enumerate(range(block - 1, block + 2)):
            if 0 <= other < _BLOCKS:
                near = banded[:, part * _BLOCK : (part + 1) * _BLOCK]
                smooth[:, other * _BLOCK : (other + 1) * _BLOCK] -= inputs @ near
        inner = smooth[:, _BLOCK:-_BLOCK].reshape(len(inputs), _BLOCKS - 2, _BLOCK) @ polynomials_out
        rows.append(np.concatenate([inner.reshape(len(inputs), -1), smooth[:, :_BLOCK], smooth[:, -_BLOCK:]], axis=1))
    low_rank = np.concatenate([*rows[1:-1], rows[0], rows[-1]])
    constant = _padded_by_zeros(np.ones((1, size * _BLOCKS)), sampling_frequency, settings)[0]
    padding = (1 - constant)[[*range(_BLOCK), *range(-_BLOCK, 0)]] * (settings.edge == "published")
    exact = (banded, polynomials_in, low_rank, polynomials_out.T, padding)
    single = [np.ascontiguousarray(matrix, dtype=np.float32) for matrix in exact]
    return BlockedFilter(np.concatenate(single[:2], axis=1), *single[2:])


def _responses(
    inputs: np.ndarray, start: int, size: int, sampling_frequency: float, settings: EcgSettings
) -> np.ndarray:
    """What the filter without its median makes of each input (input, block sample): float64 (input, 1000)."""
    responses = []
    for batch in np.array_split(inputs, -(-len(inputs) // _RESPONSES_PER_BATCH)):
        signals = np.zeros((len(batch), size * _BLOCKS))
        signals[:, start : start + size] = batch
        responses.append(_filtered(signals, sampling_frequency, settings))
    return np.concatenate(responses)


def _filtered(signal: np.ndarray, sampling_frequency: float, settings: EcgSettings) -> np.ndarray:
    """The filtered signal in float64, with the resampler padded by zeros, which add nothing beyond a mirrored edge."""
    if settings.edge == "mirror":
        return filtered_at_100_hertz(signal, sampling_frequency, settings)
    return _padded_by_zeros(band_pass(signal, sampling_frequency, settings), sampling_frequency, settings)


def _padded_by_zeros(signal: np.ndarray, sampling_frequency: float, settings: EcgSettings) -> np.ndarray:
    """The resampled signal, padded by zeros: between two stretches of zeros of its length its median is 0."""
    zeros = np.zeros_like(signal)
    return resample(np.concatenate([zeros, signal, zeros], axis=1), sampling_frequency, settings)[:, SAMPLES:-SAMPLES]


def _legendre(size: int) -> np.ndarray:
    """The first Legendre polynomials, float64 (size, degree), orthonormal over the samples of a block."""
    return np.linalg.qr(np.polynomial.legendre.legvander(np.linspace(-1, 1, size), _DEGREES - 1))[0]


def _probe(samples: int, sampling_frequency: float) -> np.ndarray:
    """A test signal, float32 (12, samples), mV: noise, a drift, steps and beats, up to both ends."""
    random = np.random.default_rng(0)
    time = np.arange(samples) / sampling_frequency
    probe = random.normal(0, 0.3, (len(LEADS), samples))
    probe[3:6] = np.cumsum(probe[3:6], axis=1) / np.sqrt(sampling_frequency)
    probe[6:9] += np.exp(-(((time % 0.8) - 0.05) ** 2) / 2e-4)
    probe[9:] += np.sign(np.sin(2 * np.pi * random.uniform(0.1, 2, (3, 1)) * time))
    return probe.astype(np.float32)
