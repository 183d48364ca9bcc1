"""Findings per lead: they flag, they do not refuse."""

import numpy as np

from data_contracts.ecg import QUALITY_FLAGS
from echoingecg.ecg.levels import count_equal, median
from echoingecg.recipe import EcgSettings


def quality_mask(raw: np.ndarray, missing: np.ndarray, filtered: np.ndarray, settings: EcgSettings) -> np.ndarray:
    """Bit mask of data_contracts.ecg.QUALITY_FLAGS.

    Args:
        raw: floating (..., lead, time), mV, unfiltered, gaps interpolated.
        missing: (..., lead) share of missing samples.
        filtered: float32 (..., lead, time), mV.
        settings: thresholds.

    Returns:
        uint8 (..., lead); 0 means nothing found.
    """
    highest, lowest = raw.max(axis=-1), raw.min(axis=-1)
    flat = highest - lowest < settings.flat_mv
    at_extreme = np.maximum(count_equal(raw, highest), count_equal(raw, lowest)) / raw.shape[-1]
    findings = {
        "flat": flat,
        "clipped": ~flat & (at_extreme > settings.clipped_share),
        "nan": missing > 0,
        "baseline": np.abs(median(raw)) > settings.baseline_mv,
        "amplitude": np.abs(filtered).max(axis=-1) > settings.amplitude_mv,
    }
    mask = np.zeros(raw.shape[:-1], dtype=np.uint8)
    for name, found in findings.items():
        mask[found] |= QUALITY_FLAGS[name]
    return mask
