"""Signals of a WFDB record: a fast reader of format 16; the wfdb library reads the other formats."""

from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from echoingecg.common import Refusal
from echoingecg.ecg.decode.recording import Recording, Stated, check_expansion, check_size
from echoingecg.ecg.decode.recording.leads import canonical_leads, without_leads
from echoingecg.ecg.decode.wfdb_header import HEADER_SUFFIX, Header, Signal

if TYPE_CHECKING:
    import wfdb

MISSING_16 = -32768  # format 16 marks a missing sample with its lowest value

_FRAMES_PER_SUM = 50  # frames that are added side by side: three times faster than one by one
_SAMPLE_BYTES = {  # of the uncompressed formats that the wfdb library reads
    "8": 1.0, "80": 1.0, "212": 1.5, "310": 4 / 3, "311": 4 / 3, "16": 2.0, "61": 2.0, "160": 2.0, "24": 3.0, "32": 4.0,
}  # fmt: skip
_FLAC = ("508", "516", "524")
# What wfdb, soundfile and NumPy raise on damaged content.
_FAULTS = (
    ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError, ZeroDivisionError, EOFError,
    RuntimeError, AssertionError,
)  # fmt: skip


def read_record(header_path: Path, header: Header, stated: Stated) -> Recording:
    """Reads a record that has signals of its own, and no segments.

    Signals that are none of the twelve leads (respiration, pressure) are left out, whatever their unit and rate. The
    leads may have several samples a frame, all equally many.

    Raises:
        Refusal: see data_contracts.quarantine.REASONS.
        OSError: a signal file cannot be read.
    """
    frequency = stated.frequency(header.sampling_frequency)
    names = tuple(signal.lead for signal in header.signals)
    rows = [row for row, lead in enumerate(canonical_leads(names)) if lead is not None]
    leads = [header.signals[row] for row in rows]
    if not leads:
        raise without_leads(names)
    scale = np.array([_units_per_millivolt(lead, stated) for lead in leads])
    _check_files(header_path, header)
    if len({lead.per_frame for lead in leads}) != 1:
        raise Refusal("unknown_format", "the leads differ in their sampling frequency")
    if header.is_plain_16:
        digital = _read_16(header_path, header)[rows]
    else:
        samples = _read_by_library(header_path, header)
        digital = np.stack([samples[row] for row in rows])
    baseline = np.array([lead.baseline for lead in leads], dtype=np.float64)
    signal = (digital - baseline[:, None]) / scale[:, None]
    others = tuple(name for row, name in enumerate(names) if row not in rows)
    return Recording(signal, tuple(lead.lead for lead in leads), frequency * leads[0].per_frame, others=others)


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
            if form in _FLAC:
                raise Refusal("unreadable", "compressed signals of a length that is not stated")
            check_size(frame, max(held, 0))
            continue
        check_size(frame, header.samples)
        if form in _FLAC:
            check_expansion(frame * header.samples, max(held, 0))
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


def _read_by_library(header_path: Path, header: Header) -> list[np.ndarray]:
    """Digital values of each signal, float64 (time,), NaN where missing, at the signal's own rate."""
    record = _rdrecord(header_path, header)
    if record.e_p_signal is None or len(record.e_p_signal) != header.count:
        raise Refusal("unreadable", "the signals found are not those of the header")
    # Back to digital units with the library's own gain, so that units are applied in one place only.
    scaled = zip(record.e_p_signal, record.adc_gain, record.baseline, strict=True)
    digital = [np.rint(np.asarray(signal, np.float64) * gain + baseline) for signal, gain, baseline in scaled]
    is_exact = [signal.skew == 0 for signal in header.signals]
    sums = [float(samples.sum()) if exact else np.nan for samples, exact in zip(digital, is_exact, strict=True)]
    _check_sums(header.checksums, sums)
    return digital


def _rdrecord(header_path: Path, header: Header) -> "wfdb.Record":
    """The record, its samples neither averaged nor interpolated."""
    import wfdb  # two seconds to import, and few exports need it

    with TemporaryDirectory() as folder:
        path = header_path.resolve()
        if "." in path.stem or any(name.count(".") > 1 for name in header.files):
            path = _renamed(path, header, Path(folder))
        name = str(path.with_suffix(""))
        if "::" in name or "://" in name:  # fsspec would take it for an address
            raise Refusal("unreadable", "the path cannot be opened as a WFDB record")
        try:
            return wfdb.rdrecord(name, physical=True, smooth_frames=False)
        except _FAULTS as fault:
            raise Refusal("unreadable", f"the WFDB library fails with {type(fault).__name__}") from fault


def _renamed(header_path: Path, header: Header, folder: Path) -> Path:
    """A header of the record by names without dots, which the wfdb library cannot open, and links to its files."""
    names = {name: f"signals{number}.dat" for number, name in enumerate(dict.fromkeys(header.files))}
    for name, link in names.items():
        (folder / link).symlink_to(header_path.with_name(name))
    text = header_path.read_text(encoding="utf-8", errors="replace")
    record, *signals = (
        line.split(maxsplit=1) for line in text.splitlines() if line.strip() and line.lstrip()[0] != "#"
    )
    lines = [f"record {record[1]}", *(f"{names[name]} {rest}" for name, rest in signals)]
    renamed = folder / f"record{HEADER_SUFFIX}"
    renamed.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return renamed


def _check_sums(checksums: Sequence[int | None], sums: Sequence[float]) -> None:
    """Compares the signals' sums modulo 65536 with the header's checksums; NaN in `sums` means not known."""
    for checksum, total in zip(checksums, sums, strict=True):
        if checksum is not None and isfinite(total) and (int(total) - checksum) % 65536:
            raise Refusal("unreadable", "the samples do not add up to the header's checksum")
