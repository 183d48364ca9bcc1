"""Signals of WFDB records: a fast reader of format 16; the wfdb library reads the other formats."""

from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from echoingecg.common import Refusal
from echoingecg.ecg.decode.recording import Recording, Stated, check_size
from echoingecg.ecg.decode.recording.leads import canonical_lead
from echoingecg.ecg.decode.recording.units import units_per_millivolt
from echoingecg.ecg.decode.wfdb_header import HEADER_SUFFIX, NO_FILE, Header, Signal, read_header

if TYPE_CHECKING:
    import wfdb

MISSING_16 = -32768  # format 16 marks a missing sample with its lowest value

_FRAMES_PER_SUM = 50  # frames that are added side by side: three times faster than one by one
_MAX_GAP_RATIO = 50  # samples promised for one that is held: a header alone must not fill the memory
_SAMPLE_BYTES = {  # of the uncompressed formats that the wfdb library reads
    "8": 1.0, "80": 1.0, "212": 1.5, "310": 4 / 3, "311": 4 / 3, "16": 2.0, "61": 2.0, "160": 2.0, "24": 3.0, "32": 4.0,
}  # fmt: skip
_FLAC = ("508", "516", "524")
# What wfdb, soundfile and NumPy raise on damaged content.
_FAULTS = (
    ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError, ZeroDivisionError, EOFError,
    RuntimeError, AssertionError,
)  # fmt: skip


def decode_wfdb(header_path: Path, header: Header, stated: Stated) -> Recording:
    """Reads a record whose header is parsed already.

    Signals that are none of the twelve leads (respiration, pressure) are left out, whatever their unit.

    Raises:
        Refusal: see data_contracts.quarantine.REASONS.
        OSError: a signal file cannot be read.
    """
    frequency = stated.frequency(header.sampling_frequency)
    if header.segments:
        return _decode_segments(header_path, header, frequency)
    rows = [row for row, signal in enumerate(header.signals) if canonical_lead(signal.lead) is not None]
    leads = [header.signals[row] for row in rows]
    if not leads:
        raise Refusal("missing_leads", "no signal has the name of a lead")
    scale = np.array([_units_per_millivolt(lead, stated) for lead in leads])
    _check_files(header_path, header)
    digital = _read_16(header_path, header) if header.is_plain_16 else _read_by_library(header_path, header)
    baseline = np.array([lead.baseline for lead in leads], dtype=np.float64)
    signal = (digital[rows] - baseline[:, None]) / scale[:, None]
    return Recording(signal, tuple(lead.lead for lead in leads), frequency)


def _units_per_millivolt(signal: Signal, stated: Stated) -> float:
    """Digital units a millivolt."""
    factor = stated.units_per_millivolt(signal.unit)
    if not signal.gain:
        raise Refusal("missing_units", "a lead's gain is 0 or not stated: it is not calibrated")
    return signal.gain * factor


def _check_files(header_path: Path, header: Header) -> None:
    """Refuses a signal file that holds less or more than the header promises; before any memory is allocated."""
    for name in dict.fromkeys(header.files):
        signals = [signal for signal, file in zip(header.signals, header.files, strict=True) if file == name]
        path = header_path.with_name(name)
        if not path.is_file():
            raise Refusal("missing_file", "the header names a signal file that is not there")
        if len({(signal.format, signal.offset) for signal in signals}) != 1:
            raise Refusal("unreadable", "signals of one file differ in format or offset")
        if any(signal.per_frame == 0 for signal in signals):
            raise Refusal("unreadable", "a signal of no samples a frame")
        form, held = signals[0].format, path.stat().st_size - signals[0].offset
        frame = sum(signal.per_frame for signal in signals)
        if form not in _SAMPLE_BYTES and form not in _FLAC:
            raise Refusal("unknown_format", "a WFDB signal format that is not read here")
        if header.samples is None:
            check_size(frame, max(held, 0))
            continue
        check_size(frame, header.samples)
        if form in _FLAC:
            continue
        promised = _SAMPLE_BYTES[form] * frame * header.samples
        detail = f"the header promises {int(promised)} bytes, the signal file holds {max(held, 0)}"
        if held < int(promised):
            raise Refusal("truncated", detail)
        # Packed formats round up to whole groups of samples; a frame too many is another record's layout.
        if held >= promised + max(_SAMPLE_BYTES[form] * frame, 4):
            raise Refusal("unreadable", detail)


def frames_16(stored: np.ndarray, header: Header) -> np.ndarray:
    """Samples of a signal file of format 16, checked against the header's checksums.

    Args:
        stored: int16 (value,), as in the file.
        header: of the record; `is_plain_16`.

    Returns:
        int16 (time, signal).

    Raises:
        Refusal: truncated within a frame; unreadable when a checksum is wrong.
    """
    samples = header.samples if header.samples is not None else len(stored) // header.count
    if header.samples is None and samples * header.count != len(stored):
        raise Refusal("truncated", "the signal file ends within a frame")
    frames = stored[: samples * header.count].reshape(samples, header.count)
    values = frames.view("<u2")
    if samples and samples % _FRAMES_PER_SUM == 0:
        side_by_side = values.reshape(-1, header.count * _FRAMES_PER_SUM).sum(axis=0, dtype=np.uint16)
        values = side_by_side.reshape(_FRAMES_PER_SUM, header.count)
    _check_sums(header.checksums, values.sum(axis=0, dtype=np.uint16).tolist())
    return frames


def _read_16(header_path: Path, header: Header) -> np.ndarray:
    """Digital values, float64 (signal, time), NaN where missing. 40 times faster than the library here."""
    path, offset = header_path.with_name(header.files[0]), header.signals[0].offset
    frames = frames_16(np.fromfile(path, dtype="<i2", offset=offset), header)
    digital = frames.T.astype(np.float64, order="C")
    digital[digital == MISSING_16] = np.nan
    return digital


def _read_by_library(header_path: Path, header: Header) -> np.ndarray:
    """Digital values, float64 (signal, time), NaN where missing; several samples a frame are averaged."""
    record = _rdrecord(header_path)
    if record.p_signal is None or record.p_signal.shape[1] != header.count:
        raise Refusal("unreadable", "the signals found are not those of the header")
    # Back to digital units with the library's own gain, so that units are applied in one place only.
    digital = np.rint(record.p_signal * np.array(record.adc_gain) + np.array(record.baseline))
    is_exact = np.array([signal.per_frame == 1 and signal.skew == 0 for signal in header.signals])
    _check_sums(header.checksums, np.where(is_exact, digital.sum(axis=0), np.nan).tolist())
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


def _check_sums(checksums: Sequence[int | None], sums: Sequence[float]) -> None:
    """Compares the signals' sums modulo 65536 with the header's checksums; NaN in `sums` means not known."""
    for checksum, total in zip(checksums, sums, strict=True):
        if checksum is not None and isfinite(total) and (int(total) - checksum) % 65536:
            raise Refusal("unreadable", "the samples do not add up to the header's checksum")


def _decode_segments(header_path: Path, header: Header, frequency: float) -> Recording:
    """Reads a record of segments. Each segment's header is checked as strictly as that of a plain record."""
    if header.samples is None:
        raise Refusal("unreadable", "a segmented record without its length")
    check_size(header.count, header.samples)
    held = 0
    for name in header.segments:
        if name == NO_FILE:
            continue
        part_path = header_path.with_name(f"{name}{HEADER_SUFFIX}")
        if not part_path.is_file():
            raise Refusal("missing_file", "the header names a segment that is not there")
        part = read_header(part_path)
        _check_segment(part_path, part)
        held += part.samples or 0
    if header.samples > _MAX_GAP_RATIO * held:
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
    for signal in part.signals:
        if canonical_lead(signal.lead) is not None:
            _units_per_millivolt(signal, Stated())
