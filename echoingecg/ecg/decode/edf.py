"""EDF and EDF+ (Kemp et al. 1992, Kemp and Olivan 2003; edfplus.info): 16-bit signals in data records."""

from pathlib import Path

import numpy as np

from echoingecg.common import Refusal
from echoingecg.ecg.decode import recording

SIGNATURE = b"0       "
_FIXED = 256
# Bytes of each signal's fields: label, transducer, unit, physical minimum and maximum, digital minimum and
# maximum, prefiltering, samples a record, reserved.
_FIELDS = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)
_LABEL, _UNIT, _LOW, _HIGH, _DIGITAL_LOW, _DIGITAL_HIGH, _SAMPLES = 0, 2, 3, 4, 5, 6, 8


def decode_edf(path: Path, stated_unit: str | None, stated_sampling_frequency: float | None) -> recording.Recording:
    """Reads the signals named as one of the twelve leads, which must share one rate.

    Raises:
        Refusal: see data_contracts.quarantine.REASONS.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        fixed = file.read(_FIXED).decode("latin-1")
        if len(fixed) < _FIXED:
            raise Refusal("truncated", "the file ends within the EDF header")
        if fixed[192:197].upper() == "EDF+D":
            raise Refusal("unknown_format", "an EDF+ recording with interruptions")
        signals = recording.whole_number(fixed[252:256])
        if not signals:
            raise Refusal("unreadable", "an EDF file without signals")
        fields = _fields(file.read(signals * sum(_FIELDS)).decode("latin-1"), signals)
    start, records, duration = (
        recording.whole_number(fixed[184:192]),
        recording.whole_number(fixed[236:244]),
        recording.number(fixed[244:252]),
    )
    counts = [recording.whole_number(one) or 0 for one in fields[_SAMPLES]]
    rows = [row for row in range(signals) if recording.canonical_lead(fields[_LABEL][row]) is not None]
    if not rows:
        raise Refusal("missing_leads", "no signal has the name of a lead")
    if len({counts[row] for row in rows}) != 1:
        raise Refusal("unknown_format", "the leads differ in their sampling frequency")
    if start != _FIXED + signals * sum(_FIELDS) or not counts[rows[0]] or not records:
        raise Refusal("unreadable", "the EDF header's counts are impossible or not stated")
    rate = counts[rows[0]] / duration if duration and duration > 0 else None
    frequency = recording.sampling_frequency(rate, stated_sampling_frequency)
    scales = [_scale([column[row].strip() for column in fields], stated_unit) for row in rows]
    stored = _stored(path, start, records, counts)
    edges = np.cumsum([0, *counts])
    signal = np.stack(
        [stored[:, edges[row] : edges[row + 1]].ravel() * gain + offset
         for row, (gain, offset) in zip(rows, scales, strict=True)]
    )  # fmt: skip
    return recording.Recording(signal, tuple(fields[_LABEL][row].strip() for row in rows), frequency)


def _fields(text: str, signals: int) -> list[list[str]]:
    """The header's columns, a list of one text a signal each."""
    if len(text) < signals * sum(_FIELDS):
        raise Refusal("truncated", "the file ends within the EDF header")
    columns, at = [], 0
    for width in _FIELDS:
        columns.append([text[at + row * width : at + (row + 1) * width] for row in range(signals)])
        at += signals * width
    return columns


def _stored(path: Path, start: int, records: int, counts: list[int]) -> np.ndarray:
    """int16 (record, value)."""
    frame = sum(counts)
    recording.check_size(frame, records)
    promised, held = start + 2 * frame * records, path.stat().st_size
    if held < promised:
        raise Refusal("truncated", f"the header promises {promised} bytes, the file holds {held}")
    if held > promised:
        raise Refusal("unreadable", f"the header promises {promised} bytes, the file holds {held}")
    return np.fromfile(path, dtype="<i2", offset=start).reshape(records, frame)


def _scale(column: list[str], stated_unit: str | None) -> tuple[float, float]:
    """Millivolts a step, and millivolts at step 0."""
    per_millivolt = recording.units_per_millivolt(column[_UNIT] or stated_unit or "")
    low, high, digital_low, digital_high = (
        recording.number(column[name]) for name in (_LOW, _HIGH, _DIGITAL_LOW, _DIGITAL_HIGH)
    )  # fmt: skip
    if low is None or high is None or digital_low is None or digital_high is None:
        raise Refusal("missing_units", "a lead's physical or digital range is not stated")
    if low == high or digital_low >= digital_high:
        raise Refusal("missing_units", "a lead's physical or digital range is empty: it is not calibrated")
    gain = (high - low) / (digital_high - digital_low)
    return gain / per_millivolt, (low - gain * digital_low) / per_millivolt
