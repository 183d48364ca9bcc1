"""Findings per lead and per recording: they flag; which of them refuse is the recipe's choice.

Thresholds and their sources: docs/ecg_quality.md. Every function takes one recording (lead, time) or a batch
(record, lead, time) of equal rate and length.

Amplitudes that no ECG has: a gain or a unit that the file states wrongly.
"""

from functools import lru_cache
from math import isnan

import numpy as np

from data_contracts.conventions import LEADS, SAMPLES, SAMPLING_FREQUENCY
from data_contracts.ecg import QUALITY_FLAGS, RECORD_FLAGS
from echoingecg.common import Refusal
from echoingecg.ecg.beats import contrast, find_beats, heart_rate, slope_energy
from echoingecg.ecg.decode.recording import limb_lead_error
from echoingecg.ecg.filter import count_equal, median
from echoingecg.recipe import EcgSettings

_ENOUGH_LEADS = 3  # that show the QRS complexes: whatever electrode is off, more than these see the heart


def assess_quality(
    raw: np.ndarray, missing: np.ndarray, filtered: np.ndarray, sampling_frequency: float, settings: EcgSettings
) -> tuple[np.ndarray, np.ndarray]:
    """What is wrong with each lead and with each recording.

    Args:
        raw: float (..., 12, time), mV, unfiltered, gaps interpolated; the window's recorded part.
        missing: (..., 12) share of missing samples.
        filtered: float (..., 12, 1000), mV at 100 Hz, whatever fills it up after `raw` included.
        sampling_frequency: of `raw`, Hz.
        settings: thresholds.

    Returns:
        uint8 (..., 12), bit mask of data_contracts.ecg.QUALITY_FLAGS, and uint8 (...), of RECORD_FLAGS.
    """
    recorded = recorded_samples(raw.shape[-1], sampling_frequency)
    heart = filtered[..., :recorded]
    energy = slope_energy(heart)
    beats = find_beats(energy)
    clarity = contrast(energy, beats)
    rate = heart_rate(beats)
    qrs = (rate >= settings.rate_low) & (rate <= settings.rate_high)
    qrs &= np.sort(clarity, axis=-1)[..., -_ENOUGH_LEADS] >= settings.qrs_contrast

    highest, lowest = raw.max(axis=-1), raw.min(axis=-1)
    flat = highest - lowest < settings.flat_mv
    level, mains = level_and_mains(raw, sampling_frequency, settings.mains_frequencies)
    power = np.einsum("...t,...t->...", heart, heart) / recorded
    leads = {
        "flat": flat,
        "clipped": ~flat & (_share_at_extreme(raw, highest, lowest) > settings.clipped_share),
        "nan": missing > 0,
        "baseline": np.abs(level) > settings.baseline_mv,
        "amplitude": np.maximum(filtered.max(axis=-1), -filtered.min(axis=-1)) > settings.amplitude_mv,
        "disconnected": ~flat & qrs[..., None] & (clarity < settings.lead_contrast),
        "mains": ~flat & (mains > settings.mains_share * (mains + power)),
    }
    error, share = limb_lead_error(heart)
    whole = {
        "short": np.full(qrs.shape, recorded < SAMPLES),
        "no_qrs": ~qrs,
        "limb_leads": (share > settings.limb_lead_share) & (error > settings.limb_lead_mv),
    }
    return _mask(leads, QUALITY_FLAGS), _mask(whole, RECORD_FLAGS)


def recorded_samples(time: int, sampling_frequency: float) -> int:
    """How many of the 1000 samples at 100 Hz stand on recorded ones; one missing sample of the source is none."""
    return min(SAMPLES, int((time + 1) * SAMPLING_FREQUENCY / sampling_frequency))


def level_and_mains(
    raw: np.ndarray, sampling_frequency: float, frequencies: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Level and mains power of each lead, both as medians over its seconds: bursts and QRS complexes do not count.

    Each second is projected on sines that are free of level and slope. A mains frequency that the sampling
    frequency cannot show (from 0.475 of it up) is left out.

    Args:
        raw: float (..., lead, time), mV, unfiltered.
        sampling_frequency: of `raw`, Hz.
        frequencies: Hz.

    Returns:
        (..., lead) level in mV, and (..., lead) power in mV² at the strongest of the frequencies.
    """
    basis = _basis(min(round(sampling_frequency), raw.shape[-1]), sampling_frequency, frequencies)
    seconds = raw.shape[-1] // len(basis)
    # One product a recording: of the same shape whatever else is in the batch.
    rows = raw[..., : seconds * len(basis)].reshape(*raw.shape[:-2], -1, len(basis))
    projected = (rows @ basis.astype(raw.dtype)).reshape(*raw.shape[:-1], seconds, -1)
    level, *waves = np.moveaxis(median(np.moveaxis(_powers(projected), -2, -1)), -1, 0)
    return level, np.max(waves, axis=0) if waves else np.zeros_like(level)


def _powers(projected: np.ndarray) -> np.ndarray:
    """(..., 1 + 2 n) means, cosines and sines as (..., 1 + n) means and powers."""
    cosine, sine = projected[..., 1::2], projected[..., 2::2]
    return np.concatenate([projected[..., :1], (cosine**2 + sine**2) / 2], axis=-1)


@lru_cache(maxsize=32)
def _basis(time: int, sampling_frequency: float, frequencies: tuple[float, ...]) -> np.ndarray:
    """float64 (time, 1 + 2 n): projects on the mean, and on each frequency's cosine and sine as amplitudes."""
    at = np.arange(time) / sampling_frequency
    columns = [
        wave(2 * np.pi * one * at)
        for one in frequencies
        if one < 0.475 * sampling_frequency
        for wave in (np.cos, np.sin)
    ]
    trend = np.stack([np.ones(time), at - at.mean()], axis=1)
    waves = np.stack(columns, axis=1) if columns else np.empty((time, 0))
    waves = waves - trend @ np.linalg.lstsq(trend, waves, rcond=None)[0]
    return np.concatenate([np.ones((time, 1)), 2 * waves], axis=1) / time


def _share_at_extreme(raw: np.ndarray, highest: np.ndarray, lowest: np.ndarray) -> np.ndarray:
    return np.maximum(count_equal(raw, highest), count_equal(raw, lowest)) / raw.shape[-1]


def _mask(found: dict[str, np.ndarray], flags: dict) -> np.ndarray:
    mask = np.zeros(next(iter(found.values())).shape, dtype=np.uint8)
    for name, where in found.items():
        mask |= where.astype(np.uint8) * np.uint8(flags[name])
    return mask


def finding_names(mask: int, flags: dict) -> tuple[str, ...]:
    """The findings in a bit mask."""
    return tuple(name for name, bit in flags.items() if mask & bit)


def check_findings(quality: np.ndarray, findings: int, settings: EcgSettings) -> None:
    """Raises Refusal(poor_quality) when the recipe refuses what was found on one recording.

    Args:
        quality: uint8 (12,), of `judge`.
        findings: of `judge`.
        settings: `refuse` and `refuse_leads`.
    """
    for name in finding_names(findings, RECORD_FLAGS):
        if name in settings.refuse:
            raise Refusal("poor_quality", name)
    for name, bit in QUALITY_FLAGS.items():
        at = np.flatnonzero(quality & bit)
        if name in settings.refuse and len(at) >= settings.refuse_leads:
            raise Refusal("poor_quality", f"{name}: {', '.join(LEADS[lead] for lead in at)}")


_WINDOW = 2.0  # s: holds a beat at 30 a minute, and little of the baseline's wander


def typical_amplitude(signal: np.ndarray, sampling_frequency: float) -> np.ndarray:
    """Peak to peak in mV: the median over leads of the median over windows of 2 s, each without its trend.

    Leads that never change, dead ones, are left out; so are windows with missing samples.

    Args:
        signal: float (..., 12, time), mV; may hold NaN.
        sampling_frequency: of `signal`, Hz.

    Returns:
        (...,); NaN when every lead is dead or missing.
    """
    time = signal.shape[-1]
    width = max(1, min(time, round(_WINDOW * sampling_frequency)))
    count = time // width
    windows = signal[..., : count * width].reshape(*signal.shape[:-1], count, width)
    ramp = _ramp(width).astype(signal.dtype, copy=False)
    straight = windows - (windows @ ramp / max(float(ramp @ ramp), 1.0))[..., None] * ramp
    heights = straight.max(axis=-1) - straight.min(axis=-1)
    dead = np.ptp(signal, axis=-1) == 0  # NaN is not 0
    if np.isfinite(heights).all() and not dead.any():
        return median(median(heights))
    heights[dead] = np.nan
    return _over_what_is_there(_over_what_is_there(np.where(np.isfinite(heights), heights, np.nan)))


def _over_what_is_there(values: np.ndarray) -> np.ndarray:
    """Median along the last axis without NaN; NaN where nothing else is."""
    there = ~np.isnan(values)
    found = np.nanmedian(np.where(there.any(axis=-1, keepdims=True), values, 0), axis=-1)
    return np.where(there.any(axis=-1), found, np.nan)


@lru_cache(maxsize=8)
def _ramp(width: int) -> np.ndarray:
    return np.linspace(-1.0, 1.0, width, dtype=np.float32)


def check_plausible(amplitude: float, settings: EcgSettings) -> None:
    """Refuses a recording whose gain must be wrong. One in which every lead is dead is not judged here.

    Args:
        amplitude: of `typical_amplitude`; the stage gives that of the filtered signal.
        settings: `typical_low_mv` and `typical_high_mv`.

    Raises:
        Refusal: implausible.
    """
    if not isnan(amplitude) and not settings.typical_low_mv <= amplitude <= settings.typical_high_mv:
        raise Refusal("implausible", f"a typical amplitude of {amplitude:.3g} mV from peak to peak")
