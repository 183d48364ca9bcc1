"""Findings on each lead and each recording, and what the recipe's rules make of them.

Also the check of the typical amplitude, which refuses a gain or a unit that the file states wrongly. Thresholds and
their sources: docs/ecg_quality.md. Every function takes one recording (lead, time) or a batch (record, lead, time) of
equal rate and length.
"""

from functools import lru_cache
from itertools import combinations
from math import isnan

import numpy as np

from data_contracts.conventions import FINDING_RULES, LEADS, SAMPLES, SAMPLING_FREQUENCY, FindingRule
from data_contracts.ecg import QUALITY_FLAGS, RECORD_FLAGS
from echoingecg.common import Refusal
from echoingecg.ecg import beats
from echoingecg.ecg.decode.recording import limb_lead_error
from echoingecg.ecg.electrodes import (
    INDEPENDENT,
    LIMB_LEADS,
    gain_against_neighbours,
    gain_by_reversal,
    limb_lead_of_other_gain,
)
from echoingecg.ecg.filter import median
from echoingecg.ecg.stretches import BadBlocks, find_bad_blocks, find_pulses, find_repeats
from echoingecg.recipe import EcgSettings

_MIN_QRS_LEADS = 3  # leads that must show the QRS complexes: whatever electrode is off, more than these see the heart
_MAX_MAINS_SHARE = 0.475  # of the sampling frequency: higher mains frequencies are not seen
# A lead with one of these does not show the heart's shape.
_BREAK_A_LEAD = ("flat", "clipped", "amplitude", "disconnected", "flat_seconds", "absent")
_CHEST = slice(LEADS.index("V1"), LEADS.index("V6") + 1)
_INDEPENDENT = [LEADS.index(lead) for lead in INDEPENDENT]
_LIMBS = [LEADS.index(lead) for lead in LIMB_LEADS]
_AMPLITUDE_WINDOW_SECONDS = 2.0  # holds a beat at 30 a minute, and little of the baseline's wander


def assess_quality(
    raw: np.ndarray,
    missing: np.ndarray,
    filtered: np.ndarray,
    sampling_frequency: float,
    settings: EcgSettings,
    blocks: BadBlocks | None = None,
    stated_rate: np.ndarray | float = np.nan,
) -> tuple[np.ndarray, np.ndarray]:
    """What is wrong with each lead and with each recording.

    Args:
        raw: float (..., 12, time), mV, unfiltered, gaps interpolated; the window's recorded part.
        missing: (..., 12) share of missing samples; a lead of 1 is not there, and is judged in nothing.
        filtered: float (..., 12, 1000), mV at 100 Hz, with what fills it up after `raw`.
        sampling_frequency: of `raw`, Hz.
        settings: thresholds.
        blocks: of `find_bad_blocks`, where they are known already.
        stated_rate: (...,) heart rate that the file states, 1/min; NaN for none.

    Returns:
        uint16 (..., 12), bit mask of data_contracts.ecg.QUALITY_FLAGS, and uint16 (...), of RECORD_FLAGS.
    """
    recorded = recorded_samples(raw.shape[-1], sampling_frequency)
    heart = filtered[..., :recorded]
    energy = beats.slope_energy(heart)
    peaks = beats.find_beats(energy)
    clarity = beats.contrast(energy, peaks)
    rate = beats.heart_rate(peaks)
    has_qrs = (rate >= settings.rate_low) & (rate <= settings.rate_high)
    absent = missing == 1
    place = len(LEADS) - np.minimum(_MIN_QRS_LEADS, len(LEADS) - np.count_nonzero(absent, axis=-1))
    least = np.take_along_axis(np.sort(clarity, axis=-1), np.minimum(place, len(LEADS) - 1)[..., None], axis=-1)[..., 0]
    has_qrs &= least >= settings.qrs_contrast

    blocks = blocks or find_bad_blocks(raw, sampling_frequency, settings)
    flat = blocks.height < settings.flat_mv
    level, mains = level_and_mains(raw, sampling_frequency, settings.mains_frequencies)
    power = np.einsum("...t,...t->...", heart, heart) / recorded
    lead_findings: dict[str, np.ndarray] = {
        "flat": flat,
        "clipped": ~flat & blocks.clipped.any(axis=-1),
        "nan": missing > 0,
        "baseline": np.abs(level) > settings.baseline_mv,
        "amplitude": np.maximum(filtered.max(axis=-1), -filtered.min(axis=-1)) > settings.amplitude_mv,
        "disconnected": ~flat & has_qrs[..., None] & (clarity < settings.lead_contrast),
        "mains": ~flat & (mains > settings.mains_share * (mains + power)),
        "flat_seconds": ~flat & blocks.flat.any(axis=-1),
    }
    lead_findings = {name: is_found & ~absent for name, is_found in lead_findings.items()} | {"absent": absent}
    error, share = limb_lead_error(heart)
    is_cut = np.any([lead_findings[name] for name in _BREAK_A_LEAD], axis=0)
    independent = heart[..., _INDEPENDENT, :]
    independent -= median(independent)[..., None]
    gain = np.where(
        is_cut[..., _CHEST].any(axis=-1), 0, gain_by_exchange(independent[..., INDEPENDENT.index("V1") :, :])
    )
    contradict = (share > settings.limb_lead_share) & (error > settings.limb_lead_mv)
    contradict &= ~absent[..., _LIMBS].any(axis=-1)
    lead_findings["gain"] = _has_other_gain(heart, power, is_cut, contradict, settings.lead_gain)
    is_cut_anywhere = (is_cut | lead_findings["gain"])[..., _INDEPENDENT].any(axis=-1)
    reversal = np.where(is_cut_anywhere | contradict, 0, gain_by_reversal(independent))
    record_findings: dict[str, np.ndarray] = {
        "short": np.full(has_qrs.shape, recorded < SAMPLES),
        "no_qrs": ~has_qrs,
        "limb_leads": contradict,
        "chest_leads": gain > settings.chest_lead_gain,
        "limb_electrodes": reversal > settings.limb_electrode_gain,
        "no_signal": np.asarray((flat | absent).all(axis=-1)),
        "repeated_block": find_repeats(raw, heart, sampling_frequency),
        "calibration_pulse": find_pulses(raw, heart, sampling_frequency),
        "heart_rate": has_qrs & _is_other_rate(rate, stated_rate, settings),
    }
    return _bit_mask(lead_findings, QUALITY_FLAGS), _bit_mask(record_findings, RECORD_FLAGS)


def _has_other_gain(
    heart: np.ndarray, power: np.ndarray, is_cut: np.ndarray, contradict: np.ndarray, limit: float
) -> np.ndarray:
    """Which lead, at most one of a recording, has a gain unlike that of the others, bool (..., 12).

    A limb lead is found by the identities where these are broken; else the lead whose size is least usual counts, and
    only where it and the leads beside it show the heart.
    """
    has_gain = np.zeros(is_cut.shape, dtype=bool)
    is_limb = contradict & ~is_cut.any(axis=-1)
    if is_limb.any():  # in few recordings
        has_gain[..., _LIMBS] = limb_lead_of_other_gain(heart[..., _LIMBS, :]) & is_limb[..., None]
    unusual = gain_against_neighbours(np.where(is_cut, 0, power)[..., _INDEPENDENT])
    unusual = np.where(np.isnan(unusual) | contradict[..., None], 0, unusual)
    has_gain[..., _INDEPENDENT] |= (unusual > limit) & (unusual == unusual.max(axis=-1, keepdims=True))
    return has_gain


def _is_other_rate(rate: np.ndarray, stated_rate: np.ndarray | float, settings: EcgSettings) -> np.ndarray:
    """Whether a believable stated heart rate is another than the measured one, bool (...,): so is the sampling rate."""
    is_believable = (stated_rate >= settings.rate_low) & (stated_rate <= settings.rate_high)  # NaN is not
    ratio = rate / np.where(is_believable, stated_rate, 1)
    return is_believable & ((ratio > settings.heart_rate_factor) | (ratio * settings.heart_rate_factor < 1))


def recorded_samples(time: int, sampling_frequency: float) -> int:
    """How many of the 1000 samples at 100 Hz come from recorded ones; one missing sample of the source is ignored."""
    return min(SAMPLES, int((time + 1) * SAMPLING_FREQUENCY / sampling_frequency))


def gain_by_exchange(centred: np.ndarray) -> np.ndarray:
    """How much more alike neighbouring chest leads become when the best pair of leads is exchanged.

    From V1 to V6 the heart is seen from angles that follow each other, so that each lead resembles the next one most;
    exchanged electrodes break that. Measured: the sum of the five correlations between neighbours. On 1,220 ECGs of
    the CSE database, rules on these correlations were 95 % sensitive and 91 % specific (Jekova et al., CinC 2013).

    Args:
        centred: float (..., 6, time), mV, V1 to V6, filtered, free of their medians.

    Returns:
        (...,), 0 or less where no exchange of two leads helps.
    """
    products = centred @ np.swapaxes(centred, -1, -2)
    norms = np.sqrt(np.diagonal(products, axis1=-2, axis2=-1))
    alike = products / np.maximum(norms[..., None] * norms[..., None, :], np.finfo(np.float32).tiny)
    orders = _exchanges(centred.shape[-2])
    sums = alike[..., orders[:, :-1], orders[:, 1:]].sum(axis=-1)
    return sums[..., 1:].max(axis=-1) - sums[..., 0]


@lru_cache(maxsize=1)
def _exchanges(leads: int) -> np.ndarray:
    """The order as it is, then with each pair of leads exchanged: int (1 + pairs, leads)."""
    orders = [list(range(leads))]
    for first, second in combinations(range(leads), 2):
        orders.append(list(range(leads)))
        orders[-1][first], orders[-1][second] = second, first
    return np.array(orders)


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
    """Means, cosines and sines, (..., 1 + 2 n), to means and powers, (..., 1 + n)."""
    cosine, sine = projected[..., 1::2], projected[..., 2::2]
    return np.concatenate([projected[..., :1], (cosine**2 + sine**2) / 2], axis=-1)


@lru_cache(maxsize=32)
def _basis(samples: int, sampling_frequency: float, frequencies: tuple[float, ...]) -> np.ndarray:
    """Projects on the mean, and on each frequency's cosine and sine as amplitudes: float64 (time, 1 + 2 n)."""
    time = np.arange(samples) / sampling_frequency
    columns = [
        wave(2 * np.pi * frequency * time)
        for frequency in frequencies
        if frequency < _MAX_MAINS_SHARE * sampling_frequency
        for wave in (np.cos, np.sin)
    ]
    trend = np.stack([np.ones(samples), time - time.mean()], axis=1)
    waves = np.stack(columns, axis=1) if columns else np.empty((samples, 0))
    waves = waves - trend @ np.linalg.lstsq(trend, waves, rcond=None)[0]
    return np.concatenate([np.ones((samples, 1)), 2 * waves], axis=1) / samples


def _bit_mask(findings: dict[str, np.ndarray], flags: dict) -> np.ndarray:
    mask = np.zeros(next(iter(findings.values())).shape, dtype=np.uint16)
    for name, is_found in findings.items():
        mask |= is_found.astype(np.uint16) * np.uint16(flags[name])
    return mask


def finding_names(mask: int, flags: dict) -> tuple[str, ...]:
    """The names of the findings in a bit mask."""
    return tuple(name for name, bit in flags.items() if mask & bit)


def strictest_rule(quality: np.ndarray, findings: int, settings: EcgSettings) -> FindingRule:
    """The strictest rule of a recording's findings; `keep` where there are none. A finding on one lead is enough.

    Args:
        quality: uint16 (12,), of `assess_quality`.
        findings: of `assess_quality`.
        settings: `rules`.
    """
    if not findings and not quality.any():  # most recordings
        return "keep"
    rules = (getattr(settings.rules, name) for name in all_finding_names(quality, findings))
    return max(rules, key=FINDING_RULES.index, default="keep")


def strictest_rules(quality: np.ndarray, findings: np.ndarray, settings: EcgSettings) -> list[FindingRule]:
    """The strictest rule of each of n recordings, see `strictest_rule`.

    Args:
        quality: uint16 (n, 12).
        findings: integers (n,).
        settings: `rules`.
    """
    if not len(findings):
        return []
    # Few masks occur, and the rule depends on nothing else.
    masks = np.column_stack([np.bitwise_or.reduce(quality, axis=1), findings])
    kinds, kind_of = np.unique(masks, axis=0, return_inverse=True)
    rules = [strictest_rule(kind[:1], int(kind[1]), settings) for kind in kinds]
    return [rules[kind] for kind in kind_of.ravel()]


def are_referred(quality: np.ndarray, findings: np.ndarray, settings: EcgSettings) -> np.ndarray:
    """Whether a finding refers each recording to echo, (n,) bool; arguments as in `strictest_rules`."""
    return np.array([rule == "refer" for rule in strictest_rules(quality, findings, settings)], dtype=bool)


def refusal_of_findings(quality: np.ndarray, findings: int, settings: EcgSettings) -> Refusal | None:
    """The refusal (poor_quality) of a recording whose strictest rule is `refuse`, with its first such finding.

    Args:
        quality: uint16 (12,), of `assess_quality`.
        findings: of `assess_quality`.
        settings: `rules`.

    Returns:
        None for a recording that is not refused.
    """
    if strictest_rule(quality, findings, settings) != "refuse":
        return None
    names = all_finding_names(quality, findings)
    for name, rule in settings.rules:  # the order of the rules: no_signal explains no_qrs
        if name in names and rule == "refuse":
            bits = sum(bit for flag, bit in QUALITY_FLAGS.items() if flag == name)
            leads = [lead for lead, mask in zip(LEADS, quality, strict=True) if mask & bits]
            return Refusal("poor_quality", f"{name}: {', '.join(leads)}" if leads else name)
    return None


def all_finding_names(quality: np.ndarray, findings: int) -> tuple[str, ...]:
    """The names of the findings of a recording, then of its leads; arguments as in `strictest_rule`."""
    on_leads = int(np.bitwise_or.reduce(quality))
    return finding_names(findings, RECORD_FLAGS) + finding_names(on_leads, QUALITY_FLAGS)


def check_plausible(amplitude: float, settings: EcgSettings) -> None:
    """Refuses a recording whose gain must be wrong, or that has no amplitude: every lead is dead or missing.

    Args:
        amplitude: of `typical_amplitude`; the stage gives that of the filtered signal.
        settings: `typical_low_mv` and `typical_high_mv`.

    Raises:
        Refusal: implausible, or poor_quality where there is no signal.
    """
    if isnan(amplitude):
        raise Refusal("poor_quality", "no_signal")
    if not settings.typical_low_mv <= amplitude <= settings.typical_high_mv:
        raise Refusal("implausible", f"a typical amplitude of {amplitude:.3g} mV from peak to peak")


def typical_amplitude(signal: np.ndarray, sampling_frequency: float, blocks: BadBlocks | None = None) -> np.ndarray:
    """Peak to peak in mV: the median over leads of the median over windows of 2 s, each without its trend.

    Dead leads, which never change, are left out; so are windows with missing samples, and those that the lead spends
    at one value, unless that is all there is.

    Args:
        signal: float (..., 12, time), mV; may hold NaN.
        sampling_frequency: of `signal`, Hz.
        blocks: of the recording before the filter: where it holds one value.

    Returns:
        (...,); NaN when every lead is dead or missing.
    """
    time = signal.shape[-1]
    width = max(1, min(time, round(_AMPLITUDE_WINDOW_SECONDS * sampling_frequency)))
    count = time // width
    windows = signal[..., : count * width].reshape(*signal.shape[:-1], count, width)
    ramp = _ramp(width).astype(signal.dtype, copy=False)
    straight = windows - (windows @ ramp / max(float(ramp @ ramp), 1.0))[..., None] * ramp
    heights = straight.max(axis=-1) - straight.min(axis=-1)
    dead = np.ptp(signal, axis=-1) == 0  # NaN is not 0
    held = None if blocks is None else blocks.held_windows(_AMPLITUDE_WINDOW_SECONDS, count)
    if np.isfinite(heights).all() and not dead.any() and (held is None or not held.any()):
        return median(median(heights))
    heights[dead] = np.nan
    if held is not None:
        heights[held & ~held.all(axis=(-2, -1), keepdims=True)] = np.nan
    return _median_without_nan(_median_without_nan(np.where(np.isfinite(heights), heights, np.nan)))


def _median_without_nan(values: np.ndarray) -> np.ndarray:
    """Median over the last axis, NaN left out; NaN where nothing else is."""
    is_known = ~np.isnan(values)
    medians = np.nanmedian(np.where(is_known.any(axis=-1, keepdims=True), values, 0), axis=-1)
    return np.where(is_known.any(axis=-1), medians, np.nan)


@lru_cache(maxsize=8)
def _ramp(width: int) -> np.ndarray:
    return np.linspace(-1.0, 1.0, width, dtype=np.float32)
