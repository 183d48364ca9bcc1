"""Names of the twelve leads, by which files name them in many spellings."""

import re
from collections.abc import Sequence

from data_contracts.conventions import LEADS
from echoingecg.common import Refusal

_CANONICAL = {lead.lower(): lead for lead in LEADS} | {
    f"d{name}": lead for lead in ("I", "II", "III") for name in (lead.lower(), str(len(lead)))
}  # "DI" and "D1": Latin America
_CHEST_C = {f"c{number}": f"V{number}" for number in range(1, 7)}  # IEC's codes of the electrodes V1 to V6
# "MDC_ECG_LEAD_V1" (IEEE 11073-10102), "Lead I (Einthoven)" (SCP-ECG's meanings in DICOM), "ECG I" (EDF+), "ECG_I".
_PREFIX = re.compile(r"(?:mdc[ _])?(?:(?:ecg|ekg|lead)(?:[ _:]+|-)?)*")
_SUFFIX = " (einthoven)"

# Lead numbers of SCP-ECG (EN 1064 table 5), which IEEE 11073-10102 and DICOM CID 3001 share.
LEAD_NUMBERS = {1: "I", 2: "II", 61: "III", 62: "aVR", 63: "aVL", 64: "aVF"} | {
    number + 2: f"V{number}" for number in range(1, 7)
}

# What a message may quote: names that could be those of leads, but of no person.
_QUOTABLE = re.compile(
    r"(?:MDC_)?(?:(?:ECG|EKG|LEAD|CHANNEL|CH|ML|MCL|MV|NEHB)[ _:-]?)*"
    r"(?:-?(?:D?I{1,3}|D[1-3]|A?V[RLF]|[VCS]\d{1,2}R?)|[XYZADJES]|\d{1,2})",
    re.IGNORECASE,
)
_MOST_QUOTED = 16


def canonical_lead(spelling: str) -> str | None:
    """The lead's name as in data_contracts.conventions.LEADS; None when it is none of the twelve.

    Case, white space, underscores and the prefixes `lead`, `ECG` and `MDC_ECG_LEAD_` do not matter.
    """
    return _CANONICAL.get(_bare(spelling))


def canonical_leads(spellings: Sequence[str]) -> list[str | None]:
    """The name of each signal of a file, see `canonical_lead`.

    `C1` to `C6` are V1 to V6 where all six are there and none is called V: a single C3 is an electrode of the head.
    """
    leads = [canonical_lead(spelling) for spelling in spellings]
    chest = [_CHEST_C.get(_bare(spelling)) for spelling in spellings]
    if set(chest) - {None} != set(_CHEST_C.values()) or set(_CHEST_C.values()) & set(leads):
        return leads
    return [lead or other for lead, other in zip(leads, chest, strict=True)]


def without_leads(spellings: Sequence[str], absent: Sequence[str] = LEADS) -> Refusal:
    """The refusal of a file whose signals, called by these names, are not all of the leads that are needed.

    Names that a person might have are counted, not quoted.
    """
    quoted = [name for spelling in spellings if _QUOTABLE.fullmatch(name := spelling.strip())][:_MOST_QUOTED]
    others = len(spellings) - len(quoted)
    names = [*quoted, f"{others} other name{'s' * (others != 1)}"] if others else quoted
    missing = f"no lead named {', '.join(absent)}" if len(absent) < len(LEADS) else "no signal has the name of a lead"
    expected = f"{', '.join(LEADS[:6])}, V1 to V6"
    return Refusal("missing_leads", f"{missing}; found {', '.join(names) or 'no signal'}; expected {expected}")


def _bare(spelling: str) -> str:
    plain = spelling.strip().lower().removesuffix(_SUFFIX)
    return re.sub(r"[ _]", "", plain[_PREFIX.match(plain).end() :])  # type: ignore[union-attr]  # may match nothing
