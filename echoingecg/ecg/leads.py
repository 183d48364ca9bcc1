"""Leads are mapped by name, never by position."""

from typing import Final

import numpy as np

from data_contracts.conventions import LEADS
from echoingecg.ecg.recording import Recording
from echoingecg.errors import Refusal

_CANONICAL: Final = {lead.lower(): lead for lead in LEADS}
# "MDC_ECG_LEAD_V1" (IEEE 11073-10102), "Lead I (Einthoven)" (SCP-ECG's meanings in DICOM), "ECG I".
_PREFIXES: Final = ("mdc_ecg_lead_", "ecg_lead_", "mdc_", "ecg ", "lead ", "lead_")
_SUFFIXES: Final = (" (einthoven)",)


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


def arrange(recording: Recording) -> np.ndarray:
    """The twelve leads in the order of data_contracts.conventions.LEADS; others are left out.

    Returns:
        float64 (12, time), mV.

    Raises:
        Refusal: missing_leads when one of the twelve is absent or named twice.
    """
    rows: dict[str, int] = {}
    for row, spelling in enumerate(recording.leads):
        lead = canonical(spelling)
        if lead in rows:
            raise Refusal("missing_leads", f"lead {lead} is named twice")
        if lead is not None:
            rows[lead] = row
    absent = [lead for lead in LEADS if lead not in rows]
    if absent:
        raise Refusal("missing_leads", f"no lead named {', '.join(absent)}")
    return recording.signal[[rows[lead] for lead in LEADS]]
