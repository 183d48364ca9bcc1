"""DICOM waveforms: 12-lead ECG (1.2.840.10008.5.1.4.1.1.9.1.1) and general ECG (...9.1.2) storage.

Sources: PS3.3 C.10.9 (Waveform Module), PS3.16 CID 3001 (ECG leads).
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError

from echoingecg.common import Refusal, silence_libraries
from echoingecg.ecg.decode.recording import Recording, Stated, check_size
from echoingecg.ecg.decode.recording.leads import LEAD_NUMBERS, canonical_lead

_TAGS = ["WaveformSequence"]  # names, birth dates and pixel data are not even parsed
_ENCODINGS = {
    (8, "SB"): "i1", (8, "UB"): "u1", (16, "SS"): "<i2", (16, "US"): "<u2", (32, "SL"): "<i4", (32, "UL"): "<u4",
}  # fmt: skip
# SCP-ECG (prEN 1064) 5.6.3-9-n and ISO/IEEE 11073-10102 2:n share the leads' numbers.
_LEAD_CODES = {f"{prefix}{number}": lead for prefix in ("5.6.3-9-", "2:") for number, lead in LEAD_NUMBERS.items()}
# What pydicom, zlib and NumPy raise on damaged content.
_FAULTS = (
    InvalidDicomError,
    BytesLengthException, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, EOFError,
    NotImplementedError, RecursionError, struct.error, zlib.error,
)  # fmt: skip


def decode_dicom(path: Path, stated: Stated) -> Recording:
    """Reads the longest original multiplex group, which is the rhythm and not the median beat.

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
        dataset = pydicom.dcmread(path, specific_tags=[*names, sequence, "SpecificCharacterSet"])
        items = dataset.get(sequence) or []
        return {name: str(dataset.get(name) or "") for name in names}, [str(item.get(element) or "") for item in items]


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
        dataset = pydicom.dcmread(path, specific_tags=_TAGS)
        groups = list(dataset.get("WaveformSequence") or [])
        if not groups:
            raise Refusal("unknown_format", "the DICOM file holds no waveform")
        if dataset.original_encoding[1] is False:
            raise Refusal("unknown_format", "a big-endian DICOM waveform")
        group = max(groups, key=_preference)
        rate = group.get("SamplingFrequency")
        frequency = stated.frequency(None if rate is None else float(rate))
        stored = _stored(group)
        channels = list(group.get("ChannelDefinitionSequence") or [])
        if len(channels) != stored.shape[1]:
            raise Refusal("unreadable", f"{stored.shape[1]} channels, {len(channels)} of them defined")
        named = [(row, name) for row, channel in enumerate(channels) if (name := _lead(channel)) is not None]
        if not named:
            raise Refusal("missing_leads", "no channel has the name of a lead")
        signal = np.stack([_millivolts(stored[:, row], channels[row], stated) for row, _ in named])
        return Recording(signal, tuple(name for _, name in named), frequency)


def _preference(group: Dataset) -> tuple[bool, bool, float]:
    """Sort key, the best group greatest: original before derived, rhythm before median beat, then the longest."""
    original = str(group.get("WaveformOriginality", "")).upper() != "DERIVED"
    beat = "MEDIAN" in str(group.get("MultiplexGroupLabel", "")).upper()
    samples, frequency = group.get("NumberOfWaveformSamples"), group.get("SamplingFrequency")
    return original, not beat, float(samples or 0) / float(frequency or 1)


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
    if padding is not None:
        values[stored == np.frombuffer(bytes(padding)[: dtype.itemsize], dtype)[0]] = np.nan
    return values


def _lead(channel: Dataset) -> str | None:
    """The lead's name: by code, else by the label, else by the code's meaning; None when it is no lead."""
    sources = channel.get("ChannelSourceSequence") or [Dataset()]
    code, meaning = str(sources[0].get("CodeValue", "")), str(sources[0].get("CodeMeaning", ""))
    if code in _LEAD_CODES:
        return _LEAD_CODES[code]
    return next((name for name in (code, str(channel.get("ChannelLabel", "")), meaning) if canonical_lead(name)), None)


def _millivolts(stored: np.ndarray, channel: Dataset, stated: Stated) -> np.ndarray:
    """The lead, float64 (time,), mV: stored value x sensitivity x correction + baseline, in the channel's unit."""
    sensitivity = channel.get("ChannelSensitivity")
    if not sensitivity:
        raise Refusal("missing_units", "a channel's sensitivity is 0 or not stated")
    units = channel.get("ChannelSensitivityUnitsSequence") or [Dataset()]
    per_millivolt = stated.units_per_millivolt(str(units[0].get("CodeValue", "")))
    gain = float(sensitivity) * float(channel.get("ChannelSensitivityCorrectionFactor") or 1.0)
    return (stored * gain + float(channel.get("ChannelBaseline") or 0.0)) / per_millivolt
