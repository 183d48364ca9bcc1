"""A Recording, which every decoder returns, and the rules that all decoders share.

Leads are mapped by name, never by position. Units, rates and numbers are read, never guessed. Sizes are checked
before memory is allocated.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite, nan
from os import fstat
from pathlib import Path

import numpy as np

from data_contracts.conventions import LEADS, LeadSet
from echoingecg.common import Refusal, canonical_json
from echoingecg.ecg.decode.recording.leads import FROM_I_AND_II, canonical_leads, largest_set, without_leads

# All signals of a file together: 1 GB as float64, or more than three hours of twelve leads at 1 kHz.
MAX_VALUES = 1 << 27
# A file that must be parsed in memory as a whole: XML and SCP-ECG of 10 s have 30 kB to 2 MB.
MAX_BYTES = 1 << 26

# Values that any file may unpack to, half an hour of twelve leads at 100 Hz; beyond them, so many for each byte of it.
# Lossless compression of an ECG keeps fewer than four in a byte.
_FREE_VALUES, _MOST_VALUES_A_BYTE = 1 << 21, 12

# Weighted sums of limb leads that are 0 in every true ECG (Einthoven 1912; Goldberger 1942).
_LIMB_IDENTITIES = (
    {"I": 1.0, "III": 1.0, "II": -1.0},
    {"aVR": 1.0, "I": 0.5, "II": 0.5},
    {"aVL": 1.0, "I": -0.5, "III": 0.5},
    {"aVF": 1.0, "II": -0.5, "III": -0.5},
)
_IDENTITY_MATRIX = np.array([[sums.get(lead, 0.0) for lead in LEADS] for sums in _LIMB_IDENTITIES], dtype=np.float32)
_LIMB_ROWS = [LEADS.index(lead) for lead in ("I", "II", "III", "aVR", "aVL", "aVF")]

# Spellings seen in WFDB and EDF headers, the UCUM codes of DICOM and aECG, the words of GE MUSE; compared
# without regard to case: mega- and gigavolts do not occur in an ECG.
_PER_MILLIVOLT = {
    "v": 1e-3, "mv": 1.0, "uv": 1e3, "µv": 1e3, "μv": 1e3, "nv": 1e6,
    "volt": 1e-3, "millivolt": 1.0, "microvolt": 1e3, "nanovolt": 1e6,
    "volts": 1e-3, "millivolts": 1.0, "microvolts": 1e3, "nanovolts": 1e6,
}  # fmt: skip

# A unit that an export states may be a multiple: "0.1 mV", "4.88 uV".
_MULTIPLE = re.compile(r"\s*(?P<factor>\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)\s*(?P<unit>[^\d\s]\S*)\s*")


@dataclass(frozen=True)
class Recording:
    """One ECG as stored, in physical units.

    Attributes:
        signal: float64 (lead, time), mV; NaN where the file marks a sample as missing.
        leads: the leads' names as the file spells them, one a row of `signal`.
        sampling_frequency: Hz, positive.
        derived: those of `leads` that were computed from other leads and not read from the file.
        others: names of the file's signals that are no leads, and not in `signal`.
        heart_rate: that the file states for the whole recording, 1/min; NaN for none.
        format: the kind of file, for example `SCP-ECG`; `decode` fills it in.
    """

    signal: np.ndarray
    leads: tuple[str, ...]
    sampling_frequency: float
    derived: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    heart_rate: float = nan
    format: str = ""


@dataclass(frozen=True)
class Stated:
    """What the export's tables state about a file; it counts only where the file itself says nothing.

    Attributes:
        unit: amplitude unit, or a multiple of one, such as `0.1 mV`.
        sampling_frequency: Hz.
        leads: the leads' names in stored order.
    """

    unit: str | None = None
    sampling_frequency: float | None = None
    leads: Sequence[str] | None = None

    def units_per_millivolt(self, spelling: str | None) -> float:
        """Factor of the file's unit, else of the stated one. Raises Refusal like the function of this name."""
        return units_per_millivolt(spelling) if spelling else multiples_per_millivolt(self.unit or "")

    def frequency(self, in_file: float | None) -> float:
        """Hz, from the file, else from the export. Raises Refusal(missing_sampling_frequency)."""
        frequency = self.sampling_frequency if in_file is None else in_file
        if frequency is None:
            raise Refusal("missing_sampling_frequency", "the sampling frequency is not stated")
        if not isfinite(frequency) or frequency <= 0:
            raise Refusal("missing_sampling_frequency", f"a sampling frequency of {frequency:g} Hz")
        return frequency

    def key(self, content_hash: str) -> str:
        """Returns what an ECG's signal is known by: a hash of its content, and of what is stated beside it.

        Args:
            content_hash: keyed digest of the content, 64 hexadecimal digits.
        """
        if self.unit is None and self.sampling_frequency is None and self.leads is None:
            return content_hash
        leads = None if self.leads is None else list(self.leads)
        text = canonical_json([content_hash, self.unit, self.sampling_frequency, leads])
        return hashlib.sha256(text.encode()).hexdigest()


NOTHING_STATED = Stated()


def arrange(recording: Recording, lead_sets: Sequence[LeadSet] = ("twelve",)) -> np.ndarray:
    """The leads in the order of data_contracts.conventions.LEADS; other signals are left out.

    Leads that `complete` can derive may be absent.

    Args:
        recording: of any format.
        lead_sets: that are admitted.

    Returns:
        float64 (12, time), mV; NaN in the leads that are not there, where fewer than twelve are admitted.

    Raises:
        Refusal: missing_leads when the leads hold no admitted set, or one is named twice.
    """
    completed = complete(recording)
    rows = _rows(completed)
    if largest_set(rows, lead_sets) is None:
        absent = [lead for lead in LEADS if lead not in rows]
        raise without_leads([*recording.leads, *recording.others], absent, lead_sets)
    if len(rows) == len(LEADS):
        return completed.signal[[rows[lead] for lead in LEADS]]
    arranged = np.full((len(LEADS), completed.signal.shape[1]), np.nan)
    for lead, row in rows.items():
        arranged[LEADS.index(lead)] = completed.signal[row]
    return arranged


def complete(recording: Recording) -> Recording:
    """The recording with III, aVR, aVL and aVF derived where they are absent and I and II are there.

    Raises:
        Refusal: missing_leads when a lead is named twice.
    """
    rows = _rows(recording)
    absent = [lead for lead in FROM_I_AND_II if lead not in rows]
    if not absent or "I" not in rows or "II" not in rows:
        return recording
    pair = recording.signal[[rows["I"], rows["II"]]]
    added = np.array([FROM_I_AND_II[lead] for lead in absent]) @ pair
    return replace(
        recording,
        signal=np.concatenate([recording.signal, added]),
        leads=(*recording.leads, *absent),
        derived=(*recording.derived, *absent),
    )


def _rows(recording: Recording) -> dict[str, int]:
    """Row of the signal by canonical lead name."""
    rows: dict[str, int] = {}
    for row, lead in enumerate(canonical_leads(recording.leads)):
        if lead in rows:
            raise Refusal("missing_leads", f"lead {lead} is named twice")
        if lead is not None:
            rows[lead] = row
    return rows


def limb_lead_error(signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far the limb leads are from the identities of Einthoven and Goldberger.

    Four of the six limb leads follow from the others. The filter is linear and the same for every lead, so the
    identities hold after it too. Exchanged electrodes keep them; a lead under another lead's name, of another
    gain, or disturbed after the amplifier breaks them.

    Args:
        signal: float (..., 12, time), mV, leads in the order of data_contracts.conventions.LEADS.

    Returns:
        (...,) root mean square of the worst identity's remainder, mV; and (...,) its share of the root mean
        square of the six limb leads, 0 where these are silent.
    """
    remainder = (np.asarray(_IDENTITY_MATRIX, dtype=signal.dtype)) @ signal
    error = np.sqrt(np.einsum("...it,...it->...i", remainder, remainder).max(axis=-1) / signal.shape[-1])
    limbs = signal[..., _LIMB_ROWS, :]
    size = np.sqrt(np.einsum("...lt,...lt->...", limbs, limbs) / (len(_LIMB_ROWS) * signal.shape[-1]))
    return error, error / np.where(size > 0, size, 1)


def check_size(signals: int, samples: int) -> None:
    """Raises Refusal for more values than any resting ECG has; call it before memory is allocated."""
    if signals * samples > MAX_VALUES:
        raise Refusal("unreadable", f"{signals} signals of {samples} samples: no resting ECG")


def check_expansion(values: int, held: int) -> None:
    """Raises Refusal for more values than `held` bytes can be; call it before compressed signals are unpacked."""
    if values > max(_FREE_VALUES, _MOST_VALUES_A_BYTE * held):
        raise Refusal("unreadable", f"{values} values in {held} bytes: no ECG is compressed so much")


def read_whole(path: Path) -> bytes:
    """The file's content. Raises Refusal(unreadable) when it is too large for an ECG; OSError."""
    with path.open("rb") as file:
        size = fstat(file.fileno()).st_size
        if size > MAX_BYTES:
            raise Refusal("unreadable", f"over {MAX_BYTES} bytes: no resting ECG")
        return file.read(size)


def number(spelling: str | None) -> float | None:
    """The finite number that the characters spell; None for none. Raises Refusal(unreadable) for anything else."""
    if spelling is None or not spelling.strip():
        return None
    try:
        value = float(spelling)
    except ValueError as fault:
        raise Refusal("unreadable", "a word where the format has a number") from fault
    if not isfinite(value):
        raise Refusal("unreadable", "a number without bound")
    return value


def stated_rate(spelling: str | None) -> float:
    """A heart rate or interval as the characters spell it; NaN for none, and for what is no number above 0."""
    try:
        rate = number(spelling)
    except Refusal:  # a dash, or words, where nothing was measured
        return nan
    return rate if rate is not None and rate > 0 else nan


def whole_number(spelling: str | None) -> int | None:
    """The count, 0 or more, that the characters spell; None for none. Raises Refusal(unreadable)."""
    value = number(spelling)
    if value is None:
        return None
    if value < 0 or value != int(value):
        raise Refusal("unreadable", "a count that is no whole number")
    return int(value)


def multiples_per_millivolt(spelling: str) -> float:
    """How many of a unit, or of a multiple of it, make one millivolt: 10 for `0.1 mV`.

    Raises:
        Refusal: see `units_per_millivolt`; unknown_units for a multiple of 0.
    """
    match = _MULTIPLE.fullmatch(spelling)
    if match is None:
        return units_per_millivolt(spelling)
    factor = float(match["factor"])
    if not isfinite(factor) or factor == 0:
        raise Refusal("unknown_units", "a unit of no size")
    return units_per_millivolt(match["unit"]) / factor


def units_per_millivolt(spelling: str) -> float:
    """How many of the unit make one millivolt, for example 1000 for `uV`.

    Raises:
        Refusal: missing_units for an empty spelling, unknown_units for a unit that is not of volts.
    """
    plain = spelling.strip().lower()
    if not plain:
        raise Refusal("missing_units", "the amplitude unit is not stated")
    if plain not in _PER_MILLIVOLT:
        raise Refusal("unknown_units", "the amplitude unit is not V, mV, uV or nV")
    return _PER_MILLIVOLT[plain]
