"""The whole of stage ecg: files in, filtered signals out.

`load` reads one file: decode, arrange the leads, cut windows, fill gaps. `process_loaded` takes many such ECGs:
filter, check the amplitude, assess the quality, choose the window by the recipe's rules. `process` does both for one
file. The bytes of an ECG are the same whichever way it goes and whatever is processed beside it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from data_contracts.conventions import FINDING_RULES, LEADS, LeadSet
from echoingecg.common import Refusal, one_blas_thread, result_or_refusal
from echoingecg.ecg.decode import decode
from echoingecg.ecg.decode.recording import Stated, arrange
from echoingecg.ecg.decode.recording.leads import largest_set, without_leads
from echoingecg.ecg.decode.wfdb_fast import PlainRecord, decode_plain, read_plain
from echoingecg.ecg.filter import longest_context
from echoingecg.ecg.quality import refusal_of_findings, strictest_rule
from echoingecg.ecg.windows import Processed, Window, check_length, filter_windows, window_slices, with_context
from echoingecg.recipe import EcgSettings

_REFERRED = FINDING_RULES.index("refer")  # from this rule on another window is looked for
_LIMIT_MV = 1e30  # float32 can hold it; a gain that gives more is as wrong as one that gives this


@dataclass(frozen=True)
class LaterWindows:
    """Windows of a long recording that count only where the first one may not be used. They are cut when needed.

    Attributes:
        signal: float32 (12, time), mV, NaN where missing.
        slices: of `signal`, in order.
        heart_rate: that the file states, 1/min; NaN for none.
    """

    signal: np.ndarray
    slices: tuple[slice, ...]
    heart_rate: float


@dataclass(frozen=True)
class Loaded:
    """One ECG, ready for the filter.

    Attributes:
        windows: candidates, at least one, in the order of preference among equals.
        sampling_frequency: Hz.
        later: what is tried after them, if anything.
    """

    windows: tuple[Window, ...]
    sampling_frequency: float
    later: LaterWindows | None = None

    def split_windows(self, settings: EcgSettings) -> list["Loaded"]:
        """One ECG for each signal that the recipe wants: every window (`long: several`), or the best of all."""
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
    """Reads one ECG and filters its best window.

    Args:
        path, settings, stated_unit, stated_sampling_frequency, stated_leads: see `load`.

    Raises:
        Refusal: see data_contracts.quarantine.REASONS.
        OSError: the file cannot be read.
    """
    loaded = load(path, settings, stated_unit, stated_sampling_frequency, stated_leads, read_plain(path))
    (outcome,) = process_loaded([loaded], settings)
    if isinstance(outcome, Refusal):
        raise outcome
    return outcome


def load(
    path: Path,
    settings: EcgSettings,
    stated_unit: str | None = None,
    stated_sampling_frequency: float | None = None,
    stated_leads: Sequence[str] | None = None,
    plain: PlainRecord | None = None,
    new: Callable[[tuple[int, int]], np.ndarray] | None = None,
) -> Loaded:
    """Reads one ECG, arranges its leads and cuts its windows.

    Beyond the chosen window the filter sees at most 8 s (`edge`). A recording may miss one sample of `min_duration`.

    Args:
        path: a recording of any format that `echoingecg.ecg.decode` knows.
        settings: the recipe's section `ecg`.
        stated_unit: amplitude unit for a file that states none.
        stated_sampling_frequency: Hz, for a file that states none.
        stated_leads: the leads' names in stored order, for an array, which names none.
        plain: the file's content, where `read_plain` has read it already.
        new: makes the array for its signal, see `decode_plain`.

    Raises:
        Refusal: see data_contracts.quarantine.REASONS.
        OSError: the file cannot be read.
    """
    stated = Stated(stated_unit, stated_sampling_frequency, stated_leads)
    if plain is not None and (decoded := decode_plain(plain, stated, new)) is not None:
        return cut_windows(*decoded, settings)
    recording = decode(path, stated_unit, stated_sampling_frequency, stated_leads)
    signal = np.clip(arrange(recording, settings.lead_sets), -_LIMIT_MV, _LIMIT_MV).astype(np.float32)
    return cut_windows(signal, recording.sampling_frequency, settings, recording.heart_rate)


def process_loaded_safely(loaded: Sequence[Loaded], settings: EcgSettings) -> list[Processed | Refusal]:
    """Does the work of `process_loaded`; an ECG that raises an unexpected error is refused and stops no other."""
    outcomes = result_or_refusal(partial(process_loaded, loaded, settings))
    if not isinstance(outcomes, Refusal):
        return outcomes
    if len(loaded) == 1:
        return [outcomes]
    return [outcome for ecg in loaded for outcome in process_loaded_safely([ecg], settings)]


def process_loaded(loaded: Sequence[Loaded], settings: EcgSettings) -> list[Processed | Refusal]:
    """Filters and assesses ECGs; one outcome each, in order. The recipe's rules choose the window, see `_choose`."""
    chosen = _choose(loaded, settings)
    return [_refused_by_recipe(outcome, settings) or outcome for outcome in chosen]


def _refused_by_recipe(outcome: Processed | Refusal, settings: EcgSettings) -> Refusal | None:
    return None if isinstance(outcome, Refusal) else refusal_of_findings(outcome.quality, outcome.findings, settings)


def best_window(
    signal: np.ndarray, sampling_frequency: float, settings: EcgSettings, heart_rate: float = math.nan
) -> Processed:
    """The window that the recipe would choose, filtered; findings that the recipe refuses are kept.

    Args:
        signal: float (12, time), mV, NaN where missing.
        sampling_frequency: Hz.
        settings: the recipe's section `ecg`.
        heart_rate: that the file states, 1/min; NaN for none.

    Raises:
        Refusal: the recording is too short, or no window is usable: why the first is not.
    """
    loaded = cut_windows(signal.astype(np.float32), sampling_frequency, settings, heart_rate)
    (chosen,) = _choose([loaded], settings)
    if isinstance(chosen, Refusal):
        raise chosen
    return chosen


def _choose(loaded: Sequence[Loaded], settings: EcgSettings) -> list[Processed | Refusal]:
    """The window of each ECG that counts, filtered.

    Of several windows the one under the mildest rule is taken, of these the one with the fewest findings, of equals
    the first. Later windows are tried in turn where that one would be referred or refused: the first that would not is
    taken, else the first under the mildest rule. A window that cannot be filtered counts only if none can.
    """
    windows = [(window, ecg.sampling_frequency) for ecg in loaded for window in ecg.windows]
    with one_blas_thread():
        outcomes = iter(filter_windows(windows, settings))
        chosen = [_best([next(outcomes) for _ in ecg.windows], settings) for ecg in loaded]
        for number, ecg in enumerate(loaded):
            if ecg.later is not None:
                chosen[number] = _or_later(chosen[number], ecg.later, ecg.sampling_frequency, settings)
    return chosen


def _best(outcomes: list[Processed | Refusal], settings: EcgSettings) -> Processed | Refusal:
    """The window under the mildest rule with the fewest defects, of equals the first; else the first refusal."""
    usable = [outcome for outcome in outcomes if isinstance(outcome, Processed)]
    if len(usable) < 2:
        return usable[0] if usable else outcomes[0]
    return min(usable, key=lambda window: (_severity(window, settings), window.defects))


def _or_later(
    first: Processed | Refusal, later: LaterWindows, sampling_frequency: float, settings: EcgSettings
) -> Processed | Refusal:
    """The first window, or where it would be referred or refused a later one under a milder rule."""
    mildest = first
    for part in later.slices:
        if _severity(mildest, settings) < _REFERRED:
            break
        window = _window(later.signal, part, sampling_frequency, settings, later.heart_rate)
        if isinstance(window, Window):
            (outcome,) = filter_windows([(window, sampling_frequency)], settings)
            mildest = min(mildest, outcome, key=lambda other: _severity(other, settings))
    return mildest


def _severity(outcome: Processed | Refusal, settings: EcgSettings) -> int:
    """Place of the window's rule among FINDING_RULES; beyond them where it cannot be used."""
    if isinstance(outcome, Refusal):
        return len(FINDING_RULES)
    return FINDING_RULES.index(strictest_rule(outcome.quality, outcome.findings, settings))


def cut_windows(
    signal: np.ndarray, sampling_frequency: float, settings: EcgSettings, heart_rate: float = math.nan
) -> Loaded:
    """The candidate windows of one ECG, their gaps filled. A window whose gaps are too large is left out.

    Args:
        signal: float32 (12, time), mV, NaN where missing; a lead without a sample is not there.
        sampling_frequency: Hz.
        settings: the recipe's section `ecg`.
        heart_rate: that the file states, 1/min; NaN for none.

    Raises:
        Refusal: the leads are no admitted set, the recording is too short, or every window has too large gaps: what is
            wrong with the first.
    """
    check_length(signal.shape[1], sampling_frequency, settings)
    if settings.admits_fewer:
        signal = keep_admitted_leads(signal, settings.lead_sets)
    slices = window_slices(signal.shape[1], sampling_frequency, settings)
    windows: list[Window] = []
    refusals: list[Refusal] = []
    for number, part in enumerate(slices, start=1):
        window = _window(signal, part, sampling_frequency, settings, heart_rate)
        if isinstance(window, Refusal):
            refusals.append(window)
            continue
        windows.append(window)
        if settings.long == "first":
            rest = tuple(slices[number:])
            searched = signal[:, : slices[-1].stop + longest_context(sampling_frequency)]
            later = LaterWindows(searched.copy(), rest, heart_rate) if rest else None
            return Loaded((window,), sampling_frequency, later)
    if not windows:
        raise refusals[0]
    return Loaded(tuple(windows), sampling_frequency)


def keep_admitted_leads(signal: np.ndarray, lead_sets: Sequence[LeadSet]) -> np.ndarray:
    """The leads of the largest admitted set that is there, 0 in all others.

    A lead that is missing or 0 throughout is not there: several cohorts store absent leads so.

    Args:
        signal: float (12, time), mV, NaN where missing.
        lead_sets: that are admitted.

    Raises:
        Refusal: missing_leads, the leads are no admitted set.
    """
    there = [lead for lead, row in zip(LEADS, np.nan_to_num(signal), strict=True) if row.any()]
    kept = largest_set(there, lead_sets)
    if kept is None and there:
        raise without_leads(there, [lead for lead in LEADS if lead not in there], lead_sets)
    is_kept = np.isin(LEADS, kept or ())
    return np.where(is_kept[:, None], signal, signal.dtype.type(0))


def _window(
    signal: np.ndarray, part: slice, sampling_frequency: float, settings: EcgSettings, heart_rate: float
) -> Window | Refusal:
    """The window with its context, its gaps filled, or that these are too large."""
    try:
        raw, missing = fill_gaps(np.ascontiguousarray(signal[:, part]), settings.max_nan_share)
    except Refusal as refusal:
        return refusal
    if settings.admits_fewer:
        missing = np.where(signal.any(axis=1), missing, 1.0)
    window = Window(raw, missing, part.start, heart_rate=heart_rate)
    return with_context(window, signal, sampling_frequency, settings)


def fill_gaps(signal: np.ndarray, max_share: float) -> tuple[np.ndarray, np.ndarray]:
    """Interpolates linearly over missing samples; at the ends the nearest value is repeated.

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
        lead, count = LEADS[int(missing.argmax())], np.count_nonzero(gaps, axis=1).max()
        detail = f"{count} of {signal.shape[1]} samples of lead {lead} {'are' if count > 1 else 'is'} missing"
        raise Refusal("nan", f"{detail}, more than ecg.max_nan_share ({max_share:g}) allows")
    if worst == 0:
        return signal, missing
    filled = signal.copy()
    time = np.arange(signal.shape[1])
    for lead, gap in zip(filled, gaps, strict=True):
        lead[gap] = np.interp(time[gap], time[~gap], lead[~gap])
    return filled, missing
