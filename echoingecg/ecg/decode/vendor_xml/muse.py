"""GE MUSE XML (`RestingECG`, restecg.dtd): eight leads are stored, the other four follow from I and II."""

import zlib
from typing import TYPE_CHECKING

import numpy as np

from echoingecg.common import Refusal
from echoingecg.ecg.decode import recording
from echoingecg.ecg.decode.recording.leads import canonical_leads, without_leads
from echoingecg.ecg.decode.vendor_xml import xml

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


def decode_muse(root: "Element", stated: recording.Stated) -> recording.Recording:
    """Reads the waveform of type Rhythm with the most leads, of equals the longest; never the median beat.

    Raises:
        Refusal: see data_contracts.quarantine.REASONS.
    """
    waveforms = xml.children(root, "Waveform")
    rhythms = [wave for wave in waveforms if xml.text(xml.child(wave, "WaveformType")).lower() == "rhythm"]
    if not rhythms:
        raise Refusal("unknown_format", "the MUSE file holds no rhythm waveform")
    rhythm = max(rhythms, key=_preference)
    if (kind := xml.text(xml.child(rhythm, "SampleType"))) and kind != "CONTINUOUS_SAMPLES":
        raise Refusal("unknown_format", "a MUSE waveform that is not of continuous samples")
    frequency = stated.frequency(_frequency(rhythm))
    stored = list(xml.children(rhythm, "LeadData"))
    names = [xml.text(xml.child(lead, "LeadID")) for lead in stored]
    rows = [row for row, name in enumerate(canonical_leads(names)) if name is not None]
    leads = [stored[row] for row in rows]
    if not leads:
        raise without_leads(names)
    first = min(_start(lead) for lead in leads)
    samples = max(_end(lead) for lead in leads) - first
    values = [_millivolts(lead, stated) for lead in leads]
    if samples > sum(map(len, values)):
        raise Refusal("unreadable", "leads that lie apart in time")
    signal = np.full((len(leads), samples), np.nan)
    for row, (lead, samples_of_lead) in enumerate(zip(leads, values, strict=True)):
        start = _start(lead) - first
        signal[row, start : start + len(samples_of_lead)] = samples_of_lead
    others = tuple(name for row, name in enumerate(names) if row not in rows)
    rate = recording.stated_rate(xml.text(xml.child(root, "RestingECGMeasurements", "VentricularRate")))
    return recording.Recording(signal, tuple(names[row] for row in rows), frequency, others=others, heart_rate=rate)


def _preference(wave: "Element") -> tuple[int, int]:
    """Sort key, the best waveform greatest: leads, then length."""
    stored = list(xml.children(wave, "LeadData"))
    names = canonical_leads([xml.text(xml.child(lead, "LeadID")) for lead in stored])
    return len(set(names) - {None}), max(map(_end, stored), default=0)


def _frequency(rhythm: "Element") -> float | None:
    """SampleBase x 10 ^ SampleExponent, Hz; None when it is not stated."""
    base = recording.number(xml.text(xml.child(rhythm, "SampleBase")))
    exponent = recording.number(xml.text(xml.child(rhythm, "SampleExponent"))) or 0.0
    if abs(exponent) > 9:
        raise Refusal("missing_sampling_frequency", "the sampling frequency's exponent is no exponent of an ECG")
    return None if base is None else base * 10.0**exponent


def _start(lead: "Element") -> int:
    """The number of samples between the waveform's start and the lead's first sample."""
    return recording.whole_number(xml.text(xml.child(lead, "LeadOffsetFirstSample"))) or 0


def _end(lead: "Element") -> int:
    return _start(lead) + (recording.whole_number(xml.text(xml.child(lead, "LeadSampleCountTotal"))) or 0)


def _millivolts(lead: "Element", stated: recording.Stated) -> np.ndarray:
    """The lead, float64 (time,), mV: stored value x LeadAmplitudeUnitsPerBit, in LeadAmplitudeUnits."""
    per_bit = recording.number(xml.text(xml.child(lead, "LeadAmplitudeUnitsPerBit")))
    if not per_bit:
        raise Refusal("missing_units", "a lead's units a bit are 0 or not stated")
    unit = stated.units_per_millivolt(xml.text(xml.child(lead, "LeadAmplitudeUnits")))
    for name in ("LeadTimeOffset", "FirstSampleBaseline"):
        if recording.number(xml.text(xml.child(lead, name))):
            raise Refusal("unknown_format", f"a MUSE lead with a {name}: its unit is not stated")
    if recording.whole_number(xml.text(xml.child(lead, "LeadSampleSize"))) not in (None, 2):
        raise Refusal("unknown_format", "MUSE samples that are not of two bytes")
    data = xml.base64_bytes(xml.text(xml.child(lead, "WaveFormData")))
    samples = recording.whole_number(xml.text(xml.child(lead, "LeadSampleCountTotal")))
    if samples is None or samples == 0:
        raise Refusal("unreadable", "a lead without its count of samples")
    if len(data) < 2 * samples:
        raise Refusal("truncated", f"a lead of {samples} samples holds {len(data)} bytes")
    stated_bytes = recording.whole_number(xml.text(xml.child(lead, "LeadByteCountTotal")))
    if len(data) != 2 * samples or stated_bytes not in (None, len(data)):
        raise Refusal("unreadable", "a lead's counts of samples and bytes do not agree")
    checksum = recording.whole_number(xml.text(xml.child(lead, "LeadDataCRC32")))  # 0: not computed
    if checksum and checksum != zlib.crc32(data):
        raise Refusal("unreadable", "a lead's samples do not have the stated CRC")
    return np.frombuffer(data, "<i2").astype(np.float64) * per_bit / unit
