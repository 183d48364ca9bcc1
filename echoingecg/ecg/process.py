"""Files in, filtered signals out: the whole of stage ecg.

`load` takes one file as far as it can be refused: decode -> arrange -> window -> fill gaps. `finish` takes
many: filter -> quality. `process` is both for one. A record's bytes are the same whichever way it goes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Final

import numpy as np

from data_contracts.conventions import SAMPLES, SAMPLING_FREQUENCY
from echoingecg.ecg.batch import filter_record
from echoingecg.ecg.decode import decode
from echoingecg.ecg.decode.wfdb_fast import PlainRecord, decode_plain, read_plain
from echoingecg.ecg.leads import arrange
from echoingecg.ecg.one_thread import one_thread
from echoingecg.ecg.quality import quality_mask
from echoingecg.errors import Refusal
from echoingecg.recipe import EcgSettings

_DURATION: Final = SAMPLES / SAMPLING_FREQUENCY  # s
# Beyond this the gain must be wrong: surface ECGs stay under 10 mV, pacing spikes included (filtered).
_MAX_MV: Final = 50.0
_FAR_BEYOND_MV: Final = 1e30  # float32 holds it; a gain that gives more is as wrong as one that gives this
_TOGETHER: Final = 8  # records that are judged together: 2 MB at 500 Hz


@dataclass(frozen=True)
class Loaded:
    """One ECG, ready for the filter.

    Attributes:
        raw: float32 (12, time), mV, without NaN, leads in the order of data_contracts.conventions.LEADS.
        missing: (12,) share of samples that were missing.
        sampling_frequency: of `raw`, Hz.
    """

    raw: np.ndarray
    missing: np.ndarray
    sampling_frequency: float


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
    """Reads, arranges, crops, filters and judges one ECG. Arguments and errors are those of `load` and `finish`."""
    (done,) = finish([load(path, settings, stated_unit, stated_sampling_frequency, read_plain(path))], settings)
    if isinstance(done, Refusal):
        raise done
    return done


def load(
    path: Path,
    settings: EcgSettings,
    stated_unit: str | None = None,
    stated_sampling_frequency: float | None = None,
    plain: PlainRecord | None = None,
) -> Loaded:
    """Reads, arranges and crops one ECG.

    The first 10 s count and nothing after them enters the filter. A recording may miss one sample of
    `min_duration`; where the recipe allows less than 10 s, the rest is 0 mV.

    Args:
        path: a DICOM file, or a WFDB record with or without `.hea`.
        settings: the recipe's section `ecg`.
        stated_unit: amplitude unit for a file that states none.
        stated_sampling_frequency: Hz, for a file that states none.
        plain: the file's bytes, where `read_plain` has them.

    Raises:
        Refusal: see data_contracts.quarantine.REASONS.
        OSError: the file cannot be read.
    """
    stored, frequency = _stored(path, stated_unit, stated_sampling_frequency, plain)
    if stored.shape[1] + 1 < settings.min_duration * frequency:
        raise Refusal(
            "too_short", f"{stored.shape[1] / frequency:.2f} s, the recipe asks for {settings.min_duration:g}"
        )
    first = np.ascontiguousarray(stored[:, : ceil(_DURATION * frequency)])
    raw, missing = fill_gaps(first, settings.max_nan_share)
    return Loaded(raw, missing, frequency)


def finish(loaded: Sequence[Loaded], settings: EcgSettings) -> list[Processed | Refusal]:
    """Filters and judges ECGs; one outcome each, in order."""
    outcomes: dict[int, Processed | Refusal] = {}
    of_shape: dict[tuple[int, ...], list[int]] = {}
    signals: dict[int, np.ndarray] = {}
    with one_thread():
        for at, one in enumerate(loaded):
            try:
                signals[at] = _filtered(one, settings)
            except Refusal as refusal:
                outcomes[at] = refusal
            else:
                of_shape.setdefault(one.raw.shape, []).append(at)
        for alike in of_shape.values():
            for start in range(0, len(alike), _TOGETHER):
                some = alike[start : start + _TOGETHER]
                raw = np.stack([loaded[at].raw for at in some])
                missing = np.stack([loaded[at].missing for at in some])
                masks = quality_mask(raw, missing, np.stack([signals[at] for at in some]), settings)
                for at, mask in zip(some, masks, strict=True):
                    outcomes[at] = Processed(signals[at], mask)
    return [outcomes[at] for at in range(len(loaded))]


def _stored(
    path: Path, stated_unit: str | None, stated_sampling_frequency: float | None, plain: PlainRecord | None
) -> tuple[np.ndarray, float]:
    """float32 (12, time), mV, NaN where missing; Hz."""
    if plain is not None and (found := decode_plain(plain, stated_unit, stated_sampling_frequency)) is not None:
        return found
    recording = decode(path, stated_unit, stated_sampling_frequency)
    signal = np.clip(arrange(recording), -_FAR_BEYOND_MV, _FAR_BEYOND_MV)
    return signal.astype(np.float32), recording.sampling_frequency


def _filtered(one: Loaded, settings: EcgSettings) -> np.ndarray:
    filtered = filter_record(one.raw, one.sampling_frequency, settings)
    largest = np.abs(filtered).max()
    if not largest <= _MAX_MV:
        raise Refusal("implausible", f"{largest:.3g} mV after filtering")
    return filtered


def fill_gaps(signal: np.ndarray, max_share: float) -> tuple[np.ndarray, np.ndarray]:
    """Linear interpolation over missing samples; at the ends the nearest value.

    Args:
        signal: floating (lead, time), NaN where missing.
        max_share: largest share of missing samples in a lead.

    Returns:
        The signal without NaN, and the (lead,) share of missing samples.

    Raises:
        Refusal: nan, when a lead misses more than `max_share` of its samples, or all.
    """
    if np.isfinite(signal.sum(dtype=signal.dtype)):  # then every sample is
        return signal, np.zeros(len(signal))
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
