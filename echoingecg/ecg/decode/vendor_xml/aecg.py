"""HL7 annotated ECG XML (`AnnotatedECG`, HL7 V3 PORT_MT020001; aECG Implementation Guide, 2005)."""

import math
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from echoingecg.common import Refusal
from echoingecg.ecg.decode import recording
from echoingecg.ecg.decode.recording.leads import canonical_lead, without_leads
from echoingecg.ecg.decode.vendor_xml import xml

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"
_TIMES = ("TIME_ABSOLUTE", "TIME_RELATIVE")
_SECONDS = {"s": Fraction(1), "ms": Fraction(1, 1000), "us": Fraction(1, 10**6)}
_HEART_RATE = "MDC_ECG_HEART_RATE"
_DIGITS = frozenset("0123456789+-. \t\r\n")


def decode_aecg(root: "Element", stated: recording.Stated) -> recording.Recording:
    """Reads the series of code RHYTHM: its set of sequences with the most leads, of equals the longest.

    Derived series (the representative beat) are not read.

    Raises:
        Refusal: see data_contracts.quarantine.REASONS.
    """
    all_series = [series for part in xml.children(root, "component") for series in xml.children(part, "series")]
    rhythm = [series for series in all_series if _code(series) == "RHYTHM"]
    if not rhythm:
        raise Refusal("unknown_format", "the aECG file holds no rhythm series")
    parts = [part for series in rhythm for part in xml.children(series, "component")]
    sets = [sequences for part in parts for sequences in xml.children(part, "sequenceSet")]
    if not sets:
        raise Refusal("unknown_format", "the aECG's rhythm holds no sequences")
    chosen = max(map(_sequences, sets), key=_preference)
    waves = [(lead, value) for lead, value in chosen.items() if canonical_lead(lead) is not None]
    if not waves:
        raise without_leads([code for code in chosen if code not in _TIMES])
    times = [value for code, value in chosen.items() if code in _TIMES]
    frequency = stated.frequency(_frequency(times))
    values = [_millivolts(value, stated) for _, value in waves]
    if len(set(map(len, values))) != 1:
        raise Refusal("unreadable", "the leads differ in their count of samples")
    others = tuple(code for code in chosen if code not in _TIMES and canonical_lead(code) is None)
    rates = [xml.child(note, "value") for note in xml.descendants(root, "annotation") if _code(note) == _HEART_RATE]
    stated_rates = [recording.stated_rate(value.get("value")) for value in rates if value is not None]
    return recording.Recording(
        np.stack(values),
        tuple(lead for lead, _ in waves),
        frequency,
        others=others,
        heart_rate=next(iter(stated_rates), math.nan),
    )


def _code(element: "Element") -> str:
    code = xml.child(element, "code")
    return code.get("code", "") if code is not None else ""


def _sequences(group: "Element") -> dict[str, "Element"]:
    """The values of a set of sequences, by the sequence's code."""
    values: dict[str, Element] = {}
    for component in xml.children(group, "component"):
        for sequence in xml.children(component, "sequence"):
            code, value = _code(sequence), xml.child(sequence, "value")
            if value is None:
                continue
            if code in values:
                raise Refusal("missing_leads", "a sequence's code is there twice")
            values[code] = value
    return values


def _preference(sequences: dict[str, "Element"]) -> tuple[int, int]:
    """Sort key, the best set greatest: leads, then characters of the longest lead."""
    waves = [value for code, value in sequences.items() if canonical_lead(code) is not None]
    return len(waves), max((len(xml.text(xml.child(value, "digits"))) for value in waves), default=0)


def _frequency(times: list["Element"]) -> float | None:
    """Hz, from the increment of a list of times (GLIST_TS, GLIST_PQ); None when it is not stated."""
    increments = [child for value in times if (child := xml.child(value, "increment")) is not None]
    value = recording.number(increments[0].get("value")) if increments else None
    if value is None:
        return None
    unit = increments[0].get("unit", "")
    if unit not in _SECONDS:
        raise Refusal("missing_sampling_frequency", "the increment of time is not in s, ms or us")
    step = Fraction(repr(value)) * _SECONDS[unit]  # decimal, as the file has it: 0.001 s is 1000 Hz
    if step < _SECONDS["us"]:
        raise Refusal("missing_sampling_frequency", "an increment of time under a microsecond")
    return float(1 / step)


def _quantity(value: "Element", name: str, stated: recording.Stated) -> float | None:
    """The child element's amount in mV; None when the element is absent."""
    element = xml.child(value, name)
    amount = recording.number(element.get("value")) if element is not None else None
    if element is None or amount is None:
        return None
    return amount / stated.units_per_millivolt(element.get("unit"))


def _millivolts(value: "Element", stated: recording.Stated) -> np.ndarray:
    """The lead, float64 (time,), mV: origin + scale x digit."""
    if value.get(_TYPE, "SLIST_PQ").rpartition(":")[2] not in ("SLIST_PQ", "SLIST_INT"):
        raise Refusal("unknown_format", "a lead whose values are no list of scaled digits")
    scale = _quantity(value, "scale", stated)
    if not scale:
        raise Refusal("missing_units", "a lead's scale is 0 or not stated")
    digits = xml.child(value, "digits")
    spelling = (digits.text or "") if digits is not None else ""
    if not _DIGITS.issuperset(spelling):
        raise Refusal("unreadable", "a lead's digits are no list of numbers")
    recording.check_size(1, len(spelling) // 2)
    numbers = spelling.split()
    if not numbers:
        raise Refusal("unreadable", "a lead without samples")
    try:
        stored = np.array(numbers, dtype=np.float64)
    except ValueError as fault:
        raise Refusal("unreadable", "a lead's digits are no list of numbers") from fault
    return (_quantity(value, "origin", stated) or 0.0) + stored * scale
