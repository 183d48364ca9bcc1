"""Files as Recordings: one module a format, chosen by content, not by name."""

from pathlib import Path

from echoingecg.ecg.decode.dicom_waveform import decode_dicom, is_dicom
from echoingecg.ecg.decode.wfdb_record import decode_wfdb
from echoingecg.ecg.recording import Recording
from echoingecg.ecg.wfdb_header import SUFFIX, read_header
from echoingecg.errors import Refusal

__all__ = ["decode"]


def decode(path: Path, stated_unit: str | None = None, stated_sampling_frequency: float | None = None) -> Recording:
    """Reads one ECG.

    Args:
        path: a DICOM file, or a WFDB record with or without `.hea`.
        stated_unit: amplitude unit for a file that states none.
        stated_sampling_frequency: Hz, for a file that states none.

    Raises:
        Refusal: the file is of no known format, damaged, or lacks a lead's name, a unit or a rate.
        OSError: the file cannot be read.
    """
    header_path = path if path.is_file() else path.with_name(path.name + SUFFIX)
    if not header_path.is_file():
        raise Refusal("missing_file", "the file is not there")
    if is_dicom(header_path):
        return decode_dicom(header_path, stated_unit, stated_sampling_frequency)
    try:
        header = read_header(header_path)
    except Refusal as refusal:
        if header_path.suffix == SUFFIX or header_path.stat().st_size == 0:
            raise
        raise Refusal("unknown_format", "neither DICOM nor a WFDB header") from refusal
    return decode_wfdb(header_path, header, stated_unit, stated_sampling_frequency)
