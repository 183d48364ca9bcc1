"""Philips (Sierra) ECG XML (`restingecgdata`), versions 1.03 and 1.04: XLI-compressed, residual limb leads.

Philips publishes the schema to customers only; the layout of the samples follows the Sierra ECG Tools project
(C. Watford, MIT). XLI is 10-bit LZW over bytes, then second differences. A chunk a lead: int32 size, int16 code,
int16 first difference, then `size` bytes. The decompressed bytes are the high bytes of all values, then their low
bytes. The first two values stand for themselves, each later one for a difference of slopes, offset by 64.
"""

import struct
from typing import TYPE_CHECKING

import numpy as np

from echoingecg.common import Refusal
from echoingecg.ecg.decode import recording
from echoingecg.ecg.decode.recording.leads import canonical_leads
from echoingecg.ecg.decode.vendor_xml import xml

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_VERSIONS = ("1.03", "1.03.01", "1.04", "1.04.01", "1.04.02")
_STANDARD_LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
# Acquisition types whose first twelve channels are those of `_STANDARD_LEADS`, for files without labels.
_STANDARD_TYPES = ("STD-12", "10-WIRE")
_MICROVOLTS_PER_MILLIVOLT = 1000.0  # the schema's unit of resolution is microvolts

_PULSE_SECONDS = 0.25  # at the end of 11 s: nothing, 1 mV for 0.2 s, nothing
_PULSE_STEPS = 10  # of a step: leads that end alike with less may just end in silence
_PULSE_MV = (0.95, 1.05)

_CHUNK = struct.Struct("<ihh")
_CODE_BITS = 10
_LAST_CODE = (1 << _CODE_BITS) - 2
_BEND_OFFSET = 64
# Noise takes about a byte a value; beyond this many values, a file of nothing but flat leads is no ECG.
_FREE_VALUES = 1 << 20


def decode_philips(root: "Element", stated: recording.Stated) -> recording.Recording:
    """Reads `parsedwaveforms`, in the schema's unit, microvolts; representative beats are not read.

    Raises:
        Refusal: see data_contracts.quarantine.REASONS.
    """
    if xml.text(xml.child(root, "documentinfo", "documentversion")) not in _VERSIONS:
        raise Refusal("unknown_format", "a Philips XML version that is not read here")
    waves = next(xml.descendants(root, "parsedwaveforms"), None)
    if waves is None:
        raise Refusal("unknown_format", "the Philips file holds no waveform")
    acquired = xml.child(root, "dataacquisition", "signalcharacteristics")
    leads = _leads(waves, acquired)
    _check_encoding(waves, acquired)
    rate = recording.number(waves.get("samplespersecond") or xml.text(xml.child(acquired, "samplingrate")))
    frequency = stated.frequency(rate)
    duration = recording.number(waves.get("durationperchannel"))
    if not duration or duration <= 0 or duration * frequency > 1e12:
        raise Refusal("unreadable", "the waveform's duration is not stated or impossible")
    samples = int(duration * frequency / 1000)
    stored = decode_xli(xml.base64_bytes(xml.text(waves)), len(leads), samples)
    step = _resolution(waves, acquired) / _MICROVOLTS_PER_MILLIVOLT
    signal = _restored(stored, leads) * step
    _check_pulse(signal[:, -int(_PULSE_SECONDS * frequency) :], step)
    beats = recording.stated_rate(xml.text(next(xml.descendants(root, "heartrate"), None)))
    return recording.Recording(signal, leads, frequency, heart_rate=beats)


def _check_pulse(end: np.ndarray, step: float) -> None:
    """Refuses samples or a resolution that the calibration pulse at the recording's end contradicts.

    XLI has no checksum, and a wrong code bends all that follows in its lead. Where half of the leads or more end alike,
    sample by sample, and with a step, all of them do, and the step is of 1 mV.

    Args:
        end: float64 (lead, time), mV, the end of the recording.
        step: mV.
    """
    usual = np.median(end, axis=0)
    is_alike = np.abs(end - usual).max(axis=1, initial=0) < step
    height = float(np.ptp(usual)) if usual.size else 0.0
    if 2 * np.count_nonzero(is_alike) < len(end) or height < _PULSE_STEPS * step:
        return
    if not is_alike.all():
        raise Refusal("unreadable", "a compressed lead does not end with the calibration pulse of the others")
    if not _PULSE_MV[0] <= height <= _PULSE_MV[1]:
        raise Refusal("implausible", f"a calibration pulse of {height:.3g} mV: the resolution cannot be right")


def _leads(waves: "Element", acquired: "Element | None") -> tuple[str, ...]:
    """Names of the leads in stored order. Raises Refusal when they are not known."""
    labels = tuple((waves.get("leadlabels") or "").split())
    stated = waves.get("numberofleads") if labels else xml.text(xml.child(acquired, "numberchannelsallocated"))
    count = recording.whole_number(stated)
    if labels:
        if count is not None and count != len(labels):
            raise Refusal("unreadable", f"{count} leads, {len(labels)} of them named")
        return labels
    if xml.text(xml.child(acquired, "acquisitiontype")) not in _STANDARD_TYPES or count != len(_STANDARD_LEADS):
        raise Refusal("missing_leads", "the leads are not named, and not those of a standard 12-lead acquisition")
    return _STANDARD_LEADS


def _check_encoding(waves: "Element", acquired: "Element | None") -> None:
    if waves.get("dataencoding") != "Base64":
        raise Refusal("unknown_format", "Philips samples that are not in Base64")
    if (waves.get("compressmethod") or waves.get("compression")) != "XLI" or waves.get("compressflag") == "False":
        raise Refusal("unknown_format", "Philips samples that are not XLI-compressed")
    bits = waves.get("bitspersample") or waves.get("nbitspersample") or xml.text(xml.child(acquired, "bitspersample"))
    offset = waves.get("signaloffset") or xml.text(xml.child(acquired, "signaloffset"))
    signed = waves.get("signalsigned") or xml.text(xml.child(acquired, "signalsigned"))
    if recording.whole_number(bits) != 16 or recording.number(offset) or signed == "False":
        raise Refusal("unknown_format", "Philips samples that are not signed 16-bit values without offset")


def _resolution(waves: "Element", acquired: "Element | None") -> float:
    """Microvolts a step."""
    spelling = waves.get("resolution") or xml.text(xml.child(acquired, "resolution"))
    spelling = spelling or xml.text(xml.child(acquired, "signalresolution"))
    resolution = recording.number(spelling)
    if not resolution or resolution < 0:
        raise Refusal("missing_units", "the resolution is 0 or not stated")
    return resolution


def _restored(stored: np.ndarray, leads: tuple[str, ...]) -> np.ndarray:
    """Restores III, aVR, aVL and aVF, stored as residuals to what I and II give (halves rounded down).

    Returns:
        int64 (lead, time).
    """
    names = canonical_leads(leads)
    if len(set(names) - {None}) != len([name for name in names if name]):
        raise Refusal("missing_leads", "a lead is named twice")
    if not {"I", "II", "III"} <= set(names):
        raise Refusal("missing_leads", "the limb leads that restore the others are not all there")
    rows = {name: row for row, name in enumerate(names) if name}
    restored = stored.copy()
    i, ii = restored[rows["I"]], restored[rows["II"]]
    iii = restored[rows["III"]] = ii - i - restored[rows["III"]]
    expected = {"aVR": -((i + ii) // 2), "aVL": (i - iii) // 2, "aVF": (ii + iii) // 2}
    for name, values in expected.items():
        if name in rows:
            restored[rows[name]] = values - restored[rows[name]]
    return restored


def decode_xli(data: bytes, leads: int, samples: int) -> np.ndarray:
    """Stored values of every lead.

    Args:
        data: the chunks, one after the other.
        leads: chunks expected.
        samples: values expected in each; a value more, from padding, is dropped.

    Returns:
        int64 (lead, time).

    Raises:
        Refusal: truncated, unreadable.
    """
    recording.check_size(leads, samples)
    if leads * samples > max(_FREE_VALUES, 8 * len(data)):
        raise Refusal("unreadable", f"{leads} leads of {samples} samples from {len(data)} bytes")
    rows: list[np.ndarray] = []
    start = 0
    for _ in range(leads):
        if start + _CHUNK.size > len(data):
            raise Refusal("truncated", f"{len(rows)} of {leads} compressed leads are there")
        size, _, first = _CHUNK.unpack_from(data, start)
        start += _CHUNK.size
        if size < 0:
            raise Refusal("unreadable", "a compressed lead of negative size")
        if start + size > len(data):
            raise Refusal("truncated", "a compressed lead ends early")
        rows.append(_values(_lzw(data[start : start + size], 2 * samples + 2), first, samples))
        start += size
    return np.stack(rows)


def _lzw(data: bytes, most: int) -> bytes:
    """The decompressed bytes: at most `most` and one string more, however often a code repeats."""
    strings = [bytes((byte,)) for byte in range(256)]
    out, previous = bytearray(), b""
    for code in _codes(data)[: most + 1].tolist():
        if code > _LAST_CODE or len(out) > most:
            break
        if code < len(strings):
            entry = strings[code]
        elif code == len(strings) and previous:
            entry = previous + previous[:1]
        else:
            raise Refusal("unreadable", "a compressed lead with a code that is not defined yet")
        if previous and len(strings) <= _LAST_CODE:
            strings.append(previous + entry[:1])
        out += entry
        previous = entry
    return bytes(out)


def _codes(data: bytes) -> np.ndarray:
    """The codes, uint16 (code,): four in five bytes, the first bit highest."""
    fives = np.frombuffer(data.ljust(-(-len(data) // 5) * 5, b"\0"), np.uint8).reshape(-1, 5).astype(np.uint16)
    codes = [fives[:, i] << 2 * i + 2 & 1023 | fives[:, i + 1] >> 6 - 2 * i for i in range(4)]
    return np.stack(codes, axis=1).ravel()[: len(data) * 8 // _CODE_BITS]


def _values(unpacked: bytes, first: int, samples: int) -> np.ndarray:
    """One lead from its decompressed bytes and its first difference, int64 (time,)."""
    half = (len(unpacked) + 1) // 2
    if half < samples:
        raise Refusal("truncated", f"a compressed lead of {samples} samples holds {half}")
    # The padding of the last LZW code may add a value; more than that is another lead's length.
    if half > samples + 1 or samples < 2:
        raise Refusal("unreadable", f"a compressed lead of {samples} samples holds {half}")
    stored = np.frombuffer(unpacked.ljust(2 * half, b"\0"), np.uint8).reshape(2, half).astype(np.int64)
    words = ((stored[0] << 8 | stored[1]) ^ 0x8000) - 0x8000
    bends = np.concatenate([[first], words[2:-1] - _BEND_OFFSET]) if half > 2 else words[:0]
    slopes = np.cumsum(np.concatenate([[words[1] - words[0]], -bends]))
    values = np.concatenate([words[:1], words[0] + np.cumsum(slopes)])[:samples]
    if np.abs(values).max() > 1 << 20:
        raise Refusal("unreadable", "a compressed lead runs out of its range")
    return values
