"""Headers of WFDB records, read strictly: what a header does not state stays None, so that nothing is guessed.

The wfdb library fills gaps in a header with the format's defaults: 250 Hz, 200 units a millivolt. Source: WFDB
Applications Guide, header(5).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from echoingecg.common import Refusal, open_regular

HEADER_SUFFIX = ".hea"
NO_FILE = "~"  # stands for no file and for a gap between segments
_MAX_HEADER_BYTES = 1 << 20  # a header of 12 signals has about 1 kB

_NUMBER = r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?|[-+]?\d+\.(?:[eE][-+]?\d+)?"
_NAME = r"[-\w]+(?:\.[-\w]+)*"  # names may hold dots, as a DICOM UID does, but never lead out of their folder
_RECORD_LINE = re.compile(
    rf"(?P<name>{_NAME})(?:/(?P<segments>\d+))?\s+(?P<signals>\d+)"
    rf"(?:\s+(?P<frequency>{_NUMBER})(?:/\S+)?(?:\s+(?P<samples>\d+)(?:\s+\S.*)?)?)?"
)
# A signal line without its file, first value and checksum.
_SIGNAL = re.compile(
    r"(?P<format>\d+)(?:x(?P<per_frame>\d+))?(?::(?P<skew>\d+))?(?:\+(?P<offset>\d+))?"
    rf"(?:\s+(?P<gain>{_NUMBER})(?:\((?P<baseline>-?\d+)\))?(?:/(?P<unit>\S+))?"
    r"(?:\s+(?P<resolution>\d+)(?:\s+(?P<zero>-?\d+)(?:\s+(?P<block>\d+)(?:\s+(?P<lead>\S.*))?)?)?)?)?"
)
_SEGMENT_LINE = re.compile(rf"(?P<name>{_NAME}|~)\s+(?P<samples>\d+)")
_FILE_NAME = re.compile(_NAME, re.ASCII)
SIGNAL_SUFFIXES = (".dat", ".mat")


class Signal(NamedTuple):
    """How the samples of one signal are stored and become physical values. None: not stated."""

    format: str
    per_frame: int
    skew: int
    offset: int
    gain: float | None
    baseline: int
    unit: str | None
    lead: str


class Segment(NamedTuple):
    """A part of a record: the name of its own record, or NO_FILE for a gap, and its length in frames."""

    name: str
    samples: int


@dataclass(frozen=True)
class Header:
    """What a header states. A record has signals of its own or segments. None: not stated.

    Attributes:
        sampling_frequency: Hz.
        samples: frames, which is samples of each signal unless it has several a frame.
        count: number of signals.
        signals, files, checksums: one a signal; empty for a record of segments.
        segments: in order of time; empty for a record of signals.
    """

    sampling_frequency: float | None
    samples: int | None
    count: int
    signals: tuple[Signal, ...]
    files: tuple[str, ...]
    checksums: tuple[int | None, ...]
    segments: tuple[Segment, ...]

    @property
    def is_plain_16(self) -> bool:
        """Whether all signals stand in one file of format 16, a sample a frame."""
        return len(set(self.files)) == 1 and {signal[:3] for signal in self.signals} == {("16", 1, 0)}


def read_header(path: Path) -> Header:
    """Reads `<record>.hea`.

    Raises:
        Refusal: unreadable when it is no header or does not list as many signals as it promises.
        OSError: the file cannot be read.
    """
    with open_regular(path) as file:
        content = file.read(_MAX_HEADER_BYTES + 1)
    if not content:
        raise Refusal("unreadable", "the file is empty")
    if len(content) > _MAX_HEADER_BYTES:
        raise Refusal("unreadable", "too large for a WFDB header")
    return parse_header(content.decode("utf-8", errors="replace"))


def parse_header(text: str) -> Header:
    """The header that the text states. Raises Refusal(unreadable)."""
    lines = [line for raw in text.splitlines() if (line := raw.strip()) and not line.startswith("#")]
    record = _RECORD_LINE.fullmatch(lines[0]) if lines else None
    if record is None:
        raise Refusal("unreadable", "no WFDB record line")
    count = int(record["signals"])
    segments = int(record["segments"]) if record["segments"] else 0
    expected = segments or count
    if len(lines) - 1 != expected:
        raise Refusal("unreadable", f"the header promises {expected} signals or segments and lists {len(lines) - 1}")
    signals = [] if segments else [_signal_line(line) for line in lines[1:]]
    return Header(
        float(record["frequency"]) if record["frequency"] else None,
        int(record["samples"]) if record["samples"] else None,
        count,
        tuple(signal for signal, _, _ in signals),
        tuple(file for _, file, _ in signals),
        tuple(checksum for _, _, checksum in signals),
        tuple(_segment_line(line) for line in lines[1:]) if segments else (),
    )


def _signal_line(line: str) -> tuple[Signal, str, int | None]:
    """A signal, its file and its checksum."""
    fields = line.split(maxsplit=8)  # file, format, gain, resolution, zero, first value, checksum, block size, lead
    for number in fields[5:7]:
        if not number.removeprefix("-").isdecimal():
            raise Refusal("unreadable", "a signal line is not of WFDB's form")
    signal = _signal(*fields[1:5], *fields[7:])
    if fields[0] != NO_FILE and not _FILE_NAME.fullmatch(fields[0]):
        raise Refusal("unreadable", "a signal line names a file outside the header's folder")
    return signal, fields[0], int(fields[6]) if len(fields) > 6 else None


@lru_cache(maxsize=1024)
def _signal(*fields: str) -> Signal:
    """The fields that most records of an export share, so that they are parsed once."""
    match = _SIGNAL.fullmatch(" ".join(fields))
    if match is None:
        raise Refusal("unreadable", "a signal line is not of WFDB's form")
    return Signal(
        match["format"],
        int(match["per_frame"] or 1),
        int(match["skew"] or 0),
        int(match["offset"] or 0),
        float(match["gain"]) if match["gain"] else None,
        int(match["baseline"] or match["zero"] or "0"),
        match["unit"],
        (match["lead"] or "").strip(),
    )


def _segment_line(line: str) -> Segment:
    match = _SEGMENT_LINE.fullmatch(line)
    if match is None:
        raise Refusal("unreadable", "a segment line is not of WFDB's form")
    return Segment(match["name"], int(match["samples"]))


def files_of_record(header_path: Path) -> Iterator[Path]:
    """The header, the headers of its segments, then the signal files, each once, in the order they are named.

    A header is read only after its own path was yielded, so that a caller can stop before. A header that cannot
    be parsed names no files.

    Raises:
        OSError: a header cannot be read.
    """
    yield header_path
    header = _header_or_none(header_path)
    parts = [header]
    for name in dict.fromkeys(segment.name for segment in header.segments) if header else ():
        if name != NO_FILE:
            path = header_path.with_name(f"{name}{HEADER_SUFFIX}")
            yield path
            parts.append(_header_or_none(path))
    names = (name for part in parts if part for name in part.files if name != NO_FILE)
    yield from (header_path.with_name(name) for name in dict.fromkeys(names))


def header_of_signals(path: Path) -> Path | None:
    """Returns the header beside a signal file that names it; None where there is none. Raises OSError."""
    header_path = path.with_suffix(HEADER_SUFFIX)
    if path.suffix.lower() not in SIGNAL_SUFFIXES or not header_path.is_file():
        return None
    header = _header_or_none(header_path)
    return header_path if header and path.name in header.files else None


def _header_or_none(path: Path) -> Header | None:
    try:
        return read_header(path)
    except Refusal:
        return None
