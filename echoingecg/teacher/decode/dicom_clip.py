"""Multi-frame ultrasound DICOM: the header facts that a teacher needs, checked before a pixel is decoded.

Only the attributes named here are parsed: names, dates and identifiers of the file are never read.
"""

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from echoingecg.errors import Refusal

_ATTRIBUTES: Final = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "SequenceOfUltrasoundRegions",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "PixelData",
)
# A damaged header makes pydicom raise any of these; the bytes are in memory, so OSError is one of them.
PARSE_FAULTS: Final = (
    InvalidDicomError,
    AttributeError,
    BytesLengthException,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
_PREAMBLE: Final = 128
_PIXEL_DATA: Final = (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")  # the tag, little and big endian
_MAX_BYTES: Final = 1 << 31
_MAX_EDGE: Final = 4096  # px; ultrasound images are about 1000 px wide
_MAX_FRAMES: Final = 10_000  # over five minutes at 30 frames/s
_SAMPLES: Final = {
    "MONOCHROME2": 1,
    "RGB": 3,
    "YBR_FULL": 3,
    "YBR_FULL_422": 3,
    "YBR_ICT": 3,
    "YBR_RCT": 3,
}


@dataclass(frozen=True)
class Region:
    """One item of Sequence of Ultrasound Regions (DICOM PS3.3 C.8.5.5).

    Attributes:
        spatial_format: 1 two-dimensional, 2 M-mode, 3 spectral, 4 waveform, 5 graphics.
        left, top, right, bottom: px; right and bottom belong to the region.
    """

    spatial_format: int
    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True)
class DicomClip:
    """An ultrasound file whose header has been checked.

    Attributes:
        dataset: the parsed attributes, encoded pixels included.
        transfer_syntax: of the pixel encoding.
        photometric: PhotometricInterpretation.
        frames: NumberOfFrames, 1 where it is absent.
        height, width: px.
        regions: the stated ultrasound regions, in the file's order.
    """

    dataset: Dataset
    transfer_syntax: UID
    photometric: str
    frames: int
    height: int
    width: int
    regions: tuple[Region, ...]


@contextmanager
def parsing(what: str) -> Iterator[None]:
    """pydicom's faults become a Refusal, its warnings are dropped; both may quote the file's values.

    Raises:
        Refusal: `unreadable`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except Refusal:
            raise
        except PARSE_FAULTS as fault:
            raise Refusal("unreadable", f"{what} cannot be parsed ({type(fault).__name__})") from fault


def read_dicom_clip(path: Path) -> DicomClip:
    """Reads and checks the header; no pixel is decoded.

    Raises:
        Refusal: `unknown_format`, `unreadable`, `no_pixel_data`, `unsupported_pixels`.
        OSError: the disk cannot give the bytes.
    """
    if path.stat().st_size > _MAX_BYTES:
        raise Refusal("unreadable", f"larger than {_MAX_BYTES >> 30} GiB")
    content = path.read_bytes()
    if not content:
        raise Refusal("unreadable", "the file is empty")
    if content[_PREAMBLE : _PREAMBLE + 4] != b"DICM":
        raise Refusal("unknown_format", "no DICOM prefix")
    with parsing("the DICOM header"):
        # A deflated file can unpack to a thousand times its size, all at once.
        if read_file_meta_info(path).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            raise Refusal("unsupported_pixels", "deflated transfer syntax")
        dataset = dcmread(BytesIO(content), specific_tags=list(_ATTRIBUTES))
        if "PixelData" not in dataset:
            raise _without_pixels(content)
        return _checked(dataset)


def _without_pixels(content: bytes) -> Refusal:
    """pydicom drops pixel data that ends before its delimiter: look whether the element begins."""
    file = BytesIO(content)
    dcmread(file, stop_before_pixels=True, specific_tags=[])
    if file.read(4) in _PIXEL_DATA:
        return Refusal("truncated", "the file ends within its pixel data")
    return Refusal("no_pixel_data", "no pixel data element")


def _checked(dataset: Dataset) -> DicomClip:
    if not dataset.PixelData:
        raise Refusal("no_pixel_data", "the pixel data element is empty")
    clip = DicomClip(
        dataset=dataset,
        transfer_syntax=dataset.file_meta.TransferSyntaxUID,
        photometric=str(dataset.get("PhotometricInterpretation", "")),
        frames=int(dataset.get("NumberOfFrames") or 1),
        height=int(dataset["Rows"].value),
        width=int(dataset["Columns"].value),
        regions=tuple(_regions(dataset.get("SequenceOfUltrasoundRegions") or ())),
    )
    if not (0 < clip.height <= _MAX_EDGE and 0 < clip.width <= _MAX_EDGE):
        raise Refusal("unsupported_pixels", f"image of {clip.width} x {clip.height} px, limit {_MAX_EDGE} px an edge")
    if not 0 < clip.frames <= _MAX_FRAMES:
        raise Refusal("unreadable", f"{clip.frames} frames stated, limit {_MAX_FRAMES}")
    if clip.photometric not in _SAMPLES:
        raise Refusal("unsupported_pixels", "photometric interpretation is none of " + ", ".join(_SAMPLES))
    if dataset.get("SamplesPerPixel") != _SAMPLES[clip.photometric]:
        raise Refusal("unsupported_pixels", f"samples per pixel do not fit {clip.photometric}")
    if dataset.get("BitsAllocated") != 8:
        raise Refusal("unsupported_pixels", "pixels are not of 8 bits")
    return clip


def _regions(items: Any) -> Iterator[Region]:
    for item in items:
        corners = [item.get(f"RegionLocation{name}") for name in ("MinX0", "MinY0", "MaxX1", "MaxY1")]
        if None not in corners and "RegionSpatialFormat" in item:
            yield Region(int(item.RegionSpatialFormat), *(int(corner) for corner in corners))
