"""One file in, one filtered signal out: the whole of stage ecg for one recording."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from echoingecg.ecg.clean import clean
from echoingecg.ecg.decode import decode
from echoingecg.ecg.leads import arrange
from echoingecg.ecg.quality import judge, recorded_samples, refuse
from echoingecg.ecg.windows import burden, check_length, fill_up, windows
from echoingecg.errors import Refusal
from echoingecg.recipe import EcgSettings

# Beyond this the gain must be wrong: surface ECGs stay under 10 mV, pacing spikes included (filtered).
_MAX_MV: Final = 50.0


@dataclass(frozen=True)
class Processed:
    """One ECG, ready for the pool.

    Attributes:
        signal: float32 (12, 1000), mV at 100 Hz, leads in the order of data_contracts.conventions.LEADS.
        quality: uint8 (12,), bit mask of data_contracts.ecg.QUALITY_FLAGS.
        findings: bit mask of data_contracts.ecg.RECORD_FLAGS.
        start: of the window in the recording, samples of the source.
        burden: what speaks against it, to be compared with another window.
    """

    signal: np.ndarray
    quality: np.ndarray
    findings: int
    start: int
    burden: tuple[int, int, float]


def process(
    path: Path,
    settings: EcgSettings,
    stated_unit: str | None = None,
    stated_sampling_frequency: float | None = None,
) -> Processed:
    """Reads, arranges, cuts, filters and judges one ECG.

    Nothing outside the window that counts enters the filter. A recording may miss one sample of `min_duration`.

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
    done = choose(arrange(recording), recording.sampling_frequency, settings)
    refuse(done.quality, done.findings, settings)
    return done


def choose(stored: np.ndarray, sampling_frequency: float, settings: EcgSettings) -> Processed:
    """The window with least found, of equals the first; one that cannot be filtered counts only if none can.

    Args:
        stored: float64 (12, time), mV, NaN where missing.
        sampling_frequency: Hz.
        settings: the recipe's section `ecg`.

    Raises:
        Refusal: the recording is too short, or no window is usable: why the first is not.
    """
    check_length(stored.shape[1], sampling_frequency, settings)
    done, refused = [], []
    for window in windows(stored.shape[1], sampling_frequency, settings):
        try:
            done.append(filter_and_judge(stored[:, window], sampling_frequency, settings, window.start))
        except Refusal as refusal:
            refused.append(refusal)
    if not done:
        raise refused[0]
    return min(done, key=lambda one: one.burden)


def filter_and_judge(stored: np.ndarray, sampling_frequency: float, settings: EcgSettings, start: int = 0) -> Processed:
    """One window of at most 10 s. Raises Refusal."""
    raw, missing = fill_gaps(stored, settings.max_nan_share)
    filtered = clean(raw, sampling_frequency, settings)
    largest = np.abs(filtered).max()
    if not largest <= _MAX_MV:
        raise Refusal("implausible", f"{largest:.3g} mV after filtering")
    quality, findings = judge(raw, missing, filtered, sampling_frequency, settings)
    signal = fill_up(filtered, recorded_samples(raw.shape[1], sampling_frequency), settings)
    return Processed(signal, quality, int(findings), start, burden(quality, int(findings), missing))


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
