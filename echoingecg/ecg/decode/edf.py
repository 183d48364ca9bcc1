"""EDF and EDF+ (Kemp et al. 1992, Kemp and Olivan 2003; edfplus.info), and BioSemi's BDF, of three bytes a sample.

Signals stand in data records of equal duration. A recorder that was switched off may leave the count of records at -1.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from echoingecg.common import Refusal
from echoingecg.ecg.decode import recording
from echoingecg.ecg.decode.recording.leads import canonical_leads, without_leads

EDF_SIGNATURE, BDF_SIGNATURE = b"0       ", b"\xffBIOSEMI"

_FIXED_BYTES = 256
# Bytes of each signal's fields: label, transducer, unit, physical minimum and maximum, digital minimum and
# maximum, prefiltering, samples a data record, reserved.
_FIELD_BYTES = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)
_LABEL, _UNIT, _LOW, _HIGH, _DIGITAL_LOW, _DIGITAL_HIGH, _SAMPLES = 0, 2, 3, 4, 5, 6, 8
_ANNOTATIONS = ("EDF Annotations", "BDF Annotations")
_UNKNOWN = "-1"  # count of data records
_ONSET_END = (b"\x14", b"\x15")


@dataclass(frozen=True)
class _Layout:
    """Where the samples stand.

    Attributes:
        start: byte of the first data record.
        counts: samples a data record, one a signal.
        records: data records.
        width: bytes a sample.
    """

    start: int
    counts: list[int]
    records: int
    width: int

    def signal(self, stored: np.ndarray, row: int) -> np.ndarray:
        """Bytes of one signal, (data record, byte)."""
        first = self.width * sum(self.counts[:row])
        return stored[:, first : first + self.width * self.counts[row]]


def decode_edf(path: Path, stated: recording.Stated) -> recording.Recording:
    """Reads the signals named as one of the twelve leads, which must share one rate.

    Raises:
        Refusal: see data_contracts.quarantine.REASONS.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_FIXED_BYTES)
        fixed = head.decode("latin-1")
        if len(fixed) < _FIXED_BYTES:
            raise Refusal("truncated", "the file ends within the EDF header")
        signals = recording.whole_number(fixed[252:256])
        if not signals:
            raise Refusal("unreadable", "an EDF file without signals")
        fields = _fields(file.read(signals * sum(_FIELD_BYTES)).decode("latin-1"), signals)
    duration = recording.number(fixed[244:252])
    counts = [recording.whole_number(spelling) or 0 for spelling in fields[_SAMPLES]]
    names = [label.strip() for label in fields[_LABEL]]
    leads = canonical_leads(names)
    rows = [row for row in range(signals) if leads[row] is not None]
    if not rows:
        raise without_leads(names)
    if len({counts[row] for row in rows}) != 1:
        raise Refusal("unknown_format", "the leads differ in their sampling frequency")
    start = recording.whole_number(fixed[184:192])
    if start != _FIXED_BYTES + signals * sum(_FIELD_BYTES) or not counts[rows[0]]:
        raise Refusal("unreadable", "the EDF header's counts are impossible or not stated")
    rate = counts[rows[0]] / duration if duration and duration > 0 else None
    frequency = stated.frequency(rate)
    scales = [_scale([column[row].strip() for column in fields], stated) for row in rows]
    width = 3 if head.startswith(BDF_SIGNATURE) else 2
    layout = _Layout(start, counts, _records(path, fixed[236:244], start, sum(counts), width), width)
    stored = _stored(path, layout)
    if fixed[192:197].upper() in ("EDF+D", "BDF+D"):
        _check_onsets(stored, layout, names, duration or 0.0)
    signal = np.stack(
        [_digital(layout.signal(stored, row), width) * gain + offset
         for row, (gain, offset) in zip(rows, scales, strict=True)]
    )  # fmt: skip
    others = tuple(name for name, lead in zip(names, leads, strict=True) if lead is None and name not in _ANNOTATIONS)
    return recording.Recording(signal, tuple(names[row] for row in rows), frequency, others=others)


def _fields(text: str, signals: int) -> list[list[str]]:
    """The header's fields, each a list of one text a signal."""
    if len(text) < signals * sum(_FIELD_BYTES):
        raise Refusal("truncated", "the file ends within the EDF header")
    fields, start = [], 0
    for width in _FIELD_BYTES:
        fields.append([text[start + row * width : start + (row + 1) * width] for row in range(signals)])
        start += signals * width
    return fields


def _records(path: Path, stated: str, start: int, frame: int, width: int) -> int:
    """The count of data records of `frame` samples, as stated or, where that is not known, as the file holds."""
    held, size = path.stat().st_size - start, width * frame
    if stated.strip() == _UNKNOWN:
        if held <= 0 or held % size:
            raise Refusal("truncated", "the file of a count of records that is not known ends within a record")
        return held // size
    records = recording.whole_number(stated)
    if not records:
        raise Refusal("unreadable", "the EDF header's counts are impossible or not stated")
    recording.check_size(frame, records)
    if held != size * records:
        detail = f"the header promises {start + size * records} bytes, the file holds {start + held}"
        raise Refusal("truncated" if held < size * records else "unreadable", detail)
    return records


def _stored(path: Path, layout: _Layout) -> np.ndarray:
    """The stored bytes, uint8 (data record, byte)."""
    recording.check_size(sum(layout.counts), layout.records)
    return np.fromfile(path, dtype=np.uint8, offset=layout.start).reshape(layout.records, -1)


def _digital(stored: np.ndarray, width: int) -> np.ndarray:
    """Stored values, int32 (time,), of little-endian bytes (data record, byte)."""
    if width == 2:
        return np.ascontiguousarray(stored).view("<i2").ravel().astype(np.int32)
    parts = stored.reshape(-1, width)
    values = np.zeros((len(parts), 4), np.uint8)
    values[:, 1:] = parts
    return values.view("<i4").ravel() >> 8


def _check_onsets(stored: np.ndarray, layout: _Layout, names: list[str], duration: float) -> None:
    """Refuses a recording with interruptions: each data record states its onset as its first annotation (EDF+)."""
    row = next((row for row, name in enumerate(names) if name in _ANNOTATIONS), None)
    if row is None:
        raise Refusal("unreadable", "an EDF+ recording of parts that states no onsets")
    onsets = []
    for record in layout.signal(stored, row):
        text = record.tobytes()
        end = min((place for mark in _ONSET_END if (place := text.find(mark)) >= 0), default=0)
        onset = recording.number(text[:end].decode("latin-1"))
        if onset is None:
            raise Refusal("unreadable", "a data record without its onset")
        onsets.append(onset)
    gaps = np.diff(onsets) - duration
    # A written onset has few decimals; half a sample more or less is no interruption.
    if len(gaps) and np.abs(gaps).max() > 0.5 * duration / max(layout.counts):
        raise Refusal(
            "unknown_format", f"an EDF+ recording with an interruption after {np.abs(gaps).argmax() + 1} records"
        )


def _scale(fields: list[str], stated: recording.Stated) -> tuple[float, float]:
    """Millivolts a step, and millivolts at step 0."""
    per_millivolt = stated.units_per_millivolt(fields[_UNIT])
    low, high, digital_low, digital_high = (
        recording.number(fields[name]) for name in (_LOW, _HIGH, _DIGITAL_LOW, _DIGITAL_HIGH)
    )  # fmt: skip
    if low is None or high is None or digital_low is None or digital_high is None:
        raise Refusal("missing_units", "a lead's physical or digital range is not stated")
    if low == high or digital_low >= digital_high:
        raise Refusal("missing_units", "a lead's physical or digital range is empty: it is not calibrated")
    gain = (high - low) / (digital_high - digital_low)
    return gain / per_millivolt, (low - gain * digital_low) / per_millivolt
