"""The text of a WFDB header, as it stands (WFDB Applications Guide, header(5)).

The wfdb library fills gaps with the format's defaults: 250 Hz, 200 units a millivolt. Here an absent
field stays None, so that a reader can refuse it instead of guessing.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from echoingecg.common.errors import Refusal

SUFFIX: Final = ".hea"
EMPTY: Final = "~"  # stands for no file and for a gap between segments
_MAX_BYTES: Final = 1 << 20  # a header of 12 signals has about 1 kB

_NUMBER: Final = r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?|[-+]?\d+\.(?:[eE][-+]?\d+)?"
_RECORD: Final = re.compile(
    r"(?P<name>[-\w]+)(?:/(?P<segments>\d+))?\s+(?P<signals>\d+)"
    rf"(?:\s+(?P<frequency>{_NUMBER})(?:/\S+)?(?:\s+(?P<samples>\d+)(?:\s+\S.*)?)?)?"
)
_SIGNAL: Final = re.compile(
    r"(?P<file>\S+)\s+(?P<format>\d+)(?:x(?P<per_frame>\d+))?(?::(?P<skew>\d+))?(?:\+(?P<offset>\d+))?"
    rf"(?:\s+(?P<gain>{_NUMBER})(?:\((?P<baseline>-?\d+)\))?(?:/(?P<unit>\S+))?"
    r"(?:\s+(?P<resolution>\d+)(?:\s+(?P<zero>-?\d+)(?:\s+(?P<first>-?\d+)(?:\s+(?P<checksum>-?\d+)"
    r"(?:\s+(?P<block>\d+)(?:\s+(?P<lead>\S.*))?)?)?)?)?)?)?"
)
_SEGMENT: Final = re.compile(r"(?P<name>[-\w]+|~)\s+(?P<samples>\d+)")
# What the wfdb library can open, and nothing that leads out of the header's own folder.
FILE_NAME: Final = re.compile(r"[-\w]+(?:\.\w+)?", re.ASCII)


@dataclass(frozen=True)
class SignalLine:
    """One signal: where its samples are and how they become physical values. None: not stated."""

    file: str
    format: str
    per_frame: int
    skew: int
    offset: int
    gain: float | None
    baseline: int
    unit: str | None
    checksum: int | None
    lead: str


@dataclass(frozen=True)
class Header:
    """A record: `signals` of its own, or the names of its `segments`. None: not stated."""

    sampling_frequency: float | None
    samples: int | None
    count: int
    signals: tuple[SignalLine, ...]
    segments: tuple[str, ...]


def read_header(path: Path) -> Header:
    """Reads `<record>.hea`.

    Raises:
        Refusal: unreadable when it is not a header or does not keep its own promises.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    if not content:
        raise Refusal("unreadable", "the file is empty")
    if len(content) > _MAX_BYTES:
        raise Refusal("unreadable", "too large for a WFDB header")
    return parse_header(content.decode("utf-8", errors="replace"))


def parse_header(text: str) -> Header:
    """The header that the text states. Raises Refusal(unreadable)."""
    lines = [line for raw in text.splitlines() if (line := raw.strip()) and not line.startswith("#")]
    record = _RECORD.fullmatch(lines[0]) if lines else None
    if record is None:
        raise Refusal("unreadable", "no WFDB record line")
    count = int(record["signals"])
    segments = int(record["segments"]) if record["segments"] else 0
    expected = segments or count
    if len(lines) - 1 != expected:
        raise Refusal("unreadable", f"the header promises {expected} signals or segments and lists {len(lines) - 1}")
    return Header(
        float(record["frequency"]) if record["frequency"] else None,
        int(record["samples"]) if record["samples"] else None,
        count,
        () if segments else tuple(_signal(line) for line in lines[1:]),
        tuple(_segment(line) for line in lines[1:]) if segments else (),
    )


def files_of_record(header_path: Path) -> Iterator[Path]:
    """The header, the headers of its segments, then the signal files, each once, in the order they are named.

    A header is read only after its own path was yielded, so that a caller can stop before. One that cannot
    be parsed names no files.

    Raises:
        OSError: a header cannot be read.
    """
    yield header_path
    header = _header_or_none(header_path)
    parts = [header]
    for name in dict.fromkeys(header.segments if header else ()):
        if name != EMPTY:
            path = header_path.with_name(f"{name}{SUFFIX}")
            yield path
            parts.append(_header_or_none(path))
    names = (signal.file for part in parts if part for signal in part.signals if signal.file != EMPTY)
    yield from (header_path.with_name(name) for name in dict.fromkeys(names))


def _header_or_none(path: Path) -> Header | None:
    try:
        return read_header(path)
    except Refusal:
        return None


def _signal(line: str) -> SignalLine:
    found = _SIGNAL.fullmatch(line)
    if found is None:
        raise Refusal("unreadable", "a signal line is not of WFDB's form")
    if found["file"] != EMPTY and not FILE_NAME.fullmatch(found["file"]):
        raise Refusal("unreadable", "a signal line names a file outside the header's folder")
    baseline = found["baseline"] or found["zero"] or "0"
    return SignalLine(
        found["file"],
        found["format"],
        int(found["per_frame"] or 1),
        int(found["skew"] or 0),
        int(found["offset"] or 0),
        float(found["gain"]) if found["gain"] else None,
        int(baseline),
        found["unit"],
        int(found["checksum"]) if found["checksum"] else None,
        (found["lead"] or "").strip(),
    )


def _segment(line: str) -> str:
    found = _SEGMENT.fullmatch(line)
    if found is None:
        raise Refusal("unreadable", "a segment line is not of WFDB's form")
    return found["name"]
