"""Philips (Sierra) ECG XML (`restingecgdata`), versions 1.03 and 1.04: XLI-compressed, residual limb leads.

Philips publishes the schema to customers only; the layout of the samples is as found by the Sierra ECG
Tools project (C. Watford, MIT).
"""

from typing import TYPE_CHECKING, Final

import numpy as np

from echoingecg.common.errors import Refusal
from echoingecg.ecg.decode.limits import sampling_frequency
from echoingecg.ecg.decode.numbers import number, whole
from echoingecg.ecg.decode.recording import canonical
from echoingecg.ecg.decode.xli import decode_xli
from echoingecg.ecg.decode.xml import base64_bytes, child, descendants, text
from echoingecg.ecg.recording import Recording

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_VERSIONS: Final = ("1.03", "1.03.01", "1.04", "1.04.01", "1.04.02")
_STANDARD: Final = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
# Acquisition types whose first twelve channels are those of `_STANDARD`, for files without labels.
_STANDARD_TYPES: Final = ("STD-12", "10-WIRE")
_MICROVOLTS_A_MILLIVOLT: Final = 1000.0  # the schema's unit of resolution is microvolts


def decode_philips(root: "Element", stated_sampling_frequency: float | None) -> Recording:
    """Reads `parsedwaveforms`; representative beats are not read. The unit is the schema's: microvolts.

    Raises:
        Refusal: see data_contracts.quarantine.REASONS.
    """
    if text(child(root, "documentinfo", "documentversion")) not in _VERSIONS:
        raise Refusal("unknown_format", "a Philips XML version that is not read here")
    waves = next(descendants(root, "parsedwaveforms"), None)
    if waves is None:
        raise Refusal("unknown_format", "the Philips file holds no waveform")
    acquired = child(root, "dataacquisition", "signalcharacteristics")
    leads = _leads(waves, acquired)
    _check_encoding(waves, acquired)
    rate = number(waves.get("samplespersecond") or text(child(acquired, "samplingrate")))
    frequency = sampling_frequency(rate, stated_sampling_frequency)
    duration = number(waves.get("durationperchannel"))
    if not duration or duration <= 0 or duration * frequency > 1e12:
        raise Refusal("unreadable", "the waveform's duration is not stated or impossible")
    samples = int(duration * frequency / 1000)
    stored = decode_xli(base64_bytes(text(waves)), len(leads), samples)
    signal = _restored(stored, leads) * _resolution(waves, acquired) / _MICROVOLTS_A_MILLIVOLT
    return Recording(signal, leads, frequency)


def _leads(waves: "Element", acquired: "Element | None") -> tuple[str, ...]:
    labels = tuple((waves.get("leadlabels") or "").split())
    stated = waves.get("numberofleads") if labels else text(child(acquired, "numberchannelsallocated"))
    count = whole(stated)
    if labels:
        if count is not None and count != len(labels):
            raise Refusal("unreadable", f"{count} leads, {len(labels)} of them named")
        return labels
    if text(child(acquired, "acquisitiontype")) not in _STANDARD_TYPES or count != len(_STANDARD):
        raise Refusal("missing_leads", "the leads are not named, and not those of a standard 12-lead acquisition")
    return _STANDARD


def _check_encoding(waves: "Element", acquired: "Element | None") -> None:
    if waves.get("dataencoding") != "Base64":
        raise Refusal("unknown_format", "Philips samples that are not in Base64")
    if (waves.get("compressmethod") or waves.get("compression")) != "XLI" or waves.get("compressflag") == "False":
        raise Refusal("unknown_format", "Philips samples that are not XLI-compressed")
    bits = waves.get("bitspersample") or waves.get("nbitspersample") or text(child(acquired, "bitspersample"))
    offset = waves.get("signaloffset") or text(child(acquired, "signaloffset"))
    signed = waves.get("signalsigned") or text(child(acquired, "signalsigned"))
    if whole(bits) != 16 or number(offset) or signed == "False":
        raise Refusal("unknown_format", "Philips samples that are not signed 16-bit values without offset")


def _resolution(waves: "Element", acquired: "Element | None") -> float:
    """Microvolts a step."""
    spelling = (
        waves.get("resolution") or text(child(acquired, "resolution")) or text(child(acquired, "signalresolution"))
    )
    found = number(spelling)
    if not found or found < 0:
        raise Refusal("missing_units", "the resolution is 0 or not stated")
    return found


def _restored(stored: np.ndarray, leads: tuple[str, ...]) -> np.ndarray:
    """III, aVR, aVL and aVF from their residuals to what I and II give, halves rounded down. int64 (lead, time)."""
    names = [canonical(lead) for lead in leads]
    if len(set(names) - {None}) != len([name for name in names if name]):
        raise Refusal("missing_leads", "a lead is named twice")
    if not {"I", "II", "III"} <= set(names):
        raise Refusal("missing_leads", "the limb leads that restore the others are not all there")
    row = {name: at for at, name in enumerate(names) if name}
    out = stored.copy()
    one, two = out[row["I"]], out[row["II"]]
    three = out[row["III"]] = two - one - out[row["III"]]
    expected = {"aVR": -((one + two) // 2), "aVL": (one - three) // 2, "aVF": (two + three) // 2}
    for name, value in expected.items():
        if name in row:
            out[row[name]] = value - out[row[name]]
    return out
