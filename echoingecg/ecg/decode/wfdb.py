"""WFDB records: those with signals of their own, and those of segments one after another.

Segments are joined by the names of their leads. In a record of fixed layout all have the same leads; one of variable
layout begins with a segment without samples that names all, and each segment holds some. What a segment does not hold,
and what a gap leaves out, is missing. Source: WFDB Applications Guide, header(5).
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from echoingecg.common import Refusal
from echoingecg.ecg.decode.recording import Recording, Stated, check_size
from echoingecg.ecg.decode.recording.leads import canonical_leads, without_leads
from echoingecg.ecg.decode.wfdb_header import HEADER_SUFFIX, NO_FILE, Header, read_header
from echoingecg.ecg.decode.wfdb_signals import read_record

_MAX_GAP_RATIO = 50  # samples promised for one that is held: a header alone must not fill the memory


def decode_wfdb(header_path: Path, header: Header, stated: Stated) -> Recording:
    """Reads a record whose header is parsed already.

    Raises:
        Refusal: see data_contracts.quarantine.REASONS.
        OSError: a file cannot be read.
    """
    if not header.segments:
        return read_record(header_path, header, stated)
    frequency = stated.frequency(header.sampling_frequency)
    if header.samples is None or header.samples != sum(segment.samples for segment in header.segments):
        raise Refusal("unreadable", "a segmented record without its length, or whose segments do not add up to it")
    check_size(header.count, header.samples)
    held = {part.name: part.samples for part in header.segments if part.name != NO_FILE}  # each once
    if header.samples > _MAX_GAP_RATIO * sum(held.values()):
        raise Refusal("unreadable", "a segmented record of little but gaps or repeats")
    parts = {}
    for segment in header.segments:
        if segment.name != NO_FILE and segment.name not in parts:
            parts[segment.name] = _segment(header_path.with_name(f"{segment.name}{HEADER_SUFFIX}"))
    layout = parts.get(header.segments[0].name) if header.segments[0].samples == 0 else None
    stated = replace(stated, sampling_frequency=frequency)
    read: dict[str, Recording] = {}
    for segment in header.segments:
        if segment.name != NO_FILE and segment.samples and segment.name not in read:
            _check_rate(parts[segment.name], frequency)
            path = header_path.with_name(f"{segment.name}{HEADER_SUFFIX}")
            read[segment.name] = read_record(path, parts[segment.name], stated)
    if not read:
        raise Refusal("unreadable", "a segmented record of nothing but gaps")
    _check_units([part for name, part in parts.items() if name in read])
    return _joined(header, read, layout, frequency)


def _segment(path: Path) -> Header:
    if not path.is_file():
        raise Refusal("missing_file", "the header names a segment that is not there")
    part = read_header(path)
    if part.segments:
        raise Refusal("unreadable", "a segment of segments")
    return part


def _check_rate(part: Header, frequency: float) -> None:
    if part.sampling_frequency not in (None, frequency):
        raise Refusal("unreadable", f"a segment at {part.sampling_frequency:g} Hz in a record at {frequency:g} Hz")


def _check_units(parts: list[Header]) -> None:
    """Refuses segments that state one lead in different units: of both, at least one is likely to be wrong."""
    units: dict[str, set[str]] = {}
    for part in parts:
        leads = canonical_leads([signal.lead for signal in part.signals])
        for lead, signal in zip(leads, part.signals, strict=True):
            if lead is not None:
                units.setdefault(lead, set()).add((signal.unit or "").lower())
    if any(len(spellings) > 1 for spellings in units.values()):
        raise Refusal("unreadable", "the segments state a lead in different units")


def _joined(header: Header, read: dict[str, Recording], layout: Header | None, frequency: float) -> Recording:
    """One recording of the segments, with NaN where a segment does not hold a lead."""
    first = next(iter(read.values()))
    if len({part.sampling_frequency for part in read.values()}) != 1:
        raise Refusal("unreadable", "the segments differ in their samples a frame")
    names = tuple(signal.lead for signal in layout.signals) if layout else first.leads
    leads = canonical_leads(names)
    kept = [row for row, lead in enumerate(leads) if lead is not None]
    if not kept:
        raise without_leads(names)
    place = {leads[row]: number for number, row in enumerate(kept)}
    if len(place) != len(kept):
        raise Refusal("missing_leads", "a lead is named twice")
    per_frame = round(first.sampling_frequency / frequency)
    signal = np.full((len(kept), (header.samples or 0) * per_frame), np.nan)
    start = 0
    for segment in header.segments:
        stop = start + segment.samples * per_frame
        if (part := read.get(segment.name)) is not None and segment.samples:
            rows = canonical_leads(part.leads)
            if len(set(rows)) != len(rows) or not set(rows) <= set(place) or (not layout and len(rows) != len(place)):
                raise Refusal("missing_leads", "the segments differ in their leads")
            if part.signal.shape[1] != stop - start:
                raise Refusal("unreadable", "a segment of another length than the record states")
            signal[[place[lead] for lead in rows], start:stop] = part.signal
        start = stop
    others = tuple(name for row, name in enumerate(names) if row not in kept)
    return Recording(signal, tuple(names[row] for row in kept), first.sampling_frequency, others=others)
