"""Leads are mapped by name, never by position; limb leads that follow from I and II are derived.

What every decoder returns.

Amplitude units: read, never guessed.

Six limb leads from three electrodes: four of them follow from the others, or a lead is not what it is called.

I + III = II (Einthoven 1912); aVR = -(I + II)/2, aVL = (I - III)/2, aVF = (II + III)/2 (Goldberger 1942). The filter
is linear and the same for every lead, so the identities hold after it as before. Exchanged electrodes keep
them: what breaks them is a lead under another's name, of another gain, or disturbed after the amplifier.

What a decoder may read and allocate, and which rates it accepts.

Numbers that a format writes out in characters.
"""

from dataclasses import dataclass, replace
from math import isfinite
from os import fstat
from pathlib import Path

import numpy as np

from data_contracts.conventions import LEADS
from echoingecg.common import Refusal


@dataclass(frozen=True)
class Recording:
    """One ECG as stored, in physical units.

    Attributes:
        signal: float64 (lead, time), mV; NaN where the file marks a sample as missing.
        leads: the leads' names as the file spells them, one a row of `signal`.
        sampling_frequency: Hz, positive.
        format: what kind of file it was, for example `SCP-ECG`; empty before `decode` has said.
        derived: the leads of `leads` that were computed from others and not read from the file.
    """

    signal: np.ndarray
    leads: tuple[str, ...]
    sampling_frequency: float
    derived: tuple[str, ...] = ()
    format: str = ""


# Spellings met in WFDB and EDF headers, the UCUM codes of DICOM and aECG, the words of GE MUSE; compared
# without regard to case: mega- and gigavolts do not occur in an ECG.
_PER_MILLIVOLT = {
    "v": 1e-3, "mv": 1.0, "uv": 1e3, "µv": 1e3, "μv": 1e3, "nv": 1e6,
    "volt": 1e-3, "millivolt": 1.0, "microvolt": 1e3, "nanovolt": 1e6,
    "volts": 1e-3, "millivolts": 1.0, "microvolts": 1e3, "nanovolts": 1e6,
}  # fmt: skip


def units_per_millivolt(spelling: str) -> float:
    """How many of the unit make one millivolt, for example 1000 for `uV`.

    Raises:
        Refusal: missing_units for an empty spelling, unknown_units for one that is not of volts.
    """
    plain = spelling.strip().lower()
    if not plain:
        raise Refusal("missing_units", "the amplitude unit is not stated")
    if plain not in _PER_MILLIVOLT:
        raise Refusal("unknown_units", "the amplitude unit is not V, mV, uV or nV")
    return _PER_MILLIVOLT[plain]


_CANONICAL = {lead.lower(): lead for lead in LEADS}
# "MDC_ECG_LEAD_V1" (IEEE 11073-10102), "Lead I (Einthoven)" (SCP-ECG's meanings in DICOM), "ECG I" (EDF+).
_PREFIXES = ("mdc_ecg_lead_", "ecg_lead_", "mdc_", "ecg ", "ekg ", "lead ", "lead_")
_SUFFIXES = (" (einthoven)",)

# What I and II give of the others (Einthoven 1912; Goldberger 1942): lead = a I + b II.
LIMB_LEADS = {"III": (-1.0, 1.0), "aVR": (-0.5, -0.5), "aVL": (1.0, -0.5), "aVF": (-0.5, 1.0)}
# Lead numbers of SCP-ECG (EN 1064 table 5), which IEEE 11073-10102 and DICOM CID 3001 share.
LEAD_NUMBERS = {1: "I", 2: "II", 61: "III", 62: "aVR", 63: "aVL", 64: "aVF"} | {
    number + 2: f"V{number}" for number in range(1, 7)
}


def canonical_lead(spelling: str) -> str | None:
    """The lead's name as in data_contracts.conventions.LEADS; None when it is none of the twelve.

    Case, the prefixes `lead`, `ECG` and `MDC_ECG_LEAD_` and white space around do not matter.
    """
    plain = spelling.strip().lower()
    for prefix in _PREFIXES:
        plain = plain.removeprefix(prefix)
    for suffix in _SUFFIXES:
        plain = plain.removesuffix(suffix)
    return _CANONICAL.get(plain.strip())


def complete(recording: Recording) -> Recording:
    """The recording with those of III, aVR, aVL and aVF added that it lacks, where it has I and II.

    Raises:
        Refusal: missing_leads when a lead is named twice.
    """
    rows = _rows(recording)
    absent = [lead for lead in LIMB_LEADS if lead not in rows]
    if not absent or "I" not in rows or "II" not in rows:
        return recording
    pair = recording.signal[[rows["I"], rows["II"]]]
    added = np.array([LIMB_LEADS[lead] for lead in absent]) @ pair
    return replace(
        recording,
        signal=np.concatenate([recording.signal, added]),
        leads=(*recording.leads, *absent),
        derived=(*recording.derived, *absent),
    )


def arrange(recording: Recording) -> np.ndarray:
    """The twelve leads in the order of data_contracts.conventions.LEADS; others are left out.

    Leads that `complete` can derive may be absent.

    Returns:
        float64 (12, time), mV.

    Raises:
        Refusal: missing_leads when one of the twelve is absent or named twice.
    """
    whole = complete(recording)
    rows = _rows(whole)
    absent = [lead for lead in LEADS if lead not in rows]
    if absent:
        raise Refusal("missing_leads", f"no lead named {', '.join(absent)}")
    return whole.signal[[rows[lead] for lead in LEADS]]


def _rows(recording: Recording) -> dict[str, int]:
    rows: dict[str, int] = {}
    for row, spelling in enumerate(recording.leads):
        lead = canonical_lead(spelling)
        if lead in rows:
            raise Refusal("missing_leads", f"lead {lead} is named twice")
        if lead is not None:
            rows[lead] = row
    return rows


_LIMBS = ("I", "II", "III", "aVR", "aVL", "aVF")
_IDENTITIES = (
    {"I": 1.0, "III": 1.0, "II": -1.0},
    {"aVR": 1.0, "I": 0.5, "II": 0.5},
    {"aVL": 1.0, "I": -0.5, "III": 0.5},
    {"aVF": 1.0, "II": -0.5, "III": -0.5},
)
_ROWS = [LEADS.index(lead) for lead in _LIMBS]
_MATRIX = np.array([[one.get(lead, 0.0) for lead in LEADS] for one in _IDENTITIES], dtype=np.float32)


def limb_lead_error(signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far the limb leads miss their identities.

    Args:
        signal: float (..., 12, time), mV, leads in the order of data_contracts.conventions.LEADS.

    Returns:
        (...,) root mean square of the worst identity's remainder, mV; and (...,) its share of the root mean
        square of the six limb leads, 0 where these are silent.
    """
    remainder = (np.asarray(_MATRIX, dtype=signal.dtype)) @ signal
    error = np.sqrt(np.einsum("...it,...it->...i", remainder, remainder).max(axis=-1) / signal.shape[-1])
    limbs = signal[..., _ROWS, :]
    size = np.sqrt(np.einsum("...lt,...lt->...", limbs, limbs) / (len(_ROWS) * signal.shape[-1]))
    return error, error / np.where(size > 0, size, 1)


# All signals together: 1 GB as float64, or more than three hours of twelve leads at 1 kHz.
MAX_VALUES = 1 << 27
# A whole file that must be parsed in memory: XML and SCP-ECG of 10 s have 30 kB to 2 MB.
MAX_BYTES = 1 << 26


def check_size(signals: int, samples: int) -> None:
    """Raises Refusal before memory is asked for that no resting ECG needs."""
    if signals * samples > MAX_VALUES:
        raise Refusal("unreadable", f"{signals} signals of {samples} samples: no resting ECG")


def read_whole(path: Path) -> bytes:
    """The file's content. Raises Refusal(unreadable) for one that is too large for an ECG, OSError."""
    with path.open("rb") as file:
        size = fstat(file.fileno()).st_size
        if size > MAX_BYTES:
            raise Refusal("unreadable", f"over {MAX_BYTES} bytes: no resting ECG")
        return file.read(size)


def sampling_frequency(found: float | None, stated: float | None) -> float:
    """Hz, from the file if it says so, else from the export. Raises Refusal(missing_sampling_frequency)."""
    frequency = stated if found is None else found
    if frequency is None:
        raise Refusal("missing_sampling_frequency", "the sampling frequency is not stated")
    if not isfinite(frequency) or frequency <= 0:
        raise Refusal("missing_sampling_frequency", f"a sampling frequency of {frequency:g} Hz")
    return frequency


def number(spelling: str | None) -> float | None:
    """A finite number; None for nothing. Raises Refusal(unreadable) for anything else."""
    if spelling is None or not spelling.strip():
        return None
    try:
        value = float(spelling)
    except ValueError as fault:
        raise Refusal("unreadable", "a word where the format has a number") from fault
    if not isfinite(value):
        raise Refusal("unreadable", "a number without bound")
    return value


def whole_number(spelling: str | None) -> int | None:
    """As `number`, for a count: 0 and more."""
    value = number(spelling)
    if value is None:
        return None
    if value < 0 or value != int(value):
        raise Refusal("unreadable", "a count that is no whole number")
    return int(value)
