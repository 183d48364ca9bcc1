"""The commonest WFDB record, read once: a header and one signal file of format 16, all samples of one rate.

Large exports hold nothing else. Whatever is not exactly so, refusals included, is left to
`decode_wfdb`, which gives the same numbers at eight times the cost.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from pathlib import Path

import numpy as np

from data_contracts.conventions import LEADS
from echoingecg.common import Refusal
from echoingecg.ecg.decode import recording, wfdb

_NAME = re.compile(r"[-\w]+", re.ASCII)
_MOST_HEADER = 1 << 14
_MISSING = -32768
_FIELDS = 9  # file, format, gain, resolution, zero, first value, checksum, block size, lead
_MAGIC = (128, 132)  # of DICOM
_STRIDE = 50  # frames that are added side by side

Scaling = tuple[np.ndarray, np.ndarray, np.ndarray]  # row, offset, digital units a millivolt


@dataclass(frozen=True)
class PlainRecord:
    """The bytes of a record, and what its header says of them.

    Attributes:
        header: the bytes of `<record>.hea`.
        data: the bytes of its signal file.
        frequency: Hz; None where not stated.
        samples: frames held.
        lines: one a signal; equal but for first value and checksum, which are 0 here.
        checksums: one a signal, 0 to 65535.
    """

    header: bytes
    data: bytes
    frequency: float | None
    samples: int
    lines: tuple[wfdb.SignalLine, ...]
    checksums: tuple[int, ...]

    def content_hash(self) -> str:
        """SHA-256 of header and signal file, as `hash_files` has it."""
        digest = hashlib.sha256(self.header)
        digest.update(self.data)
        return digest.hexdigest()


def read_plain(path: Path) -> PlainRecord | None:
    """A WFDB record, with or without `.hea`; None when it is not plain, not whole or not there."""
    name = os.fspath(path)
    try:
        if not name.endswith(wfdb.HEADER_SUFFIX):
            if os.path.isfile(name):  # noqa: PTH113 - a Path costs more than the call
                return None
            name += wfdb.HEADER_SUFFIX
        with open(name, "rb", buffering=0) as file:  # noqa: PTH123
            header = file.read(_MOST_HEADER)
        found = _plain_header(header)
        if found is None:
            return None
        record, file_name, lines, checksums = found
        with open(os.path.join(os.path.dirname(name), file_name), "rb", buffering=0) as file:  # noqa: PTH118, PTH120, PTH123
            held = os.fstat(file.fileno()).st_size
            if held != record[1] * len(lines) * 2 or held > recording.MAX_VALUES:
                return None
            data = file.read()
    except OSError:
        return None
    return PlainRecord(header, data, *record, lines, checksums) if len(data) == held else None


def decode_plain(
    record: PlainRecord, stated_unit: str | None, stated_sampling_frequency: float | None
) -> tuple[np.ndarray, float] | None:
    """The twelve leads in the order of data_contracts.conventions.LEADS, and their rate.

    Returns:
        float32 (12, time), mV, NaN where missing, and Hz; None when the record would be refused or its
        scale does not allow exact float32.
    """
    frequency = stated_sampling_frequency if record.frequency is None else record.frequency
    scaling = _scaling(record.lines, stated_unit)
    if frequency is None or not isfinite(frequency) or frequency <= 0 or scaling is None:
        return None
    rows, offset, scale = scaling
    stored = np.frombuffer(record.data, "<i2").reshape(record.samples, len(record.lines))
    if tuple(_sums(stored).tolist()) != record.checksums:
        return None
    digital = np.ascontiguousarray(stored.T)[rows]
    signal = digital.astype(np.float32)
    if offset.any():
        signal -= offset
    signal /= scale
    if digital.min() == _MISSING:
        signal[digital == _MISSING] = np.nan
    return signal, frequency


def _plain_header(
    content: bytes,
) -> tuple[tuple[float | None, int], str, tuple[wfdb.SignalLine, ...], tuple[int, ...]] | None:
    """(Hz, samples), signal file, lines and checksums of a header of the plain kind."""
    if len(content) >= _MOST_HEADER or not content.isascii() or content[slice(*_MAGIC)] == b"DICM":
        return None
    texts = [line for raw in content.decode("ascii").splitlines() if (line := raw.strip()) and line[0] != "#"]
    fields = [line.split(maxsplit=_FIELDS - 1) for line in texts[1:]]
    if not fields or any(len(one) != _FIELDS or one[0] != fields[0][0] for one in fields):
        return None
    numbers = [text for one in fields for text in one[5:7]]
    if not all(text.removeprefix("-").isdigit() for text in numbers):
        return None
    try:
        header = _header(texts[0], tuple((*one[1:5], *one[7:]) for one in fields), fields[0][0])
    except Refusal:
        return None
    if header.segments or not header.samples:
        return None
    if any((line.format, line.per_frame, line.skew, line.offset) != ("16", 1, 0, 0) for line in header.signals):
        return None
    checksums = tuple(int(one[6]) % 65536 for one in fields)
    return (header.sampling_frequency, header.samples), fields[0][0], header.signals, checksums


def _header(record: str, lines: tuple[tuple[str, ...], ...], file_name: str) -> wfdb.Header:
    """`parse_header`, remembered over records that differ in name, date, first values and checksums. Raises Refusal."""
    name, *rest = record.split(maxsplit=4)
    if not _NAME.fullmatch(name) or not wfdb.FILE_NAME.fullmatch(file_name) or len(rest) < 3 or not rest[2].isdigit():
        raise Refusal("unreadable", "not plain")
    return _remembered(" ".join(rest[:3]), lines)


@lru_cache(maxsize=256)
def _remembered(record: str, lines: tuple[tuple[str, ...], ...]) -> wfdb.Header:
    texts = [" ".join(("x.dat", *one[:4], "0 0", *one[4:])) for one in lines]
    return wfdb.parse_header("\n".join((f"x {record}", *texts)))


@lru_cache(maxsize=256)
def _scaling(lines: tuple[wfdb.SignalLine, ...], stated_unit: str | None) -> Scaling | None:
    """Of each of the twelve leads; offset and scale float32 (12, 1)."""
    leads = [recording.canonical_lead(line.lead) for line in lines]
    if sorted(lead for lead in leads if lead is not None) != sorted(LEADS):
        return None
    rows = [leads.index(lead) for lead in LEADS]
    try:
        per_millivolt = [recording.units_per_millivolt(lines[row].unit or stated_unit or "") for row in rows]
    except Refusal:
        return None
    scale = np.array([lines[row].gain or 0 for row in rows]) * per_millivolt
    offset = np.array([lines[row].baseline for row in rows])
    # float32 arithmetic then gives float64's result, rounded once: 53 bits are at least 2 x 24 + 2.
    exact = (scale == scale.astype(np.float32)) & (np.abs(scale) > 1e-6) & (np.abs(offset) < 1 << 22)
    if not exact.all():
        return None
    return np.array(rows), offset.astype(np.float32)[:, None], scale.astype(np.float32)[:, None]


def _sums(stored: np.ndarray) -> np.ndarray:
    """uint16 (signal,): sums of (time, signal) modulo 65536."""
    values = stored.view("<u2")
    frames, count = values.shape
    if frames % _STRIDE == 0:
        values = values.reshape(-1, count * _STRIDE).sum(axis=0, dtype=np.uint16).reshape(_STRIDE, count)
    return values.sum(axis=0, dtype=np.uint16)
