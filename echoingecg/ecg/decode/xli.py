"""XLI, the compression of Philips (Sierra) ECG XML: 10-bit LZW over bytes, then second differences.

Layout as found by the Sierra ECG Tools project (C. Watford, MIT). A chunk a lead: int32 size, int16 code,
int16 first difference, then `size` bytes. The decompressed bytes are the high bytes of all values, then
their low bytes; the first two values stand for themselves, each later one for a difference of slopes, offset by 64.
"""

import struct
from typing import Final

import numpy as np

from echoingecg.common.errors import Refusal
from echoingecg.ecg.decode.limits import check_size

_HEADER: Final = struct.Struct("<ihh")
_BITS: Final = 10
_LAST_CODE: Final = (1 << _BITS) - 2
_OFFSET: Final = 64
# Noise takes about a byte a value; beyond this many values, a file of nothing but flat leads is no ECG.
_FREE_VALUES: Final = 1 << 20


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
