"""Mortara ELI XML (`ECG` with `CHANNEL` elements), as ELI electrocardiographs and ELI Link export it.

The schema is not public. The layout follows three public readers, which agree: `UNITS_PER_MV`, `SAMPLE_FREQ` in Hz,
`DURATION` in samples, and the samples as signed integers in Base64. They do not agree on what an `OFFSET` means.
"""

from typing import TYPE_CHECKING

import numpy as np

from echoingecg.common import Refusal
from echoingecg.ecg.decode import recording
from echoingecg.ecg.decode.recording.leads import canonical_leads, without_leads
from echoingecg.ecg.decode.vendor_xml import xml

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_TYPES = {8: "i1", 16: "<i2", 32: "<i4"}


def decode_mortara(root: "Element", stated: recording.Stated) -> recording.Recording:
    """Reads the channels, which are the rhythm; the typical cycle is not read.

    Raises:
        Refusal: see data_contracts.quarantine.REASONS.
    """
    channels = list(xml.children(root, "CHANNEL"))
    if not channels:
        raise Refusal("unknown_format", "an XML document that is no ECG that is read here")
    names = [channel.get("NAME", "") for channel in channels]
    rows = [row for row, lead in enumerate(canonical_leads(names)) if lead is not None]
    if not rows:
        raise without_leads(names)
    rates = {recording.number(channels[row].get("SAMPLE_FREQ")) for row in rows}
    if len(rates) != 1:
        raise Refusal("unknown_format", "the leads differ in their sampling frequency")
    frequency = stated.frequency(rates.pop())
    values = [_millivolts(channels[row]) for row in rows]
    if len(set(map(len, values))) != 1:
        raise Refusal("unreadable", "the leads differ in their count of samples")
    others = tuple(name for row, name in enumerate(names) if row not in rows)
    return recording.Recording(np.stack(values), tuple(names[row] for row in rows), frequency, others=others)


def _millivolts(channel: "Element") -> np.ndarray:
    """The lead, float64 (time,), mV."""
    per_millivolt = recording.number(channel.get("UNITS_PER_MV"))
    if not per_millivolt or per_millivolt < 0:
        raise Refusal("missing_units", "a lead's units a millivolt are 0 or not stated")
    stored_as = _TYPES.get(recording.whole_number(channel.get("BITS")) or 0)
    if stored_as is None or channel.get("FORMAT") != "SIGNED" or channel.get("ENCODING") != "BASE64":
        raise Refusal("unknown_format", "Mortara samples that are not signed integers in Base64")
    if recording.number(channel.get("OFFSET")):
        raise Refusal("unknown_format", "a Mortara channel with an OFFSET: what it counts is not stated")
    data = xml.base64_bytes(channel.get("DATA", ""))
    samples, size = recording.whole_number(channel.get("DURATION")), np.dtype(stored_as).itemsize
    if samples is None or samples == 0:
        raise Refusal("unreadable", "a lead without its count of samples")
    if len(data) != samples * size:
        reason = "truncated" if len(data) < samples * size else "unreadable"
        raise Refusal(reason, f"a lead of {samples} samples holds {len(data)} bytes")
    return np.frombuffer(data, stored_as).astype(np.float64) / per_millivolt
