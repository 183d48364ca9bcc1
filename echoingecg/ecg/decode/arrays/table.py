"""Tables of numbers as text, such as CSV and TSV: a column a lead, or a row a lead. Unit and rate are stated beside.

A first line of words names the columns; of these the leads are taken by name. Decimal commas are read where columns are
not parted by commas.
"""

import csv
import re
from io import StringIO
from pathlib import Path

import numpy as np

from echoingecg.common import Refusal
from echoingecg.ecg.decode.arrays import matrix
from echoingecg.ecg.decode.recording import MAX_VALUES, Recording, Stated, read_whole
from echoingecg.ecg.decode.recording.leads import canonical_leads, without_leads

_HEAD_BYTES = 1 << 16
_TIME = re.compile(r"(?:time|t|sec|seconds|ms|milliseconds)\b.*", re.IGNORECASE)
_TIME_UNITS = (1.0, 1e-3, 1e-6)  # seconds
_RATE_TOLERANCE = 0.01


def is_table(path: Path) -> bool:
    """Returns whether the second line of a text holds two numbers or more. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    lines = [] if b"\0" in head else _lines(_text(head))[:2]
    if len(lines) < 2:
        return False
    delimiter = _delimiter(lines[1])
    values = lines[1].split(delimiter)
    return len(values) > 1 and all(_is_number(value) for value in values)


def decode_table(path: Path, stated: Stated) -> Recording:
    """Reads one ECG.

    Raises:
        Refusal: missing_leads, missing_units, missing_sampling_frequency where neither the table's first line nor the
            export or the user states them, or a column of times contradicts the rate; unreadable otherwise.
        OSError: the file cannot be read.
    """
    lines = _lines(_text(read_whole(path)))
    delimiter = _delimiter(lines[1])
    first = next(csv.reader([lines[0]], delimiter=delimiter or " ", skipinitialspace=True))
    names = None if all(_is_number(value) for value in first if value.strip()) else [name.strip() for name in first]
    values = _numbers(lines[1:] if names else lines, delimiter)
    if names is None:
        return matrix.as_stated(values, stated)
    if values.shape[1] != len(names):
        raise Refusal("unreadable", f"{len(names)} names for {values.shape[1]} columns")
    rows = [row for row, lead in enumerate(canonical_leads(names)) if lead is not None]
    if not rows and stated.leads and len(stated.leads) == len(names):
        return matrix.as_stated(values, stated)
    if not rows:
        raise without_leads(names)
    frequency, per_millivolt = stated.frequency(None), stated.units_per_millivolt(None)
    for name, column in zip(names, values.T, strict=True):
        if _TIME.fullmatch(name):
            _check_times(column, frequency)
    signal = np.ascontiguousarray(values[:, rows].T) / per_millivolt
    others = tuple(name for row, name in enumerate(names) if row not in rows)
    return Recording(signal, tuple(names[row] for row in rows), frequency, others=others)


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _lines(text: str) -> list[str]:
    return [line for raw in text.splitlines() if (line := raw.strip(" ")) and not line.startswith("#")]


def _delimiter(line: str) -> str | None:
    """What parts the columns of a line of numbers; None for white space, also where these have decimal commas."""
    if mark := next((mark for mark in "\t;" if mark in line), None):
        return mark
    values = line.split()
    has_decimal_commas = len(values) > 1 and all(_is_number(value) and not value.endswith(",") for value in values)
    return "," if "," in line and not has_decimal_commas else None


def _is_number(text: str) -> bool:
    try:
        float(text.strip().strip('"').replace(",", "."))
    except ValueError:
        return False
    return True


def _numbers(lines: list[str], delimiter: str | None) -> np.ndarray:
    """The values, float64 (line, column); NaN where a cell is empty or no finite number."""
    import pandas as pd

    columns = len(lines[0].split(delimiter))
    if any(len(line.split(delimiter)) != columns for line in lines):
        raise Refusal("unreadable", "a table whose lines differ in their count of cells")
    if columns * len(lines) > MAX_VALUES:
        raise Refusal("unreadable", f"{len(lines)} lines of {columns} columns: no resting ECG")
    text = "\n".join(lines)
    has_commas = delimiter != "," and "," in text
    if has_commas and "." in text:
        raise Refusal("unreadable", "numbers with points and with commas")
    try:
        frame = pd.read_csv(
            StringIO(text),
            sep=delimiter or r"\s+",
            header=None,
            decimal="," if has_commas else ".",
            dtype=np.float64,
            skip_blank_lines=False,
            on_bad_lines="error",
        )
    except (ValueError, OverflowError, MemoryError) as fault:  # ParserError is a ValueError
        raise Refusal("unreadable", "a table that does not hold a number in every cell of every line") from fault
    values = frame.to_numpy()
    return np.where(np.isfinite(values), values, np.nan)


def _check_times(column: np.ndarray, frequency: float) -> None:
    """Refuses a rate that contradicts a column of times, in s, ms or us; numbers of samples tell nothing."""
    steps = np.diff(column)
    step = float(np.median(steps)) if len(steps) else np.nan
    fits = [abs(step * unit * frequency - 1) < _RATE_TOLERANCE for unit in _TIME_UNITS]
    if not step > 0 or not (any(fits) or step == 1):
        raise Refusal("missing_sampling_frequency", f"a column of times contradicts the stated {frequency:g} Hz")
    if not np.allclose(steps, step, rtol=0.5):
        raise Refusal("unreadable", "a column of times that leaves samples out")
