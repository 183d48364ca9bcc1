"""GE CardioSoft XML and Mortara ELI XML: two dialects whose schemas are not public, read as public readers do.

CardioSoft (`CardiologyXML`, as in UK Biobank's fields 20205 and 6025) holds samples as text: `StripData` is the whole
rhythm, `SampleRate` in Hz, `Resolution` in microvolts a step (`uVperLsb`), and a `WaveformData` a lead.

Mortara (`ECG` with `CHANNEL` elements, as ELI electrocardiographs and ELI Link export it) holds signed integers in
Base64, `UNITS_PER_MV`, `SAMPLE_FREQ` in Hz and `DURATION` in samples. Three public readers agree on all of these, and
not on what an `OFFSET` means.
"""

from typing import TYPE_CHECKING

import numpy as np

from echoingecg.common import Refusal
from echoingecg.ecg.decode import recording
from echoingecg.ecg.decode.recording.leads import canonical_leads, without_leads
from echoingecg.ecg.decode.vendor_xml import xml

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_RESOLUTION_UNIT = "uvperlsb"
_MICROVOLTS_PER_MILLIVOLT = 1000.0
_TYPES = {8: "i1", 16: "<i2", 32: "<i4"}


def decode_cardiosoft(root: "Element", stated: recording.Stated) -> recording.Recording:
    """Reads the strip, which is the whole rhythm; median beats and parts of a full disclosure are not read.

    Raises:
        Refusal: see data_contracts.quarantine.REASONS.
    """
    strip = xml.child(root, "StripData")
    if strip is None:
        raise Refusal("unknown_format", "the CardioSoft file holds no strip")
    stored = list(xml.children(strip, "WaveformData"))
    names = [wave.get("lead") or "" for wave in stored]
    rows = [row for row, lead in enumerate(canonical_leads(names)) if lead is not None]
    if not rows:
        raise without_leads(names)
    rate = xml.child(strip, "SampleRate")
    if rate is not None and rate.get("units", "Hz").lower() != "hz":
        raise Refusal("missing_sampling_frequency", "a sampling frequency that is not in Hz")
    frequency = stated.frequency(recording.number(xml.text(rate)))
    resolution = xml.child(strip, "Resolution")
    step = recording.number(xml.text(resolution))
    if resolution is None or not step or resolution.get("units", "").lower() != _RESOLUTION_UNIT:
        raise Refusal("missing_units", "no resolution in microvolts a step")
    values = [_steps(stored[row]) for row in rows]
    counts = set(map(len, values))
    if len(counts) != 1:
        raise Refusal("unreadable", "the leads differ in their count of samples")
    promised = recording.whole_number(xml.text(xml.child(strip, "ChannelSampleCountTotal")))
    if promised is not None and counts != {promised}:
        raise Refusal("truncated", f"leads of {promised} samples hold {counts.pop()}")
    signal = np.stack(values) * (step / _MICROVOLTS_PER_MILLIVOLT)
    others = tuple(name for row, name in enumerate(names) if row not in rows)
    beats = recording.stated_rate(xml.text(xml.child(root, "RestingECGMeasurements", "VentricularRate")))
    return recording.Recording(signal, tuple(names[row] for row in rows), frequency, others=others, heart_rate=beats)


def _steps(wave: "Element") -> np.ndarray:
    """One lead, float64 (time,), in steps."""
    try:
        return np.array([int(value) for value in xml.text(wave).rstrip(",").split(",")], dtype=np.float64)
    except ValueError as fault:
        raise Refusal("unreadable", "samples that are not whole numbers, parted by commas") from fault


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
