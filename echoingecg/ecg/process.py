"""One file in, one filtered signal out: the whole of stage ecg for one recording."""

from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Final

import numpy as np

from data_contracts.conventions import SAMPLES, SAMPLING_FREQUENCY
from echoingecg.ecg.clean import clean
from echoingecg.ecg.decode import decode
from echoingecg.ecg.leads import arrange
from echoingecg.ecg.quality import quality_mask
from echoingecg.errors import Refusal
from echoingecg.recipe import EcgSettings

_DURATION: Final = SAMPLES / SAMPLING_FREQUENCY  # s
# Beyond this the gain must be wrong: surface ECGs stay under 10 mV, pacing spikes included (filtered).
_MAX_MV: Final = 50.0


@dataclass(frozen=True)
class Processed:
    """One ECG, ready for the pool.

    Attributes:
        signal: float32 (12, 1000), mV at 100 Hz, leads in the order of data_contracts.conventions.LEADS.
        quality: uint8 (12,), bit mask of data_contracts.ecg.QUALITY_FLAGS.
    """

    signal: np.ndarray
    quality: np.ndarray


def process(
    path: Path,
    settings: EcgSettings,
    stated_unit: str | None = None,
    stated_sampling_frequency: float | None = None,
) -> Processed:
    """Reads, arranges, crops, filters and judges one ECG.

    The first 10 s count and nothing after them enters the filter. A recording may miss one sample of
    `min_duration`; where the recipe allows less than 10 s, the rest is 0 mV.

    Args:
        path: a DICOM file, or a WFDB record with or without `.hea`.
        settings: the recipe's section `ecg`.
        stated_unit: amplitude unit for a file that states none.
        stated_sampling_frequency: Hz, for a file that states none.

    Raises:
        Refusal: see data_contracts.quarantine.REASONS.
        OSError: the file cannot be read.
    """
    recording = decode(path, stated_unit, stated_sampling_frequency)
    frequency = recording.sampling_frequency
    stored = arrange(recording)
    if stored.shape[1] + 1 < settings.min_duration * frequency:
        raise Refusal(
            "too_short", f"{stored.shape[1] / frequency:.2f} s, the recipe asks for {settings.min_duration:g}"
        )
    raw, missing = fill_gaps(stored[:, : ceil(_DURATION * frequency)], settings.max_nan_share)
    filtered = clean(raw, frequency, settings)
    largest = np.abs(filtered).max()
    if not largest <= _MAX_MV:
        raise Refusal("implausible", f"{largest:.3g} mV after filtering")
    return Processed(filtered, quality_mask(raw, missing, filtered, settings))


def fill_gaps(signal: np.ndarray, max_share: float) -> tuple[np.ndarray, np.ndarray]:
    """Linear interpolation over missing samples; at the ends the nearest value.

    Args:
        signal: float64 (lead, time), NaN where missing.
        max_share: largest share of missing samples in a lead.

    Returns:
        The signal without NaN, and the (lead,) share of missing samples.

    Raises:
        Refusal: nan, when a lead misses more than `max_share` of its samples, or all.
    """
    gaps = ~np.isfinite(signal)
    missing = gaps.mean(axis=1)
    if (worst := missing.max()) > max_share or worst == 1:
        raise Refusal("nan", f"{worst:.1%} of a lead's samples are missing")
    if worst == 0:
        return signal, missing
    filled = signal.copy()
    time = np.arange(signal.shape[1])
    for lead, gap in zip(filled, gaps, strict=True):
        lead[gap] = np.interp(time[gap], time[~gap], lead[~gap])
    return filled, missing
