"""Reads and checks the header of a multi-frame ultrasound DICOM file, before any pixel is decoded.

Only the attributes named here are parsed: names, dates and identifiers in the file are never read. Errors of the
parsers become refusals.
"""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader, FileIO
from pathlib import Path
from typing import Any

import cv2
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import _read_file_meta_info
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

from echoingecg.common import Refusal, is_dicom, silence_libraries
from echoingecg.teacher.decode.clip import Clip, Region, check_size

# What pydicom, Pillow and the codecs raise for damaged data.
_PARSE_ERRORS = (
    InvalidDicomError,
    AttributeError,
    BytesLengthException,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    OverflowError,
    RecursionError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    cv2.error,
    struct.error,
    zlib.error,
)


class WholeFile(BufferedReader):
    """An opened file. A read beyond its end allocates no memory for the missing bytes.

    Attributes:
        size: bytes.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(FileIO(path))
        self.size = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(self.size - self.tell(), 0)
        return super().read(left if size is None or size < 0 else min(size, left))


@contextmanager
def parsing(what: str) -> Iterator[None]:
    """Turns errors of a parser into a Refusal, and drops warnings, which may quote values of the file."""
    with silence_libraries(), refusing(what):
        yield


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Turns errors of a parser into a Refusal.

    Raises:
        Refusal: `unreadable`.
        OSError: an error of the disk, which has an errno; errors of a parser have none.
        MemoryError: OpenCV's, too, which has an error of its own.
    """
    try:
        yield
    except Refusal:
        raise
    except _PARSE_ERRORS as fault:
        if isinstance(fault, OSError) and fault.errno is not None:
            raise
        if isinstance(fault, cv2.error) and fault.code == cv2.Error.StsNoMem:
            raise MemoryError from fault
        raise Refusal("unreadable", f"{what} cannot be parsed ({type(fault).__name__})") from fault


_COLOURS = ("Red", "Green", "Blue")
_ATTRIBUTES = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "FrameTime",
    "FrameTimeVector",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "SequenceOfUltrasoundRegions",
    "SOPClassUID",
    "Modality",
    "ExtendedOffsetTable",
    *(f"{colour}PaletteColorLookupTable{part}" for colour in _COLOURS for part in ("Descriptor", "Data")),
)
_HEAD_BYTES = 132  # preamble and `DICM` (PS3.10, 7.1)
_ULTRASOUND = (
    uid.UltrasoundMultiFrameImageStorage,
    uid.UltrasoundImageStorage,
    "1.2.840.10008.5.1.4.1.1.3",  # both before 1998
    "1.2.840.10008.5.1.4.1.1.6",
)
_PIXEL_DATA_TAG = b"\xe0\x7f\x10\x00"  # little endian
_LONG_VRS = (b"OB", b"OW", b"UN")
_UNDEFINED_LENGTH = 0xFFFFFFFF
_SAMPLES_PER_PIXEL = {
    "MONOCHROME2": 1,
    "PALETTE COLOR": 1,
    "RGB": 3,
    "YBR_FULL": 3,
    "YBR_FULL_422": 3,
    "YBR_ICT": 3,
    "YBR_RCT": 3,
}


@dataclass(frozen=True)
class DicomClip(Clip):
    """A DICOM file whose header has been checked.

    Attributes:
        path: of the file.
        dataset: the parsed attributes, without pixels.
        transfer_syntax: encoding of the pixels.
        photometric: PhotometricInterpretation.
        pixels_offset: where the value of Pixel Data begins, bytes from the start of the file.
        pixels_length: length of that value, bytes; None where it is encapsulated.
    """

    path: Path
    dataset: Dataset
    transfer_syntax: UID
    photometric: str
    pixels_offset: int
    pixels_length: int | None

    @property
    def samples_per_pixel(self) -> int:
        return _SAMPLES_PER_PIXEL[self.photometric]

    @property
    def is_ultrasound(self) -> bool:
        return self.dataset.get("Modality") == "US" or self.dataset.get("SOPClassUID") in _ULTRASOUND


def read_dicom_header(path: Path) -> DicomClip:
    """Reads and checks the header; no pixel is read.

    Raises:
        Refusal: `unknown_format`, `unreadable`, `truncated`, `no_pixel_data`, `unsupported_pixels`.
        OSError: the bytes cannot be read from the disk.
    """
    with WholeFile(path) as file, parsing("the DICOM header"):
        if not is_dicom(file.read(_HEAD_BYTES)):
            raise Refusal("unknown_format", "no DICOM prefix")
        # A deflated file can unpack to a thousand times its size at once.
        if _read_file_meta_info(file).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            raise Refusal("unsupported_pixels", "deflated transfer syntax")
        file.seek(0)
        dataset = dcmread(file, stop_before_pixels=True, specific_tags=list(_ATTRIBUTES))
        length = _pixels_length(file, dataset.file_meta.TransferSyntaxUID)
        return _checked_clip(path, dataset, file.tell(), length)


def _pixels_length(file: WholeFile, syntax: UID) -> int | None:
    """Reads the head of Pixel Data (PS3.5, 7.1.2 and 7.1.3) and returns its length; None where that is undefined."""
    if syntax == ExplicitVRBigEndian:
        raise Refusal("unsupported_pixels", "big-endian transfer syntax")
    tag, head = file.read(4), file.read(4)
    if tag != _PIXEL_DATA_TAG:
        raise Refusal("no_pixel_data", "no pixel data element")
    # An implicit length is even, as values are padded: the letters of the VRs give odd numbers.
    if head[:2] in _LONG_VRS:
        head = file.read(4)
    if len(head) < 4:
        raise Refusal("truncated", "the file ends within its pixel data")
    length = int.from_bytes(head, "little")
    if not length:
        raise Refusal("no_pixel_data", "the pixel data element is empty")
    return None if length == _UNDEFINED_LENGTH else length


def _checked_clip(path: Path, dataset: Dataset, pixels_offset: int, pixels_length: int | None) -> DicomClip:
    syntax = dataset.file_meta.TransferSyntaxUID
    clip = DicomClip(
        frames=int(dataset.get("NumberOfFrames") or 1),
        height=int(dataset["Rows"].value),
        width=int(dataset["Columns"].value),
        regions=tuple(_regions(dataset.get("SequenceOfUltrasoundRegions") or ())),
        frame_rate=_frame_rate(dataset),
        path=path,
        dataset=dataset,
        transfer_syntax=syntax,
        photometric=str(dataset.get("PhotometricInterpretation", "")),
        pixels_offset=pixels_offset,
        pixels_length=pixels_length,
    )
    check_size(clip.frames, clip.height, clip.width)
    if clip.photometric not in _SAMPLES_PER_PIXEL:
        raise Refusal("unsupported_pixels", "photometric interpretation is none of " + ", ".join(_SAMPLES_PER_PIXEL))
    if dataset.get("SamplesPerPixel") != _SAMPLES_PER_PIXEL[clip.photometric]:
        raise Refusal("unsupported_pixels", f"samples per pixel do not fit {clip.photometric}")
    if (dataset.get("BitsAllocated"), dataset.get("PixelRepresentation")) != (8, 0):
        raise Refusal("unsupported_pixels", "pixels are not unsigned and of 8 bits")
    if syntax.is_valid and syntax.is_transfer_syntax and syntax.is_encapsulated != (pixels_length is None):
        raise Refusal("unreadable", "the transfer syntax and the form of the pixel data contradict each other")
    return clip


def _frame_rate(dataset: Dataset) -> float | None:
    """Frames per second from Frame Time, else Frame Time Vector, whose first value is no interval (PS3.3 C.7.6.5)."""
    increments = [float(value) for value in dataset.get("FrameTimeVector") or ()][1:]  # ms
    mean = float(dataset.get("FrameTime") or 0) or (sum(increments) / len(increments) if increments else 0)
    return 1000 / mean if mean > 0 else None


def _regions(items: Any) -> Iterator[Region]:
    for item in items:
        corners = [item.get(f"RegionLocation{name}") for name in ("MinX0", "MinY0", "MaxX1", "MaxY1")]
        if None not in corners and "RegionSpatialFormat" in item:
            left, top, right, bottom = (int(corner) for corner in corners)
            data_type = int(item.get("RegionDataType") or 0)
            yield Region(int(item.RegionSpatialFormat), left, top, right, bottom, data_type)
