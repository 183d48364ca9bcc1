"""Philips (Sierra) ECG XML (`restingecgdata`), versions 1.03 and 1.04: XLI-compressed, residual limb leads.

Philips publishes the schema to customers only; the layout of the samples is as found by the Sierra ECG
Tools project (C. Watford, MIT).

XLI, the compression of Philips (Sierra) ECG XML: 10-bit LZW over bytes, then second differences.

Layout as found by the Sierra ECG Tools project (C. Watford, MIT). A chunk a lead: int32 size, int16 code,
int16 first difference, then `size` bytes. The decompressed bytes are the high bytes of all values, then
their low bytes; the first two values stand for themselves, each later one for a difference of slopes, offset by 64.
"""

import struct
from typing import TYPE_CHECKING

import numpy as np

from echoingecg.common import Refusal
from echoingecg.ecg.decode.recording import (
    Recording,
    canonical_lead,
    check_size,
    number,
    sampling_frequency,
    whole_number,
)
from echoingecg.ecg.decode.xml import base64_bytes, child, descendants, text

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_HEADER = struct.Struct("<ihh")
_BITS = 10
_LAST_CODE = (1 << _BITS) - 2
_OFFSET = 64
# Noise takes about a byte a value; beyond this many values, a file of nothing but flat leads is no ECG.
_FREE_VALUES = 1 << 20


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
    check_size(leads, samples)
    if leads * samples > max(_FREE_VALUES, 8 * len(data)):
        raise Refusal("unreadable", f"{leads} leads of {samples} samples from {len(data)} bytes")
    rows: list[np.ndarray] = []
    at = 0
    for _ in range(leads):
        if at + _HEADER.size > len(data):
            raise Refusal("truncated", f"{len(rows)} of {leads} compressed leads are there")
        size, _, first = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        if size < 0:
            raise Refusal("unreadable", "a compressed lead of negative size")
        if at + size > len(data):
            raise Refusal("truncated", "a compressed lead ends early")
        rows.append(_values(_lzw(data[at : at + size], 2 * samples + 2), first, samples))
        at += size
    return np.stack(rows)


def _lzw(data: bytes, most: int) -> bytes:
    """At most `most` bytes and one string more, however often a code repeats."""
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
    """uint16 (code,): four in five bytes, the first bit highest."""
    whole = np.frombuffer(data.ljust(-(-len(data) // 5) * 5, b"\0"), np.uint8).reshape(-1, 5).astype(np.uint16)
    codes = [whole[:, at] << 2 * at + 2 & 1023 | whole[:, at + 1] >> 6 - 2 * at for at in range(4)]
    return np.stack(codes, axis=1).ravel()[: len(data) * 8 // _BITS]


def _values(unpacked: bytes, first: int, samples: int) -> np.ndarray:
    half = (len(unpacked) + 1) // 2
    if half < samples:
        raise Refusal("truncated", f"a compressed lead of {samples} samples holds {half}")
    # The padding of the last LZW code may add a value; more than that is another lead's length.
    if half > samples + 1 or samples < 2:
        raise Refusal("unreadable", f"a compressed lead of {samples} samples holds {half}")
    stored = np.frombuffer(unpacked.ljust(2 * half, b"\0"), np.uint8).reshape(2, half).astype(np.int64)
    words = ((stored[0] << 8 | stored[1]) ^ 0x8000) - 0x8000
    bends = np.concatenate([[first], words[2:-1] - _OFFSET]) if half > 2 else words[:0]
    slopes = np.cumsum(np.concatenate([[words[1] - words[0]], -bends]))
    values = np.concatenate([words[:1], words[0] + np.cumsum(slopes)])[:samples]
    if np.abs(values).max() > 1 << 20:
        raise Refusal("unreadable", "a compressed lead runs out of its range")
    return values


_VERSIONS = ("1.03", "1.03.01", "1.04", "1.04.01", "1.04.02")
_STANDARD = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
# Acquisition types whose first twelve channels are those of `_STANDARD`, for files without labels.
_STANDARD_TYPES = ("STD-12", "10-WIRE")
_MICROVOLTS_A_MILLIVOLT = 1000.0  # the schema's unit of resolution is microvolts


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
    count = whole_number(stated)
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
    if whole_number(bits) != 16 or number(offset) or signed == "False":
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
    names = [canonical_lead(lead) for lead in leads]
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
