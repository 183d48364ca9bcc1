"""One ECG file of any accepted format becomes a Recording; the format is found from the content.

What a listed path names, and the hash of that, are here, too: of a WFDB record all files count.

Folders, uppermost first: arrays, vendor_xml, recording.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from echoingecg.common import DICOM_MARK, Refusal, hash_files, is_dicom
from echoingecg.ecg.decode import edf, scp, wfdb, wfdb_header
from echoingecg.ecg.decode.arrays import matrix, members, table
from echoingecg.ecg.decode.recording import Recording, Stated, read_whole
from echoingecg.ecg.decode.vendor_xml import aecg, cardiosoft_mortara, muse, philips, xml

__all__ = ["HEAD_BYTES", "binary_format", "content_hash", "decode", "entry_file", "source_files"]

# A DICOM file without preamble begins with an element of group 2 or 8, whose value is short.
_BARE_GROUPS = (b"\x02\0", b"\x08\0")
_BARE_REPRESENTATIONS = (b"UL", b"OB", b"UI", b"CS", b"DA", b"TM", b"SH", b"LO")
_MOST_BARE_BYTES = 64


def _starts_as_dicom(head: bytes) -> bool:
    """Whether the first 132 bytes of a file are those of DICOM, with a preamble or without."""
    if is_dicom(head) or head.startswith(DICOM_MARK):
        return True
    if len(head) < 8 or head[:2] not in _BARE_GROUPS or head[3]:  # group, and an element under 256
        return False
    length = int.from_bytes(head[4:8], "little")  # where no representation is written
    return head[4:6] in _BARE_REPRESENTATIONS or 0 < length <= _MOST_BARE_BYTES


def _decode_dicom(path: Path, stated: Stated) -> Recording:
    from echoingecg.ecg.decode import dicom  # pydicom: most exports hold no DICOM waveforms

    return dicom.decode_dicom(path, stated)


# By format: whether the first bytes are those of it, and the decoder of (path, stated).
_BINARY_FORMATS = {
    "NumPy": (lambda head: head.startswith(b"\x93NUMPY"), matrix.decode_npy),
    "EDF": (lambda head: head.startswith(edf.EDF_SIGNATURE), edf.decode_edf),
    "BDF": (lambda head: head.startswith(edf.BDF_SIGNATURE), edf.decode_edf),
    "SCP-ECG": (lambda head: head.startswith(b"SCPECG", 16), scp.decode_scp),
    "MATLAB": (lambda head: head.startswith(matrix.MATLAB_SIGNATURE), matrix.decode_mat),
    "DICOM": (_starts_as_dicom, _decode_dicom),
}
# By the document's root element: format, and the decoder of (root, stated).
_XML_FORMATS = {
    "RestingECG": ("GE MUSE", muse.decode_muse),
    "restingecgdata": ("Philips", philips.decode_philips),
    "AnnotatedECG": ("HL7 aECG", aecg.decode_aecg),
    "CardiologyXML": ("CardioSoft", cardiosoft_mortara.decode_cardiosoft),
    "ECG": ("Mortara", cardiosoft_mortara.decode_mortara),
}
HEAD_BYTES = 132  # of a file, that show its format


def decode(
    path: Path,
    stated_unit: str | None = None,
    stated_sampling_frequency: float | None = None,
    stated_leads: Sequence[str] | None = None,
) -> Recording:
    """Reads one ECG.

    Args:
        path: a file of one of the formats, a WFDB record with or without `.hea` or by its signal file, or an ECG in a
            file of many, as `members` names it.
        stated_unit: amplitude unit for a file that states none.
        stated_sampling_frequency: Hz, for a file that states none.
        stated_leads: the leads' names in stored order, for a file that names none.

    Raises:
        Refusal: the file is of no known format, damaged, or lacks a lead's name, a unit or a rate.
        OSError: the file cannot be read.
    """
    stated = Stated(stated_unit, stated_sampling_frequency, stated_leads)
    if (member := members.member_of(path)) is not None and member[0].is_file():
        name, recording = members.decode_member(*member, stated)
        return replace(recording, format=name)
    file_path = path if path.is_file() else path.with_name(path.name + wfdb_header.HEADER_SUFFIX)
    if not file_path.is_file():
        raise Refusal("missing_file", "the file is not there")
    file_path = wfdb_header.header_of_signals(file_path) or file_path
    name, recording = _decode(file_path, stated)
    return replace(recording, format=name)


def entry_file(path: Path) -> Path:
    """Returns the file to open first: `path` itself, or the header of the WFDB record of that name or signal file."""
    beside = path.with_name(path.name + wfdb_header.HEADER_SUFFIX)
    return wfdb_header.header_of_signals(path) or path if path.is_file() else beside


def content_hash(path: Path) -> str:
    """Returns the SHA-256 of what a listed path names: its files' bytes, or one ECG's values in a file of many.

    Raises:
        Refusal: the file of many lacks the ECG.
        OSError: a file cannot be read.
    """
    member = members.member_of(path)
    return hash_files(source_files(path)) if member is None else members.hash_member(*member)


def source_files(path: Path) -> list[Path]:
    """Returns all files of a listed path: the file itself, or a WFDB header and its signal files.

    Raises:
        OSError: a WFDB header cannot be read.
    """
    first = entry_file(path)
    return list(wfdb_header.files_of_record(first)) if first.suffix == wfdb_header.HEADER_SUFFIX else [first]


def binary_format(head: bytes) -> str:
    """Returns the name of the format whose signature the first HEAD_BYTES of a file have; empty for text and others."""
    return next((name for name, (is_of_format, _) in _BINARY_FORMATS.items() if is_of_format(head)), "")


def _decode(path: Path, stated: Stated) -> tuple[str, Recording]:
    """The name of the file's format, and what the file holds. A WFDB header has no signature, so it comes last."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if name := binary_format(head):
        return name, _BINARY_FORMATS[name][1](path, stated)
    if head.startswith(members.SIGNATURE):
        raise Refusal("unknown_format", "an HDF5 file of many ECGs, without unit, rate and leads: read it as an export")
    if xml.starts_as_xml(head):
        root = xml.parse_xml(read_whole(path))
        if (root_name := xml.local(root)) not in _XML_FORMATS:
            raise Refusal("unknown_format", "an XML document that is no MUSE, Philips, HL7, CardioSoft or Mortara ECG")
        name, decode_xml = _XML_FORMATS[root_name]
        return name, decode_xml(root, stated)
    try:
        header = wfdb_header.read_header(path)
    except Refusal as refusal:
        if path.suffix == wfdb_header.HEADER_SUFFIX or path.stat().st_size == 0:
            raise
        if table.is_table(path):
            return "table", table.decode_table(path, stated)
        detail = "none of the formats that are read here"
        if path.suffix in wfdb_header.SIGNAL_SUFFIXES:
            detail += "; the signals of a WFDB record need its header beside them"
        raise Refusal("unknown_format", detail) from refusal
    return "WFDB", wfdb.decode_wfdb(path, header, stated)
