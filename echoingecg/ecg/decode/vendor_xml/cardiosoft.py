"""GE CardioSoft XML (`CardiologyXML`), as in UK Biobank's fields 20205 and 6025: samples as text, all leads stored.

The schema is not public. The layout follows public readers of UK Biobank's files: `StripData` holds the whole rhythm,
`SampleRate` in Hz, `Resolution` in microvolts a step (`uVperLsb`), and a `WaveformData` a lead.
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
