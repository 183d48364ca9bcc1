"""Names of the twelve leads, by which files name them in many spellings, and sets of leads."""

import re
from collections.abc import Container, Sequence

from data_contracts.conventions import LEAD_SETS, LEADS, LeadSet
from echoingecg.common import Refusal

# How the other limb leads follow from I and II (Einthoven 1912; Goldberger 1942): lead = a I + b II.
FROM_I_AND_II = {"III": (-1.0, 1.0), "aVR": (-0.5, -0.5), "aVL": (1.0, -0.5), "aVF": (-0.5, 1.0)}

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


def leads_of_set(name: LeadSet) -> tuple[str, ...]:
    """The leads of a set, with those that follow from I and II, in the order of data_contracts.conventions.LEADS."""
    stored = LEAD_SETS[name]
    computed = tuple(FROM_I_AND_II) if {"I", "II"} <= set(stored) else ()
    return tuple(lead for lead in LEADS if lead in stored or lead in computed)


def largest_set(leads: Container[str], lead_sets: Sequence[LeadSet]) -> tuple[str, ...] | None:
    """The leads of the largest of some sets that is there; None where there is none."""
    sets = sorted(map(leads_of_set, lead_sets), key=len, reverse=True)
    return next((chosen for chosen in sets if all(lead in leads for lead in chosen)), None)


def without_leads(
    spellings: Sequence[str], absent: Sequence[str] = LEADS, lead_sets: Sequence[LeadSet] = ("twelve",)
) -> Refusal:
    """The refusal of a file whose signals, called by these names, are not all of the leads that are needed.

    Names that a person might have are counted, not quoted.
    """
    quoted = [name for spelling in spellings if _QUOTABLE.fullmatch(name := spelling.strip())][:_MOST_QUOTED]
    others = len(spellings) - len(quoted)
    names = [*quoted, f"{others} other name{'s' * (others != 1)}"] if others else quoted
    missing = f"no lead named {', '.join(absent)}" if len(absent) < len(LEADS) else "no signal has the name of a lead"
    expected = f"{', '.join(LEADS[:6])}, V1 to V6"
    if smaller := [name for name in lead_sets if name != "twelve"]:
        sets = "; or ".join(f"{name} ({', '.join(LEAD_SETS[name])})" for name in smaller)
        expected = f"{expected}; or {sets}" if "twelve" in lead_sets else sets
    return Refusal("missing_leads", f"{missing}; found {', '.join(names) or 'no signal'}; expected {expected}")


def _bare(spelling: str) -> str:
    plain = spelling.strip().lower().removesuffix(_SUFFIX)
    return re.sub(r"[ _]", "", plain[_PREFIX.match(plain).end() :])  # type: ignore[union-attr]  # may match nothing
