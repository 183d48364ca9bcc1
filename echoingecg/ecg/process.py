"""Files in, filtered signals out: the whole of stage ecg.

`load` takes one file as far as it can be refused unseen: decode -> arrange -> windows -> fill gaps. `finish` takes
many: filter -> plausibility -> quality -> choice of the window. `process` is both for one. A record's bytes are the
same whichever way it goes.

Many ECGs filtered together, each as itself or as its refusal.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from echoingecg.common import Refusal, result_or_refusal
from echoingecg.ecg import filter, quality
from echoingecg.ecg.decode import decode
from echoingecg.ecg.decode.recording import arrange
from echoingecg.ecg.decode.wfdb_fast import PlainRecord, decode_plain, read_plain
from echoingecg.ecg.windows import Processed, Window, check_length, filter_windows, window_slices
from echoingecg.recipe import EcgSettings

_FAR_BEYOND_MV = 1e30  # float32 holds it; a gain that gives more is as wrong as one that gives this


@dataclass(frozen=True)
class Loaded:
    """One ECG, ready for the filter.

    Attributes:
        windows: to choose from, at least one, in the order of preference among equals.
        sampling_frequency: Hz.
    """

    windows: tuple[Window, ...]
    sampling_frequency: float

    def split_windows(self, settings: EcgSettings) -> list["Loaded"]:
        """One for each signal that the recipe wants of it: `finish` makes one signal of each."""
        if settings.long != "several":
            return [self]
        return [Loaded((window,), self.sampling_frequency) for window in self.windows]


def process(
    path: Path,
    settings: EcgSettings,
    stated_unit: str | None = None,
    stated_sampling_frequency: float | None = None,
    stated_leads: Sequence[str] | None = None,
) -> Processed:
    """Reads, arranges, cuts, filters and judges one ECG, of several windows the best.

    Arguments and errors are those of `load` and `finish`.
    """
    plain = read_plain(path)
    (done,) = process_loaded(
        [load(path, settings, stated_unit, stated_sampling_frequency, stated_leads, plain)], settings
    )
    if isinstance(done, Refusal):
        raise done
    return done


def load(
    path: Path,
    settings: EcgSettings,
    stated_unit: str | None = None,
    stated_sampling_frequency: float | None = None,
    stated_leads: Sequence[str] | None = None,
    plain: PlainRecord | None = None,
) -> Loaded:
    """Reads, arranges and cuts one ECG.

    Nothing outside the window that counts enters the filter. A recording may miss one sample of `min_duration`.

    Args:
        path: a recording of any format that `echoingecg.ecg.decode` knows.
        settings: the recipe's section `ecg`.
        stated_unit: amplitude unit for a file that states none.
        stated_sampling_frequency: Hz, for a file that states none.
        stated_leads: the leads' names in stored order, for an array, which names none.
        plain: the file's bytes, where `read_plain` has them.

    Raises:
        Refusal: see data_contracts.quarantine.REASONS.
        OSError: the file cannot be read.
    """
    stored, frequency = _stored(path, stated_unit, stated_sampling_frequency, stated_leads, plain)
    return cut_windows(stored, frequency, settings)


def cut_windows(stored: np.ndarray, sampling_frequency: float, settings: EcgSettings) -> Loaded:
    """The windows of one ECG; one with gaps that cannot be filled counts only if none can.

    Args:
        stored: float32 (12, time), mV, NaN where missing.
        sampling_frequency: Hz.
        settings: the recipe's section `ecg`.

    Raises:
        Refusal: the recording is too short, or no window is whole: what the first lacks.
    """
    check_length(stored.shape[1], sampling_frequency, settings)
    whole: list[Window] = []
    refused: list[Refusal] = []
    for part in window_slices(stored.shape[1], sampling_frequency, settings):
        try:
            raw, missing = fill_gaps(np.ascontiguousarray(stored[:, part]), settings.max_nan_share)
        except Refusal as refusal:
            refused.append(refusal)
        else:
            whole.append(Window(raw, missing, part.start))
    if not whole:
        raise refused[0]
    return Loaded(tuple(whole), sampling_frequency)


def process_loaded(loaded: Sequence[Loaded], settings: EcgSettings) -> list[Processed | Refusal]:
    """Filters and judges ECGs; one outcome each, in order.

    Of several windows the one with least found counts, of equals the first; one that cannot be filtered only if none
    can.
    """
    parts = [(window, one.sampling_frequency) for one in loaded for window in one.windows]
    with filter.one_thread():
        found = iter(filter_windows(parts, settings))
    return [_admitted(_best([next(found) for _ in one.windows]), settings) for one in loaded]


def best_window(stored: np.ndarray, sampling_frequency: float, settings: EcgSettings) -> Processed:
    """The window that counts, whatever was found in it: `cut` and `finish` without the recipe's refusals.

    Args:
        stored: float (12, time), mV, NaN where missing.
        sampling_frequency: Hz.
        settings: the recipe's section `ecg`.

    Raises:
        Refusal: the recording is too short, or no window is usable: why the first is not.
    """
    loaded = cut_windows(stored.astype(np.float32), sampling_frequency, settings)
    with filter.one_thread():
        best = _best(filter_windows([(window, sampling_frequency) for window in loaded.windows], settings))
    if isinstance(best, Refusal):
        raise best
    return best


def _best(outcomes: list[Processed | Refusal]) -> Processed | Refusal:
    usable = [one for one in outcomes if isinstance(one, Processed)]
    return min(usable, key=lambda one: one.defects) if usable else outcomes[0]


def _admitted(best: Processed | Refusal, settings: EcgSettings) -> Processed | Refusal:
    if isinstance(best, Processed):
        try:
            quality.check_findings(best.quality, best.findings, settings)
        except Refusal as refusal:
            return refusal
    return best


def _stored(
    path: Path,
    stated_unit: str | None,
    stated_sampling_frequency: float | None,
    stated_leads: Sequence[str] | None,
    plain: PlainRecord | None,
) -> tuple[np.ndarray, float]:
    """float32 (12, time), mV, NaN where missing; Hz."""
    if plain is not None and (found := decode_plain(plain, stated_unit, stated_sampling_frequency)) is not None:
        return found
    recording = decode(path, stated_unit, stated_sampling_frequency, stated_leads)
    signal = np.clip(arrange(recording), -_FAR_BEYOND_MV, _FAR_BEYOND_MV)
    return signal.astype(np.float32), recording.sampling_frequency


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


def process_loaded_safely(loaded: Sequence[Loaded], settings: EcgSettings) -> list[Processed | Refusal]:
    """As `finish`; a record that surprises it is refused, and stops no other."""
    found = result_or_refusal(partial(process_loaded, loaded, settings))
    if not isinstance(found, Refusal):
        return found
    return (
        [found]
        if len(loaded) == 1
        else [outcome for one in loaded for outcome in process_loaded_safely([one], settings)]
    )
