"""The sections of an SCP-ECG file (EN 1064:2005+A1:2007, ISO 11073-91064): pointers, lengths and checksums."""

import binascii
import struct
from dataclasses import dataclass
from typing import Final

from echoingecg.common.errors import Refusal
from echoingecg.ecg.decode.limits import check_size

SIGNATURE: Final = b"SCPECG"  # in section 0's header, the 17th byte of the file
SIGNATURE_AT: Final = 16
_RECORD: Final = struct.Struct("<HI")  # CRC, length
_HEADER: Final = struct.Struct("<HHIBB6s")  # CRC, section, length, versions, reserved
_POINTER: Final = struct.Struct("<HII")  # section, length, index from 1
_SAMPLES: Final = struct.Struct("<HHBB")  # nanovolts a step, microseconds a sample, difference, bimodal
_BEAT: Final = struct.Struct("<HIII")  # type, start, fiducial, end of subtraction
_ZONE: Final = struct.Struct("<II")


@dataclass(frozen=True)
class Lead:
    """A lead of section 3; samples count from 1."""

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


def read_sections(content: bytes) -> dict[int, bytes]:
    """The bodies of the sections that the file holds, by number; section 1 (the patient) is left out.

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
    found: dict[int, bytes] = {}
    for section, size, index in _POINTER.iter_unpack(table[: len(table) // _POINTER.size * _POINTER.size]):
        if size and section > 1:
            found[section] = _section(content[:length], section, index - 1, size)
    return found


def _section(content: bytes, number: int, at: int, size: int | None) -> bytes:
    if at < 0 or at + _HEADER.size > len(content):
        raise Refusal("unreadable", "a pointer leaves the record")
    checksum, stated, length, *_ = _HEADER.unpack_from(content, at)
    if stated != number or length < _HEADER.size or size not in (None, length):
        raise Refusal("unreadable", "a pointer and its section do not agree")
    if at + length > len(content):
        raise Refusal("unreadable", "a section leaves the record")
    if binascii.crc_hqx(content[at + 2 : at + length], 0xFFFF) != checksum:
        raise Refusal("unreadable", "a section does not have the stated CRC")
    return content[at + _HEADER.size : at + length]


def read_leads(body: bytes) -> tuple[tuple[Lead, ...], bool]:
    """Section 3: the leads, and whether the reference beat was subtracted. Raises Refusal."""
    if len(body) < 2 or len(body) < 2 + 9 * body[0]:
        raise Refusal("unreadable", "the section of leads ends early")
    leads = tuple(
        Lead(number, start, end) for start, end, number in struct.iter_unpack("<IIB", body[2 : 2 + 9 * body[0]])
    )
    if not leads:
        raise Refusal("missing_leads", "the file defines no leads")
    if any(not 1 <= lead.start <= lead.end for lead in leads):
        raise Refusal("unreadable", "a lead ends before it starts")
    check_size(len(leads), max(lead.end for lead in leads))
    return leads, bool(body[1] & 1)


def read_beats(body: bytes) -> Beats:
    """Section 4. Raises Refusal."""
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
    """Section 5 or 6. Raises Refusal."""
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
