"""Files as Recordings: one module a format, chosen by content, not by name."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from echoingecg.common import Refusal, is_dicom
from echoingecg.ecg.decode import aecg, dicom, edf, muse, npy, philips, scp, wfdb, xml
from echoingecg.ecg.decode import edf as edf_signals
from echoingecg.ecg.decode import npy as npy_array
from echoingecg.ecg.decode import scp as scp_file
from echoingecg.ecg.decode.recording import Recording, read_whole

__all__ = ["decode"]

# What an XML document starts with, in the encodings it may have: `<` after any byte order mark and white space.
_XML = (b"<", b"\xef\xbb\xbf<", b"\xff\xfe<\0", b"\xfe\xff\0<", b"<\0", b"\0<")
_HEAD = 132  # bytes that tell a format


def decode(
    path: Path,
    stated_unit: str | None = None,
    stated_sampling_frequency: float | None = None,
    stated_leads: Sequence[str] | None = None,
) -> Recording:
    """Reads one ECG.

    Args:
        path: a file of one of the formats, or a WFDB record with or without `.hea`.
        stated_unit: amplitude unit for a file that states none.
        stated_sampling_frequency: Hz, for a file that states none.
        stated_leads: the leads' names in stored order, for an array, which names none.

    Raises:
        Refusal: the file is of no known format, damaged, or lacks a lead's name, a unit or a rate.
        OSError: the file cannot be read.
    """
    found = path if path.is_file() else path.with_name(path.name + wfdb.HEADER_SUFFIX)
    if not found.is_file():
        raise Refusal("missing_file", "the file is not there")
    with found.open("rb") as file:
        head = file.read(_HEAD)
    kind, recording = _decoded(found, head, stated_unit, stated_sampling_frequency, stated_leads)
    return replace(recording, format=kind)


def _decoded(
    path: Path, head: bytes, unit: str | None, sampling_frequency: float | None, leads: Sequence[str] | None
) -> tuple[str, Recording]:
    """What kind of file it is, and what it holds."""
    if is_dicom(head):
        return "DICOM", dicom.decode_dicom(path, unit, sampling_frequency)
    if head.startswith(npy_array.SIGNATURE):
        return "NumPy", npy.decode_npy(path, unit, sampling_frequency, leads)
    if head.startswith(edf_signals.SIGNATURE):
        return "EDF", edf.decode_edf(path, unit, sampling_frequency)
    if head[scp_file.SIGNATURE_AT :].startswith(scp_file.SIGNATURE):
        return "SCP-ECG", scp.decode_scp(path)
    if head.lstrip().startswith(_XML):
        return _decoded_xml(path, unit, sampling_frequency)
    try:
        header = wfdb.read_header(path)
    except Refusal as refusal:
        if path.suffix == wfdb.HEADER_SUFFIX or path.stat().st_size == 0:
            raise
        raise Refusal("unknown_format", "none of the formats that are read here") from refusal
    return "WFDB", wfdb.decode_wfdb(path, header, unit, sampling_frequency)


def _decoded_xml(path: Path, unit: str | None, sampling_frequency: float | None) -> tuple[str, Recording]:
    root = xml.parse_xml(read_whole(path))
    match xml.local(root):
        case "RestingECG":
            return "GE MUSE", muse.decode_muse(root, unit, sampling_frequency)
        case "restingecgdata":
            return "Philips", philips.decode_philips(root, sampling_frequency)
        case "AnnotatedECG":
            return "HL7 aECG", aecg.decode_aecg(root, unit, sampling_frequency)
        case _:
            raise Refusal("unknown_format", "an XML document that is no MUSE, Philips or HL7 ECG")
