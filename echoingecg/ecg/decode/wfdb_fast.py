"""A fast path for the most common WFDB record: one signal file of format 16, read and hashed once.

Large exports hold nothing else. All other records, and most that must be refused, go to `decode_wfdb`, which gives
the same numbers at eight times the cost.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from data_contracts.conventions import LEADS
from echoingecg.common import Refusal, is_dicom, open_regular
from echoingecg.ecg.decode import recording, wfdb_signals
from echoingecg.ecg.decode.recording.leads import canonical_leads
from echoingecg.ecg.decode.wfdb_header import HEADER_SUFFIX, NO_FILE, Header, Signal, parse_header

_MAX_HEADER_BYTES = 1 << 14

Scaling = tuple[list[int], np.ndarray, np.ndarray]  # rows, baselines, digital units a millivolt


@dataclass(frozen=True)
class PlainRecord:
    """A record in memory.

    Attributes:
        header_bytes: content of `<record>.hea`.
        data: content of its signal file.
        header: `header_bytes`, parsed.
    """

    header_bytes: bytes
    data: bytes
    header: Header

    def content_hash(self) -> str:
        """SHA-256 of header and signal file, equal to `hash_files` of both."""
        digest = hashlib.sha256(self.header_bytes)
        digest.update(self.data)
        return digest.hexdigest()


def read_plain(path: Path) -> PlainRecord | None:
    """Reads a WFDB record, with or without `.hea`; None when it is not plain, not complete or not there."""
    name = os.fspath(path)
    try:
        if not name.endswith(HEADER_SUFFIX):
            if os.path.isfile(name):  # noqa: PTH113 - a Path costs more than the call
                return None
            name += HEADER_SUFFIX
        with open_regular(name) as file:
            content = file.read(_MAX_HEADER_BYTES)
        header = _plain_header(content)
        if header is None:
            return None
        with open_regular(os.path.join(os.path.dirname(name), header.files[0])) as file:  # noqa: PTH118, PTH120
            held = os.fstat(file.fileno()).st_size
            if held != (header.samples or 0) * header.count * 2 or held > recording.MAX_VALUES:
                return None
            data = file.read()
    except OSError:
        return None
    return PlainRecord(content, data, header) if len(data) == held else None


def _plain_header(content: bytes) -> Header | None:
    """The parsed header of a record of the plain kind; None for anything else."""
    if len(content) >= _MAX_HEADER_BYTES or not content.isascii() or is_dicom(content):
        return None
    try:
        header = parse_header(content.decode("ascii"))
    except Refusal:
        return None
    is_plain = header.samples and header.is_plain_16 and header.files[0] != NO_FILE
    return header if is_plain and not any(signal.offset for signal in header.signals) else None


def decode_plain(
    record: PlainRecord, stated: recording.Stated, new: Callable[[tuple[int, int]], np.ndarray] | None = None
) -> tuple[np.ndarray, float] | None:
    """The twelve leads in the order of data_contracts.conventions.LEADS, and their rate.

    Args:
        record: from `read_plain`.
        stated: what the export states about it.
        new: makes the array for the signal, float32, from its shape.

    Returns:
        float32 (12, time), mV, NaN where missing, and Hz; None when `decode_wfdb` must do it: a lead or a unit is not
        stated, or float32 would not be exact.

    Raises:
        Refusal: the rate is not stated or impossible, or a checksum is wrong.
    """
    scaling = _scaling(record.header.signals, stated.unit)
    if scaling is None:
        return None
    frequency = stated.frequency(record.header.sampling_frequency)
    rows, baseline, scale = scaling
    digital = np.ascontiguousarray(wfdb_signals.frames_16(np.frombuffer(record.data, "<i2"), record.header).T)[rows]
    signal = np.empty(digital.shape, np.float32) if new is None else new(digital.shape)
    signal[:] = digital
    if baseline.any():
        signal -= baseline
    signal /= scale
    if digital.min() == wfdb_signals.MISSING_16:
        signal[digital == wfdb_signals.MISSING_16] = np.nan
    return signal, frequency


@lru_cache(maxsize=256)
def _scaling(signals: tuple[Signal, ...], stated_unit: str | None) -> Scaling | None:
    """Rows of the twelve leads, and their baselines and scales, float32 (12, 1)."""
    leads = canonical_leads([signal.lead for signal in signals])
    if sorted(lead for lead in leads if lead is not None) != sorted(LEADS):
        return None
    rows = [leads.index(lead) for lead in LEADS]
    try:
        per_millivolt = [recording.Stated(stated_unit).units_per_millivolt(signals[row].unit) for row in rows]
    except Refusal:
        return None
    scale = np.array([signals[row].gain or 0 for row in rows]) * per_millivolt
    baseline = np.array([signals[row].baseline for row in rows])
    # float32 arithmetic then gives float64's result, rounded once: 53 bits are at least 2 x 24 + 2.
    exact = (scale == scale.astype(np.float32)) & (np.abs(scale) > 1e-6) & (np.abs(baseline) < 1 << 22)
    if not exact.all():
        return None
    return rows, baseline.astype(np.float32)[:, None], scale.astype(np.float32)[:, None]
