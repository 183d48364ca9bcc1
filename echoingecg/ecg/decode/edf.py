"""EDF and EDF+ (Kemp et al. 1992, Kemp and Olivan 2003; edfplus.info): 16-bit signals in data records."""

from pathlib import Path

import numpy as np

from echoingecg.common import Refusal
from echoingecg.ecg.decode import recording
from echoingecg.ecg.decode.recording.leads import canonical_lead

_FIXED_BYTES = 256
# Bytes of each signal's fields: label, transducer, unit, physical minimum and maximum, digital minimum and
# maximum, prefiltering, samples a data record, reserved.
_FIELD_BYTES = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)
_LABEL, _UNIT, _LOW, _HIGH, _DIGITAL_LOW, _DIGITAL_HIGH, _SAMPLES = 0, 2, 3, 4, 5, 6, 8


def decode_edf(path: Path, stated: recording.Stated) -> recording.Recording:
    """Reads the signals named as one of the twelve leads, which must share one rate.

    Raises:
        Refusal: see data_contracts.quarantine.REASONS.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        fixed = file.read(_FIXED_BYTES).decode("latin-1")
        if len(fixed) < _FIXED_BYTES:
            raise Refusal("truncated", "the file ends within the EDF header")
        if fixed[192:197].upper() == "EDF+D":
            raise Refusal("unknown_format", "an EDF+ recording with interruptions")
        signals = recording.whole_number(fixed[252:256])
        if not signals:
            raise Refusal("unreadable", "an EDF file without signals")
        fields = _fields(file.read(signals * sum(_FIELD_BYTES)).decode("latin-1"), signals)
    start, records = recording.whole_number(fixed[184:192]), recording.whole_number(fixed[236:244])
    duration = recording.number(fixed[244:252])
    counts = [recording.whole_number(spelling) or 0 for spelling in fields[_SAMPLES]]
    rows = [row for row in range(signals) if canonical_lead(fields[_LABEL][row]) is not None]
    if not rows:
        raise Refusal("missing_leads", "no signal has the name of a lead")
    if len({counts[row] for row in rows}) != 1:
        raise Refusal("unknown_format", "the leads differ in their sampling frequency")
    if start != _FIXED_BYTES + signals * sum(_FIELD_BYTES) or not counts[rows[0]] or not records:
        raise Refusal("unreadable", "the EDF header's counts are impossible or not stated")
    rate = counts[rows[0]] / duration if duration and duration > 0 else None
    frequency = stated.frequency(rate)
    scales = [_scale([column[row].strip() for column in fields], stated) for row in rows]
    stored = _stored(path, start, records, counts)
    edges = np.cumsum([0, *counts])
    signal = np.stack(
        [stored[:, edges[row] : edges[row + 1]].ravel() * gain + offset
         for row, (gain, offset) in zip(rows, scales, strict=True)]
    )  # fmt: skip
    return recording.Recording(signal, tuple(fields[_LABEL][row].strip() for row in rows), frequency)


def _fields(text: str, signals: int) -> list[list[str]]:
    """The header's fields, each a list of one text a signal."""
    if len(text) < signals * sum(_FIELD_BYTES):
        raise Refusal("truncated", "the file ends within the EDF header")
    fields, start = [], 0
    for width in _FIELD_BYTES:
        fields.append([text[start + row * width : start + (row + 1) * width] for row in range(signals)])
        start += signals * width
    return fields


def _stored(path: Path, start: int, records: int, counts: list[int]) -> np.ndarray:
    """The stored values, int16 (data record, value)."""
    frame = sum(counts)
    recording.check_size(frame, records)
    promised, held = start + 2 * frame * records, path.stat().st_size
    if held < promised:
        raise Refusal("truncated", f"the header promises {promised} bytes, the file holds {held}")
    if held > promised:
        raise Refusal("unreadable", f"the header promises {promised} bytes, the file holds {held}")
    return np.fromfile(path, dtype="<i2", offset=start).reshape(records, frame)


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
