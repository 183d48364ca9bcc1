"""WFDB records: strict about what the header states, fast for the format that large exports use.

The text of a WFDB header, as it stands (WFDB Applications Guide, header(5)).

The wfdb library fills gaps with the format's defaults: 250 Hz, 200 units a millivolt. Here an absent
field stays None, so that a reader can refuse it instead of guessing.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from echoingecg.common import Refusal
from echoingecg.ecg.decode.recording import (
    Recording,
    canonical_lead,
    check_size,
    sampling_frequency,
    units_per_millivolt,
)

if TYPE_CHECKING:
    import wfdb

HEADER_SUFFIX = ".hea"
EMPTY = "~"  # stands for no file and for a gap between segments
_MAX_BYTES = 1 << 20  # a header of 12 signals has about 1 kB

_NUMBER = r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?|[-+]?\d+\.(?:[eE][-+]?\d+)?"
_RECORD = re.compile(
    r"(?P<name>[-\w]+)(?:/(?P<segments>\d+))?\s+(?P<signals>\d+)"
    rf"(?:\s+(?P<frequency>{_NUMBER})(?:/\S+)?(?:\s+(?P<samples>\d+)(?:\s+\S.*)?)?)?"
)
_SIGNAL = re.compile(
    r"(?P<file>\S+)\s+(?P<format>\d+)(?:x(?P<per_frame>\d+))?(?::(?P<skew>\d+))?(?:\+(?P<offset>\d+))?"
    rf"(?:\s+(?P<gain>{_NUMBER})(?:\((?P<baseline>-?\d+)\))?(?:/(?P<unit>\S+))?"
    r"(?:\s+(?P<resolution>\d+)(?:\s+(?P<zero>-?\d+)(?:\s+(?P<first>-?\d+)(?:\s+(?P<checksum>-?\d+)"
    r"(?:\s+(?P<block>\d+)(?:\s+(?P<lead>\S.*))?)?)?)?)?)?)?"
)
_SEGMENT = re.compile(r"(?P<name>[-\w]+|~)\s+(?P<samples>\d+)")
# What the wfdb library can open, and nothing that leads out of the header's own folder.
FILE_NAME = re.compile(r"[-\w]+(?:\.\w+)?", re.ASCII)


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
            path = header_path.with_name(f"{name}{HEADER_SUFFIX}")
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


_MISSING_16 = -32768  # format 16 marks a missing sample with its lowest value
# Bytes a sample of the uncompressed formats that the wfdb library reads.
_BYTES = {
    "8": 1.0, "80": 1.0, "212": 1.5, "310": 4 / 3, "311": 4 / 3, "16": 2.0, "61": 2.0, "160": 2.0, "24": 3.0, "32": 4.0,
}  # fmt: skip
_MOST_GAPS = 50  # samples promised for one that is held: a header alone must not fill the memory
_FLAC = ("508", "516", "524")
# What wfdb, soundfile and NumPy raise on damaged content.
_FAULTS = (
    ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError, ZeroDivisionError, EOFError,
    RuntimeError, AssertionError,
)  # fmt: skip


def decode_wfdb(
    header_path: Path, header: Header, stated_unit: str | None, stated_sampling_frequency: float | None
) -> Recording:
    """Reads a record whose header is parsed already.

    Signals that are none of the twelve leads (respiration, pressure) are left out, whatever their unit.

    Raises:
        Refusal: see data_contracts.quarantine.REASONS.
        OSError: a signal file cannot be read.
    """
    frequency = sampling_frequency(header.sampling_frequency, stated_sampling_frequency)
    if header.segments:
        return _segmented(header_path, header, frequency)
    wanted = [row for row, line in enumerate(header.signals) if canonical_lead(line.lead) is not None]
    lines = [header.signals[row] for row in wanted]
    if not lines:
        raise Refusal("missing_leads", "no signal has the name of a lead")
    scale = np.array([_units_a_millivolt(line, stated_unit) for line in lines])
    _check_files(header_path, header)
    digital = _plain_16(header_path, header) if _is_plain_16(header) else _by_library(header_path, header)
    offset = np.array([line.baseline for line in lines], dtype=np.float64)
    signal = (digital[wanted] - offset[:, None]) / scale[:, None]
    return Recording(signal, tuple(line.lead for line in lines), frequency)


def _units_a_millivolt(line: SignalLine, stated_unit: str | None) -> float:
    """Digital units a millivolt."""
    unit = units_per_millivolt(line.unit or stated_unit or "")
    if not line.gain:
        raise Refusal("missing_units", "a lead's gain is 0 or not stated: it is not calibrated")
    return line.gain * unit


def _check_files(header_path: Path, header: Header) -> None:
    """Every signal file holds what the header promises, neither less nor more. Before any allocation."""
    for name in dict.fromkeys(line.file for line in header.signals):
        lines = [line for line in header.signals if line.file == name]
        path = header_path.with_name(name)
        if not path.is_file():
            raise Refusal("missing_file", "the header names a signal file that is not there")
        if len({(line.format, line.offset) for line in lines}) != 1:
            raise Refusal("unreadable", "signals of one file differ in format or offset")
        if any(line.per_frame == 0 for line in lines):
            raise Refusal("unreadable", "a signal of no samples a frame")
        form, held = lines[0].format, path.stat().st_size - lines[0].offset
        frame = sum(line.per_frame for line in lines)
        if form not in _BYTES and form not in _FLAC:
            raise Refusal("unknown_format", "a WFDB signal format that is not read here")
        if header.samples is None:
            check_size(frame, max(held, 0))
            continue
        check_size(frame, header.samples)
        if form in _BYTES:
            _check_bytes(held, _BYTES[form] * frame * header.samples, _BYTES[form] * frame)


def _check_bytes(held: int, promised: float, frame: float) -> None:
    if held < int(promised):
        raise Refusal("truncated", f"the header promises {int(promised)} bytes, the signal file holds {max(held, 0)}")
    # Packed formats round up to whole groups of samples; a frame too many is another record's layout.
    if held >= promised + max(frame, 4):
        raise Refusal("unreadable", f"the header promises {int(promised)} bytes, the signal file holds {held}")


def _is_plain_16(header: Header) -> bool:
    first = header.signals[0]
    return all(
        (line.file, line.format, line.per_frame, line.skew) == (first.file, "16", 1, 0) for line in header.signals
    )


def _plain_16(header_path: Path, header: Header) -> np.ndarray:
    """Digital values, float64 (signal, time), NaN where missing. 40 times faster than the library here."""
    first = header.signals[0]
    stored = np.fromfile(header_path.with_name(first.file), dtype="<i2", offset=first.offset)
    samples = header.samples if header.samples is not None else len(stored) // header.count
    if header.samples is None and samples * header.count != len(stored):
        raise Refusal("truncated", "the signal file ends within a frame")
    frames = stored[: samples * header.count].reshape(samples, header.count)
    _check_sums(header.signals, frames.sum(axis=0, dtype=np.int64))
    digital = frames.T.astype(np.float64, order="C")
    if (stored == _MISSING_16).any():
        digital[digital == _MISSING_16] = np.nan
    return digital


def _by_library(header_path: Path, header: Header) -> np.ndarray:
    """As `_plain_16`, for every other format; several samples a frame are averaged."""
    record = _rdrecord(header_path)
    if record.p_signal is None or record.p_signal.shape[1] != header.count:
        raise Refusal("unreadable", "the signals found are not those of the header")
    # Back to digital units with the library's own gain, so that units are applied in one place only.
    digital = np.rint(record.p_signal * np.array(record.adc_gain) + np.array(record.baseline))
    whole = np.array([line.per_frame == 1 and line.skew == 0 for line in header.signals])
    _check_sums(header.signals, np.where(whole, digital.sum(axis=0), np.nan))
    return np.ascontiguousarray(digital.T)


def _rdrecord(header_path: Path) -> "wfdb.Record":
    import wfdb  # two seconds to import, and few exports need it

    name = str(header_path.with_suffix(""))
    if "::" in name or "://" in name:  # fsspec would take it for an address
        raise Refusal("unreadable", "the path cannot be opened as a WFDB record")
    try:
        return wfdb.rdrecord(name, physical=True)
    except _FAULTS as fault:
        raise Refusal("unreadable", f"the WFDB library fails with {type(fault).__name__}") from fault


def _check_sums(lines: tuple[SignalLine, ...], sums: np.ndarray) -> None:
    """The header's checksum is the 16-bit sum of a signal's digital values; NaN in `sums` means not known."""
    for line, total in zip(lines, sums, strict=True):
        if line.checksum is not None and np.isfinite(total) and (int(total) - line.checksum) % 65536:
            raise Refusal("unreadable", "the samples do not add up to the header's checksum")


def _segmented(header_path: Path, header: Header, frequency: float) -> Recording:
    """A record in segments. Each segment's header is checked as strictly as that of a plain record."""
    if header.samples is None:
        raise Refusal("unreadable", "a segmented record without its length")
    check_size(header.count, header.samples)
    held = 0
    for name in header.segments:
        if name == EMPTY:
            continue
        part_path = header_path.with_name(f"{name}{HEADER_SUFFIX}")
        if not part_path.is_file():
            raise Refusal("missing_file", "the header names a segment that is not there")
        part = read_header(part_path)
        _check_segment(part_path, part)
        held += part.samples or 0
    if header.samples > _MOST_GAPS * held:
        raise Refusal("unreadable", "a segmented record of little but gaps")
    record = _rdrecord(header_path)
    if record.p_signal is None:
        raise Refusal("unreadable", "no signal found")
    rows = [row for row, name in enumerate(record.sig_name) if canonical_lead(name) is not None]
    per_millivolt = np.array([units_per_millivolt(record.units[row]) for row in rows])
    signal = record.p_signal.T[rows].astype(np.float64) / per_millivolt[:, None]
    return Recording(signal, tuple(record.sig_name[row] for row in rows), frequency)


def _check_segment(path: Path, part: Header) -> None:
    if part.segments:
        raise Refusal("unreadable", "a segment of segments")
    if part.samples == 0:  # the layout of a variable record: names only
        return
    _check_files(path, part)
    for line in part.signals:
        if canonical_lead(line.lead) is not None:
            _units_a_millivolt(line, None)
