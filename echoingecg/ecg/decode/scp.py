"""SCP-ECG (EN 1064:2005+A1:2007, ISO 11073-91064): the rhythm of section 6 in full resolution."""

from pathlib import Path
from typing import Final

import numpy as np

from echoingecg.common.errors import Refusal
from echoingecg.ecg.decode.limits import read_whole
from echoingecg.ecg.decode.recording import LEAD_NUMBERS
from echoingecg.ecg.decode.scp_file import (
    Beats,
    Lead,
    Samples,
    read_beats,
    read_leads,
    read_samples,
    read_sections,
)  # fmt: skip
from echoingecg.ecg.decode.scp_huffman import Table, decode_huffman, read_tables
from echoingecg.ecg.recording import Recording

_NANOVOLTS_A_MILLIVOLT: Final = 1e6
_MICROSECONDS: Final = 1_000_000


def decode_scp(path: Path) -> Recording:
    """Reads the twelve leads among the stored; the format itself fixes unit and rate, so neither can be missing.

    Where the reference beat was subtracted it is added again; where samples were decimated outside the
    protected zones (bimodal compression) they are interpolated, as annex C has it, without its smoothing.

    Raises:
        Refusal: see data_contracts.quarantine.REASONS.
        OSError: the file cannot be read.
    """
    sections = read_sections(read_whole(path))
    if 3 not in sections or 6 not in sections:
        raise Refusal("unknown_format", "the SCP-ECG file holds no rhythm")
    leads, subtracted = read_leads(sections[3])
    rhythm = read_samples(sections[6], len(leads))
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
        stored.append(values * (rhythm.nanovolts / _NANOVOLTS_A_MILLIVOLT))
    first, last = min(leads[row].start for row in rows), max(leads[row].end for row in rows)
    if last - first >= sum(map(len, stored)):
        raise Refusal("unreadable", "leads that lie apart in time")
    signal = np.full((len(rows), last - first + 1), np.nan)
    for at, (row, values) in enumerate(zip(rows, stored, strict=True)):
        signal[at, leads[row].start - first :][: len(values)] = values
    return Recording(signal, names, _MICROSECONDS * factor / rhythm.microseconds)


def _factor(rhythm: Samples, reference: Samples | None) -> int:
    """Samples of the full rate, that of the reference beat, for one outside the protected zones."""
    if not rhythm.bimodal:
        return 1
    if reference is None or not reference.microseconds or rhythm.microseconds % reference.microseconds:
        raise Refusal("unreadable", "bimodal compression without a full rate")
    return rhythm.microseconds // reference.microseconds


def _stored(data: bytes, part: Samples, tables: list[Table] | None, most: int) -> np.ndarray:
    """Values of one lead, differences summed. int64 (time,)."""
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
    """float64 (time,), steps; as long as section 3 says."""
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
    out, at, now = np.empty(samples), 0, lead.start
    for start, end in [*sorted(beats.zones), (lead.end + 1, lead.end)]:
        start, end = min(max(start, now), lead.end + 1), min(end, lead.end)
        count, rest = divmod(start - now, factor)
        coarse = stored[at : at + count]
        fine = stored[at + count : at + count + rest + max(end - start + 1, 0)]
        if len(coarse) < count or len(fine) < rest + max(end - start + 1, 0):
            raise Refusal("truncated", "a lead with bimodal compression ends early")
        here = now - lead.start
        if count:
            knots = factor // 2 + factor * np.arange(count)
            out[here : here + count * factor] = np.interp(np.arange(count * factor), knots, coarse)
        out[here + count * factor : here + count * factor + len(fine)] = fine
        at, now = at + count + len(fine), max(end + 1, start)
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
