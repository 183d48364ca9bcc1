"""DICOM waveforms: 12-lead ECG (1.2.840.10008.5.1.4.1.1.9.1.1) and general ECG (...9.1.2) storage.

Sources: PS3.3 C.10.9 (Waveform Module), PS3.16 CID 3001 (ECG leads).
"""

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import nan
from pathlib import Path

import numpy as np
import pydicom
from pydicom import filereader
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import DeflatedExplicitVRLittleEndian

from echoingecg.common import DICOM_MARK, Refusal, silence_libraries
from echoingecg.ecg.decode.recording import MAX_BYTES, Recording, Stated, check_size, read_whole, stated_rate
from echoingecg.ecg.decode.recording.leads import LEAD_NUMBERS, canonical_lead, canonical_leads, without_leads

_TAGS = ["WaveformSequence", "WaveformAnnotationSequence"]  # names, birth dates and pixel data are not even parsed
_ENCODINGS = {
    (8, "SB"): "i1", (8, "UB"): "u1", (16, "SS"): "<i2", (16, "US"): "<u2", (32, "SL"): "<i4", (32, "UL"): "<u4",
}  # fmt: skip
# SCP-ECG (prEN 1064) 5.6.3-9-n and ISO/IEEE 11073-10102 2:n share the leads' numbers.
_LEAD_CODES = {f"{prefix}{number}": lead for prefix in ("5.6.3-9-", "2:") for number, lead in LEAD_NUMBERS.items()}
_RR_INTERVAL = "5.10.2.1-3"  # SCP-ECG's code, PS3.16 CID 3228
_MILLISECONDS_PER_MINUTE = 60_000
_END_RUNS = 50  # of a recording's length: what a run at one end must reach, 0.2 s of 10 s
# What pydicom, zlib and NumPy raise on damaged content.
_FAULTS = (
    InvalidDicomError,
    BytesLengthException, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, EOFError,
    NotImplementedError, RecursionError, struct.error, zlib.error,
)  # fmt: skip


def decode_dicom(path: Path, stated: Stated) -> Recording:
    """Reads the original multiplex group that has most of the leads, of equals the longest, and no median beat.

    Leads that are spread over several groups count as one where these have one rate, length and stated start.
    Channels that are none of the twelve leads are left out.

    Raises:
        Refusal: see data_contracts.quarantine.REASONS.
        OSError: the file cannot be read.
    """
    with _faults_refused():
        return _decode(path, stated)


def read_texts(path: Path, names: Sequence[str], sequence: str, element: str) -> tuple[dict[str, str], list[str]]:
    """Reads elements as text, in the file's character set; empty where the file does not have them.

    Args:
        path: of the file.
        names: keywords of elements.
        sequence, element: keywords of a sequence, and of an element of its items.

    Returns:
        Text of each of `names`; texts of the sequence's items, in order.

    Raises:
        Refusal: see data_contracts.quarantine.REASONS.
        OSError: the file cannot be read.
    """
    with _faults_refused(), silence_libraries(), pydicom.config.disable_value_validation():
        dataset = pydicom.dcmread(
            _in_memory(path), force=True, specific_tags=[*names, sequence, "SpecificCharacterSet"]
        )
        items = dataset.get(sequence) or []
        return {name: str(dataset.get(name) or "") for name in names}, [str(item.get(element) or "") for item in items]


def _in_memory(path: Path) -> io.BytesIO:
    """The file's content: a damaged length, read from a file on the disk, would ask for up to 4 GB of memory.

    A deflated file (PS3.5 A.5) is unpacked once to see that it is no larger than any file may be: pydicom has no limit.
    """
    file = io.BytesIO(read_whole(path).removeprefix(DICOM_MARK))
    filereader.read_preamble(file, force=True)
    meta = filereader._read_file_meta_info(file)  # leaves the file at the end of it, where pydicom unpacks from
    if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        if len(inflate.decompress(file.read(), MAX_BYTES)) == MAX_BYTES and not inflate.eof:
            raise Refusal("unreadable", f"deflated content of over {MAX_BYTES} bytes: no resting ECG")
    file.seek(0)
    return file


@contextmanager
def _faults_refused() -> Iterator[None]:
    try:
        yield
    except Refusal:
        raise
    except OSError as fault:
        if fault.errno is not None:  # the disk's fault; pydicom's own has no number
            raise
        raise Refusal("truncated", "the DICOM file ends within an element") from fault
    except _FAULTS as fault:
        raise Refusal("unreadable", f"pydicom fails with {type(fault).__name__}") from fault


def _decode(path: Path, stated: Stated) -> Recording:
    with silence_libraries(), pydicom.config.disable_value_validation():
        dataset = pydicom.dcmread(_in_memory(path), force=True, specific_tags=_TAGS)
        groups = [_group(item) for item in dataset.get("WaveformSequence") or []]
        if not groups:
            raise Refusal("unknown_format", "the DICOM file holds no waveform")
        if dataset.original_encoding[1] is False:
            raise Refusal("unknown_format", "a big-endian DICOM waveform")
        chosen = max(_together(groups), key=_preference)
        rate = chosen[0].item.get("SamplingFrequency")
        frequency = stated.frequency(None if rate is None else float(rate))
        signals: list[np.ndarray] = []
        names: list[str] = []
        for group in chosen:
            stored = _stored(group.item)
            if len(group.names) != stored.shape[1]:
                raise Refusal("unreadable", f"{stored.shape[1]} channels, {len(group.names)} of them defined")
            for row in group.rows:
                signals.append(_millivolts(stored[:, row], group.item.ChannelDefinitionSequence[row], stated))
                names.append(group.names[row])
        if not signals:
            raise without_leads([name for group in groups for name in group.names])
        signal = _without_padded_ends(np.stack(signals))
        rate = _heart_rate(dataset)
        return Recording(signal, tuple(names), frequency, others=chosen[0].others, heart_rate=rate)


def _heart_rate(dataset: Dataset) -> float:
    """1/min, of the first mean RR interval in ms that an annotation states; NaN where none does."""
    for note in dataset.get("WaveformAnnotationSequence") or []:
        codes, units = note.get("ConceptNameCodeSequence"), note.get("MeasurementUnitsCodeSequence")
        if codes and codes[0].get("CodeValue") == _RR_INTERVAL and units and units[0].get("CodeValue") == "ms":
            interval = stated_rate(str(note.get("NumericValue") or ""))
            return _MILLISECONDS_PER_MINUTE / interval
    return nan


@dataclass(frozen=True)
class _Group:
    """A multiplex group, the names of its channels, and the channels that are leads.

    Attributes:
        rank: original before derived, rhythm before median beat.
        timing: rate, samples and start in ms; None for what is not stated.
    """

    item: Dataset
    names: tuple[str, ...]
    rows: tuple[int, ...]
    rank: tuple[bool, bool]
    timing: tuple[float | None, float | None, float | None]

    @property
    def leads(self) -> list[str]:
        names = canonical_leads(self.names)
        return [names[row] or "" for row in self.rows]

    @property
    def others(self) -> tuple[str, ...]:
        return tuple(name for row, name in enumerate(self.names) if row not in self.rows)


def _group(item: Dataset) -> _Group:
    names = tuple(_name(channel) for channel in item.get("ChannelDefinitionSequence") or [])
    rows = tuple(row for row, lead in enumerate(canonical_leads(names)) if lead is not None)
    original = str(item.get("WaveformOriginality", "")).upper() != "DERIVED"
    beat = "MEDIAN" in str(item.get("MultiplexGroupLabel", "")).upper()
    elements = ("SamplingFrequency", "NumberOfWaveformSamples", "MultiplexGroupTimeOffset")
    rate, samples, start = (None if (value := item.get(name)) in (None, "") else float(value) for name in elements)
    return _Group(item, names, rows, (original, not beat), (rate, samples, start))


def _together(groups: Sequence[_Group]) -> list[list[_Group]]:
    """Each group alone, and those together that share rank, rate, length and a stated start, and no lead."""
    sets = [[group] for group in groups]
    shared: dict[tuple[object, ...], list[_Group]] = {}
    for group in groups:
        if group.rows and group.timing[2] is not None:
            shared.setdefault((group.rank, group.timing), []).append(group)
    for parts in shared.values():
        leads = [lead for group in parts for lead in group.leads]
        if len(parts) > 1 and len(set(leads)) == len(leads):
            sets.append(parts)
    return sets


def _preference(groups: Sequence[_Group]) -> tuple[tuple[bool, bool], int, float]:
    """Sort key, the best greatest: the rank, then most leads, then the longest."""
    rate, samples, _ = groups[0].timing
    return groups[0].rank, len({lead for group in groups for lead in group.leads}), (samples or 0) / (rate or 1)


def _stored(group: Dataset) -> np.ndarray:
    """The stored values, float64 (time, channel), NaN where padded."""
    samples, channels = int(group.NumberOfWaveformSamples), int(group.NumberOfWaveformChannels)
    encoding = (int(group.WaveformBitsAllocated), str(group.WaveformSampleInterpretation))
    if encoding not in _ENCODINGS:
        raise Refusal("unknown_format", "a waveform encoding that is not linear integers")
    dtype = np.dtype(_ENCODINGS[encoding])
    check_size(channels, samples)
    data = bytes(group.get("WaveformData") or b"")
    promised = samples * channels * dtype.itemsize
    if len(data) < promised:
        raise Refusal("truncated", f"{promised} bytes of waveform promised, {len(data)} held")
    if promised == 0:
        raise Refusal("unreadable", "a waveform without samples")
    stored = np.frombuffer(data[:promised], dtype).reshape(samples, channels)
    values = stored.astype(np.float64)
    padding = group.get("WaveformPaddingValue")
    if isinstance(padding, bytes) and len(padding) >= dtype.itemsize:
        values[_padded(stored, np.frombuffer(padding[: dtype.itemsize], dtype)[0])] = np.nan
    elif isinstance(padding, int):
        values[_padded(stored, np.array(padding).astype(dtype))] = np.nan
    return values


def _padded(stored: np.ndarray, padding: np.ndarray | np.generic) -> np.ndarray:
    """Which stored values are padding, bool (time, channel).

    A padding value far from all others of a channel marks gaps wherever it stands. One that the channel can take counts
    at the ends alone: in frames that hold nothing else, and in runs longer than a lead stays at one value.
    """
    is_padding = stored == padding
    at_ends = is_padding & _ends(is_padding.all(axis=1))[:, None]
    shortest = max(2, stored.shape[0] // _END_RUNS)
    for channel, chosen in enumerate(is_padding.T):
        others = stored[~chosen, channel].astype(np.float64)
        if not len(others):
            at_ends[:, channel] = True
            continue
        apart = max(others.min() - float(padding), float(padding) - others.max())
        if apart > others.max() - others.min():
            at_ends[:, channel] = chosen
            continue
        run = _ends(chosen)
        first = int(np.argmin(run))
        last = len(run) - int(np.argmin(run[::-1]))
        at_ends[:first, channel] |= first >= shortest
        at_ends[last:, channel] |= len(run) - last >= shortest
    return at_ends


def _ends(chosen: np.ndarray) -> np.ndarray:
    """The runs of True at both ends of bool (time,)."""
    forward, backward = np.logical_and.accumulate(chosen), np.logical_and.accumulate(chosen[::-1])[::-1]
    return np.asarray(forward | backward)


def _without_padded_ends(signal: np.ndarray) -> np.ndarray:
    """Returns (lead, time) without the frames at both ends that are padding in every lead."""
    held = np.flatnonzero(~np.isnan(signal).all(axis=0))
    return signal[:, held[0] : held[-1] + 1] if len(held) else signal


def _name(channel: Dataset) -> str:
    """The lead's name: by code, else by the label, else by the code's meaning; what is there when it is no lead."""
    sources = channel.get("ChannelSourceSequence") or [Dataset()]
    code, meaning = str(sources[0].get("CodeValue", "")), str(sources[0].get("CodeMeaning", ""))
    if code in _LEAD_CODES:
        return _LEAD_CODES[code]
    spellings = (code, str(channel.get("ChannelLabel", "")), meaning)
    return next(filter(canonical_lead, spellings), spellings[1] or meaning)


def _millivolts(stored: np.ndarray, channel: Dataset, stated: Stated) -> np.ndarray:
    """The lead, float64 (time,), mV: stored value x sensitivity x correction + baseline, in the channel's unit."""
    sensitivity = channel.get("ChannelSensitivity")
    if not sensitivity:
        raise Refusal("missing_units", "a channel's sensitivity is 0 or not stated")
    units = channel.get("ChannelSensitivityUnitsSequence") or [Dataset()]
    per_millivolt = stated.units_per_millivolt(str(units[0].get("CodeValue", "")))
    gain = float(sensitivity) * float(channel.get("ChannelSensitivityCorrectionFactor") or 1.0)
    return (stored * gain + float(channel.get("ChannelBaseline") or 0.0)) / per_millivolt
