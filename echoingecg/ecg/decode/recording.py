"""Leads are mapped by name, never by position; limb leads that follow from I and II are derived."""

from dataclasses import replace
from typing import Final

import numpy as np

from data_contracts.conventions import LEADS
from echoingecg.common.errors import Refusal
from echoingecg.ecg.recording import Recording

_CANONICAL: Final = {lead.lower(): lead for lead in LEADS}
# "MDC_ECG_LEAD_V1" (IEEE 11073-10102), "Lead I (Einthoven)" (SCP-ECG's meanings in DICOM), "ECG I" (EDF+).
_PREFIXES: Final = ("mdc_ecg_lead_", "ecg_lead_", "mdc_", "ecg ", "ekg ", "lead ", "lead_")
_SUFFIXES: Final = (" (einthoven)",)

# What I and II give of the others (Einthoven 1912; Goldberger 1942): lead = a I + b II.
LIMB_LEADS: Final = {"III": (-1.0, 1.0), "aVR": (-0.5, -0.5), "aVL": (1.0, -0.5), "aVF": (-0.5, 1.0)}
# Lead numbers of SCP-ECG (EN 1064 table 5), which IEEE 11073-10102 and DICOM CID 3001 share.
LEAD_NUMBERS: Final = {1: "I", 2: "II", 61: "III", 62: "aVR", 63: "aVL", 64: "aVF"} | {
    number + 2: f"V{number}" for number in range(1, 7)
}


def canonical(spelling: str) -> str | None:
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
        lead = canonical(spelling)
        if lead in rows:
            raise Refusal("missing_leads", f"lead {lead} is named twice")
        if lead is not None:
            rows[lead] = row
    return rows
