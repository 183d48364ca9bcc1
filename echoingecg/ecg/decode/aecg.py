"""HL7 annotated ECG (`AnnotatedECG`, HL7 V3 PORT_MT020001; aECG Implementation Guide, 2005)."""

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from echoingecg.common import Refusal
from echoingecg.ecg.decode import recording, xml

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"
_TIMES = ("TIME_ABSOLUTE", "TIME_RELATIVE")
_SECOND = {"s": Fraction(1), "ms": Fraction(1, 1000), "us": Fraction(1, 10**6)}
_DIGITS = frozenset("0123456789+-. \t\r\n")


def decode_aecg(
    root: "Element", stated_unit: str | None, stated_sampling_frequency: float | None
) -> recording.Recording:
    """Reads the set of sequences with the most leads, then samples, of the series of code RHYTHM.

    Derived series (the representative beat) are not read.

    Raises:
        Refusal: see data_contracts.quarantine.REASONS.
    """
    series = [one for component in xml.children(root, "component") for one in xml.children(component, "series")]
    rhythm = [one for one in series if _code(one) == "RHYTHM"]
    if not rhythm:
        raise Refusal("unknown_format", "the aECG file holds no rhythm series")
    sets = [one for part in rhythm for component in xml.children(part, "component")
            for one in xml.children(component, "sequenceSet")]  # fmt: skip
    if not sets:
        raise Refusal("unknown_format", "the aECG's rhythm holds no sequences")
    chosen = max((_sequences(one) for one in sets), key=_preference)
    waves = [(lead, value) for lead, value in chosen.items() if recording.canonical_lead(lead) is not None]
    if not waves:
        raise Refusal("missing_leads", "no sequence has the code of a lead")
    times = [value for code, value in chosen.items() if code in _TIMES]
    frequency = recording.sampling_frequency(_frequency(times), stated_sampling_frequency)
    values = [_millivolts(value, stated_unit) for _, value in waves]
    if len({len(one) for one in values}) != 1:
        raise Refusal("unreadable", "the leads differ in their count of samples")
    return recording.Recording(np.stack(values), tuple(lead for lead, _ in waves), frequency)


def _code(element: "Element") -> str:
    found = xml.child(element, "code")
    return found.get("code", "") if found is not None else ""


def _sequences(group: "Element") -> dict[str, "Element"]:
    """The sequences' values by code."""
    found: dict[str, Element] = {}
    for component in xml.children(group, "component"):
        for sequence in xml.children(component, "sequence"):
            code, value = _code(sequence), xml.child(sequence, "value")
            if value is None:
                continue
            if code in found:
                raise Refusal("missing_leads", "a sequence's code is there twice")
            found[code] = value
    return found


def _preference(sequences: dict[str, "Element"]) -> tuple[int, int]:
    waves = [value for code, value in sequences.items() if recording.canonical_lead(code) is not None]
    return len(waves), max((len(xml.text(xml.child(value, "digits"))) for value in waves), default=0)


def _frequency(times: list["Element"]) -> float | None:
    """Hz, from the increment of a list of times (GLIST_TS, GLIST_PQ)."""
    increments = [one for value in times if (one := xml.child(value, "increment")) is not None]
    value = recording.number(increments[0].get("value")) if increments else None
    if value is None:
        return None
    unit = increments[0].get("unit", "")
    if unit not in _SECOND:
        raise Refusal("missing_sampling_frequency", "the increment of time is not in s, ms or us")
    step = Fraction(repr(value)) * _SECOND[unit]  # decimal, as the file has it: 0.001 s is 1000 Hz
    if step < _SECOND["us"]:
        raise Refusal("missing_sampling_frequency", "an increment of time under a microsecond")
    return float(1 / step)


def _quantity(value: "Element", name: str, stated_unit: str | None) -> float | None:
    """Millivolts; None when the element is absent."""
    found = xml.child(value, name)
    amount = recording.number(found.get("value")) if found is not None else None
    if found is None or amount is None:
        return None
    return amount / recording.units_per_millivolt(found.get("unit") or stated_unit or "")


def _millivolts(value: "Element", stated_unit: str | None) -> np.ndarray:
    """float64 (time,), mV: origin + scale x digit."""
    if value.get(_TYPE, "SLIST_PQ").rpartition(":")[2] not in ("SLIST_PQ", "SLIST_INT"):
        raise Refusal("unknown_format", "a lead whose values are no list of scaled digits")
    scale = _quantity(value, "scale", stated_unit)
    if not scale:
        raise Refusal("missing_units", "a lead's scale is 0 or not stated")
    digits = xml.child(value, "digits")
    spelling = (digits.text or "") if digits is not None else ""
    if not _DIGITS.issuperset(spelling):
        raise Refusal("unreadable", "a lead's digits are no list of numbers")
    recording.check_size(1, len(spelling) // 2)
    words = spelling.split()
    if not words:
        raise Refusal("unreadable", "a lead without samples")
    try:
        stored = np.array(words, dtype=np.float64)
    except ValueError as fault:
        raise Refusal("unreadable", "a lead's digits are no list of numbers") from fault
    return (_quantity(value, "origin", stated_unit) or 0.0) + stored * scale
