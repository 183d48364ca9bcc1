"""Names of the twelve leads, by which files name them in many spellings."""

from data_contracts.conventions import LEADS

_CANONICAL = {lead.lower(): lead for lead in LEADS}
# "MDC_ECG_LEAD_V1" (IEEE 11073-10102), "Lead I (Einthoven)" (SCP-ECG's meanings in DICOM), "ECG I" (EDF+).
_PREFIXES = ("mdc_ecg_lead_", "ecg_lead_", "mdc_", "ecg ", "ekg ", "lead ", "lead_")
_SUFFIXES = (" (einthoven)",)

# Lead numbers of SCP-ECG (EN 1064 table 5), which IEEE 11073-10102 and DICOM CID 3001 share.
LEAD_NUMBERS = {1: "I", 2: "II", 61: "III", 62: "aVR", 63: "aVL", 64: "aVF"} | {
    number + 2: f"V{number}" for number in range(1, 7)
}


def canonical_lead(spelling: str) -> str | None:
    """The lead's name as in data_contracts.conventions.LEADS; None when it is none of the twelve.

    Case, surrounding white space and the prefixes `lead`, `ECG` and `MDC_ECG_LEAD_` do not matter.
    """
    plain = spelling.strip().lower()
    for prefix in _PREFIXES:
        plain = plain.removeprefix(prefix)
    for suffix in _SUFFIXES:
        plain = plain.removesuffix(suffix)
    return _CANONICAL.get(plain.strip())
