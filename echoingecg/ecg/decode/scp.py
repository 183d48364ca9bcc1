"""SCP-ECG (EN 1064:2005+A1:2007, ISO 11073-91064): the rhythm of section 6 in full resolution.

A file is a chain of sections with pointers, lengths and checksums. The samples are Huffman codes (section 2 and
annex C) of values or of their differences.
"""

import binascii
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path

import numpy as np

from echoingecg.common import Refusal
from echoingecg.ecg.decode.recording import Recording, Stated, check_size, read_whole
from echoingecg.ecg.decode.recording.leads import LEAD_NUMBERS

_RECORD = struct.Struct("<HI")  # CRC, length
_HEADER = struct.Struct("<HHIBB6s")  # CRC, section, length, versions, reserved
_POINTER = struct.Struct("<HII")  # section, length, index from 1
_SAMPLES = struct.Struct("<HHBB")  # nanovolts a step, microseconds a sample, difference, bimodal
_BEAT = struct.Struct("<HIII")  # type, start, fiducial, end of subtraction
_ZONE = struct.Struct("<II")  # start, end
_CODE = struct.Struct("<BBBhI")  # bits of the prefix and of the whole code, mode, value, code
_DEFAULT_TABLE = 19999  # stands where a file of its own tables has their count
_NANOVOLTS_PER_MILLIVOLT = 1e6
_MICROSECONDS_PER_SECOND = 1_000_000
_MILLISECONDS_PER_MINUTE = 60_000
_NOT_MEASURED = 29999  # EN 1064, section 7: a measurement that was not computed


@dataclass(frozen=True)
class Lead:
    """A lead of section 3; samples count from 1, and from 0 in the files of some writers."""

    number: int
    start: int
    end: int


@dataclass(frozen=True)
class Beats:
    """Section 4: where the reference beat was subtracted, and the zones kept at full rate; samples from 1.

    Attributes:
        length: of the reference beat, ms.
        fiducial: sample of the reference beat that falls on a beat's fiducial.
        subtracted: (type, start, fiducial, end) a beat; type 0 is the reference beat's.
        zones: (start, end) a beat.
    """

    length: int
    fiducial: int
    subtracted: tuple[tuple[int, int, int, int], ...]
    zones: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Samples:
    """Section 5 or 6: nanovolts a step, microseconds a sample, order of differences, bytes of each lead."""

    nanovolts: int
    microseconds: int
    difference: int
    bimodal: bool
    leads: tuple[bytes, ...]


@dataclass(frozen=True)
class Code:
    """One row of a Huffman table.

    Attributes:
        prefix: bits of the code, at most 32.
        literal: bits after it that hold the value itself; 0 when `value` is the value.
        switch: whether `value` is the number of the table to go on with.
        value: the code's value.
        bits: the code, its first bit lowest.
    """

    prefix: int
    literal: int
    switch: bool
    value: int
    bits: int


Table = dict[tuple[int, int], Code]  # by (prefix, bits)


def decode_scp(path: Path, _stated: Stated) -> Recording:
    """Reads those of the twelve leads that are stored. Unit and rate are part of the format and need not be stated.

    A reference beat that was subtracted is added again. Samples that were decimated outside the protected zones
    (bimodal compression) are interpolated as in annex C, but without its smoothing.

    Raises:
        Refusal: see data_contracts.quarantine.REASONS.
        OSError: the file cannot be read.
    """
    sections = read_sections(read_whole(path))
    if 3 not in sections or 6 not in sections:
        raise Refusal("unknown_format", "the SCP-ECG file holds no rhythm")
    leads, subtracted = read_leads(sections[3])
    counts_from_0 = min(lead.start for lead in leads) == 0
    rhythm = read_samples(sections[6], len(leads))
    if counts_from_0 and (subtracted or rhythm.bimodal):
        raise Refusal("unreadable", "leads that count samples from 0, and beats that may count from 1")
    if not rhythm.nanovolts:
        raise Refusal("missing_units", "0 nV a step: not calibrated")
    if not rhythm.microseconds:
        raise Refusal("missing_sampling_frequency", "0 us a sample")
    rows = [row for row, lead in enumerate(leads) if lead.number in LEAD_NUMBERS]
    names = tuple(LEAD_NUMBERS[leads[row].number] for row in rows)
    if not rows or len(set(names)) != len(names):
        raise Refusal("missing_leads", "no stored lead is one of the twelve, or one is there twice")
    tables = read_tables(sections[2]) if 2 in sections else None
    beats = read_beats(sections[4]) if 4 in sections else Beats(0, 0, (), ())
    reference = read_samples(sections[5], len(leads)) if 5 in sections else None
    factor = _factor(rhythm, reference)
    stored = []
    for row in rows:
        values = _full_rate(rhythm.leads[row], rhythm, tables, leads[row], beats, factor)
        if subtracted:
            values = values + _reference(row, reference, tables, leads[row], beats, rhythm)
        stored.append(values * (rhythm.nanovolts / _NANOVOLTS_PER_MILLIVOLT))
    first, last = min(leads[row].start for row in rows), max(leads[row].end for row in rows)
    if last - first >= sum(map(len, stored)):
        raise Refusal("unreadable", "leads that lie apart in time")
    signal = np.full((len(rows), last - first + 1), np.nan)
    for lead_signal, row, values in zip(signal, rows, stored, strict=True):
        lead_signal[leads[row].start - first :][: len(values)] = values
    rate = _heart_rate(sections.get(7, b""))
    return Recording(signal, names, _MICROSECONDS_PER_SECOND * factor / rhythm.microseconds, heart_rate=rate)


def _heart_rate(measurements: bytes) -> float:
    """1/min, of section 7's mean RR interval in ms, which follows two counts; NaN where it is not there."""
    interval = int.from_bytes(measurements[2:4], "little")
    return nan if interval in (0, _NOT_MEASURED) else _MILLISECONDS_PER_MINUTE / interval


def _factor(rhythm: Samples, reference: Samples | None) -> int:
    """How many samples at the full rate, that of the reference beat, a stored one outside the zones stands for."""
    if not rhythm.bimodal:
        return 1
    if reference is None or not reference.microseconds or rhythm.microseconds % reference.microseconds:
        raise Refusal("unreadable", "bimodal compression without a full rate")
    return rhythm.microseconds // reference.microseconds


def _stored(data: bytes, part: Samples, tables: list[Table] | None, most: int) -> np.ndarray:
    """The values of one lead, differences summed, int64 (time,)."""
    if tables is not None:
        values = decode_huffman(data, tables, most)
    else:
        values = np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.int64)[:most]
    if part.difference == 2 and len(values) > 1:
        slopes = np.cumsum(np.concatenate([[values[1] - values[0]], values[2:]]))
        values = np.concatenate([values[:1], values[0] + np.cumsum(slopes)])
    elif part.difference == 1:
        values = np.cumsum(values)
    if len(values) and np.abs(values).max() > 1 << 31:
        raise Refusal("unreadable", "a lead runs out of its range")
    return values


def _full_rate(
    data: bytes, rhythm: Samples, tables: list[Table] | None, lead: Lead, beats: Beats, factor: int
) -> np.ndarray:
    """One lead at the full rate, float64 (time,), in steps; as long as section 3 states."""
    samples = lead.end - lead.start + 1
    if samples > 8 * len(data) * factor:  # a code has a bit or more
        raise Refusal("truncated", f"a lead of {samples} samples holds {len(data)} bytes")
    stored = _stored(data, rhythm, tables, samples).astype(np.float64)
    if factor == 1:
        if len(stored) < samples:
            raise Refusal("truncated", f"a lead of {samples} samples holds {len(stored)}")
        return stored
    if not beats.zones:
        raise Refusal("unreadable", "bimodal compression without protected zones")
    out, position, sample = np.empty(samples), 0, lead.start  # position: in `stored`; sample: of the rhythm
    for start, end in [*sorted(beats.zones), (lead.end + 1, lead.end)]:
        start, end = min(max(start, sample), lead.end + 1), min(end, lead.end)
        count, rest = divmod(start - sample, factor)
        coarse = stored[position : position + count]
        fine = stored[position + count : position + count + rest + max(end - start + 1, 0)]
        if len(coarse) < count or len(fine) < rest + max(end - start + 1, 0):
            raise Refusal("truncated", "a lead with bimodal compression ends early")
        row = sample - lead.start
        if count:
            knots = factor // 2 + factor * np.arange(count)
            out[row : row + count * factor] = np.interp(np.arange(count * factor), knots, coarse)
        out[row + count * factor : row + count * factor + len(fine)] = fine
        position, sample = position + count + len(fine), max(end + 1, start)
    return out


def _reference(
    row: int, reference: Samples | None, tables: list[Table] | None, lead: Lead, beats: Beats, rhythm: Samples
) -> np.ndarray:
    """What to add where the reference beat was subtracted, in steps of the rhythm. float64 (time,)."""
    if reference is None or not reference.nanovolts or not reference.microseconds:
        raise Refusal("unreadable", "the reference beat was subtracted and is not there")
    most = round(beats.length * 1000 / reference.microseconds)
    beat = _stored(reference.leads[row], reference, tables, most) * (reference.nanovolts / rhythm.nanovolts)
    out = np.zeros(lead.end - lead.start + 1)
    for kind, start, fiducial, end in beats.subtracted:
        if kind != 0:
            continue
        shift = fiducial - beats.fiducial  # sample of the rhythm - sample of the beat
        low, high = max(start, lead.start, shift + 1), min(end, lead.end, shift + len(beat))
        if low <= high:
            out[low - lead.start : high - lead.start + 1] += beat[low - shift - 1 : high - shift]
    return out


def read_sections(content: bytes, patient: bool = False) -> dict[int, bytes]:
    """The bodies of the sections that the file holds, by number.

    Args:
        content: of the file.
        patient: whether section 1, the patient, is among them.

    Raises:
        Refusal: truncated, or unreadable when a length, pointer or CRC is wrong.
    """
    checksum, length = _RECORD.unpack_from(content.ljust(_RECORD.size, b"\0"))
    if length > len(content):
        raise Refusal("truncated", f"the record promises {length} bytes, the file holds {len(content)}")
    if length < _RECORD.size + _HEADER.size:
        raise Refusal("unreadable", f"a record of {length} bytes")
    if binascii.crc_hqx(content[2:length], 0xFFFF) != checksum:
        raise Refusal("unreadable", "the record does not have the stated CRC")
    table = _section(content[:length], 0, _RECORD.size, None)
    sections: dict[int, bytes] = {}
    for section, size, index in _POINTER.iter_unpack(table[: len(table) // _POINTER.size * _POINTER.size]):
        if size and section >= (1 if patient else 2):
            sections[section] = _section(content[:length], section, index - 1, size)
    return sections


def _section(content: bytes, number: int, start: int, size: int | None) -> bytes:
    """The body of the section that starts at a byte of the record. Raises Refusal(unreadable)."""
    if start < 0 or start + _HEADER.size > len(content):
        raise Refusal("unreadable", "a pointer leaves the record")
    checksum, stated, length, *_ = _HEADER.unpack_from(content, start)
    if stated != number or length < _HEADER.size or size not in (None, length):
        raise Refusal("unreadable", "a pointer and its section do not agree")
    if start + length > len(content):
        raise Refusal("unreadable", "a section leaves the record")
    if binascii.crc_hqx(content[start + 2 : start + length], 0xFFFF) != checksum:
        raise Refusal("unreadable", "a section does not have the stated CRC")
    return content[start + _HEADER.size : start + length]


def read_leads(body: bytes) -> tuple[tuple[Lead, ...], bool]:
    """Reads section 3: the leads, and whether the reference beat was subtracted. Raises Refusal."""
    if len(body) < 2 or len(body) < 2 + 9 * body[0]:
        raise Refusal("unreadable", "the section of leads ends early")
    leads = tuple(
        Lead(number, start, end) for start, end, number in struct.iter_unpack("<IIB", body[2 : 2 + 9 * body[0]])
    )
    if not leads:
        raise Refusal("missing_leads", "the file defines no leads")
    if any(lead.start > lead.end for lead in leads):
        raise Refusal("unreadable", "a lead ends before it starts")
    check_size(len(leads), max(lead.end for lead in leads))
    return leads, bool(body[1] & 1)


def read_beats(body: bytes) -> Beats:
    """Reads section 4. Raises Refusal."""
    if len(body) < 6:
        raise Refusal("unreadable", "the section of beats ends early")
    length, fiducial, count = struct.unpack_from("<HHH", body)
    middle = 6 + count * _BEAT.size
    if len(body) < middle:
        raise Refusal("unreadable", "the section of beats ends early")
    zones = body[middle : middle + count * _ZONE.size]
    whole = len(zones) == count * _ZONE.size
    return Beats(
        length, fiducial, tuple(_BEAT.iter_unpack(body[6:middle])), tuple(_ZONE.iter_unpack(zones)) if whole else ()
    )


def read_samples(body: bytes, leads: int) -> Samples:
    """Reads section 5 or 6. Raises Refusal."""
    start = _SAMPLES.size + 2 * leads
    if len(body) < start:
        raise Refusal("unreadable", "a section of samples ends early")
    nanovolts, microseconds, difference, bimodal = _SAMPLES.unpack_from(body)
    if difference > 2:
        raise Refusal("unreadable", "differences of an order that the format does not have")
    sizes = struct.unpack_from(f"<{leads}H", body, _SAMPLES.size)
    if start + sum(sizes) > len(body):
        raise Refusal("truncated", "the leads' samples leave their section")
    ends = [start + sum(sizes[: row + 1]) for row in range(leads)]
    parts = tuple(body[end - size : end] for end, size in zip(ends, sizes, strict=True))
    return Samples(nanovolts, microseconds, difference, bimodal != 0, parts)


def _table(codes: Sequence[Code]) -> Table:
    return {(code.prefix, code.bits): code for code in codes}


def default_table() -> Table:
    """The standard's own table: 0 is `0`; +-n, to 8, are n ones, a zero and the sign.

    Nine or ten ones go before 8 or 16 literal bits.
    """
    codes = [Code(1, 0, False, 0, 0)]
    for size in range(1, 9):
        ones = (1 << size) - 1
        codes.append(Code(size + 2, 0, False, size, ones))
        codes.append(Code(size + 2, 0, False, -size, ones | 1 << size + 1))
    return _table([*codes, Code(10, 8, False, 0, (1 << 9) - 1), Code(10, 16, False, 0, (1 << 10) - 1)])


def read_tables(body: bytes) -> list[Table]:
    """Reads the Huffman tables of section 2. Raises Refusal(unreadable)."""
    if len(body) < 2:
        raise Refusal("unreadable", "the section of Huffman tables ends early")
    (count,) = struct.unpack_from("<H", body)
    if count == _DEFAULT_TABLE:
        return [default_table()]
    tables, start = [], 2
    for _ in range(count):
        if start + 2 > len(body):
            raise Refusal("unreadable", "the section of Huffman tables ends early")
        (rows,) = struct.unpack_from("<H", body, start)
        end = start + 2 + rows * _CODE.size
        if end > len(body):
            raise Refusal("unreadable", "a Huffman table ends early")
        tables.append(_table([_code(*row) for row in _CODE.iter_unpack(body[start + 2 : end])]))
        start = end
    if not tables:
        raise Refusal("unreadable", "no Huffman table")
    return tables


def _code(prefix: int, whole: int, mode: int, value: int, bits: int) -> Code:
    if not 1 <= prefix <= 32 or not 0 <= whole - prefix <= 32 or mode > 1 or bits >> prefix:
        raise Refusal("unreadable", "a Huffman code that the format does not have")
    return Code(prefix, whole - prefix, mode == 0, value, bits)


def decode_huffman(data: bytes, tables: list[Table], most: int) -> np.ndarray:
    """The decoded values, int64 (time,): at most `most`, fewer when the data end.

    Raises:
        Refusal: unreadable when bits are no code of the table in use.
    """
    bits = np.unpackbits(np.frombuffer(data, np.uint8)).tolist()
    out: list[int] = []
    table, position = tables[0], 0
    while len(out) < most:
        word = length = 0
        code = None
        while code is None and position < len(bits) and length < 32:
            word |= bits[position] << length
            position, length = position + 1, length + 1
            code = table.get((length, word))
        if code is None:
            if position < len(bits):
                raise Refusal("unreadable", "bits that are no Huffman code")
            break
        if code.switch:
            if not 1 <= code.value <= len(tables):
                raise Refusal("unreadable", "a switch to a Huffman table that is not there")
            table = tables[code.value - 1]
            continue
        value = code.value
        if code.literal:
            if position + code.literal > len(bits):
                break
            value = 0
            for bit in bits[position : position + code.literal]:
                value = value << 1 | bit
            value -= bits[position] << code.literal
            position += code.literal
        out.append(value)
    return np.array(out, dtype=np.int64)
