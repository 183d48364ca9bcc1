"""One encoded frame to samples, a function a transfer syntax; its own header is checked before memory is taken.

Each returns uint8 (height, width) or (height, width, 3), in the colours of PhotometricInterpretation; those of lossy
JPEG and of JPEG 2000 are RGB, as their decoders convert. JPEG goes through OpenCV, that is libjpeg-turbo.

Where the frames of encapsulated pixel data lie in a file (DICOM PS3.5 A.4): found without reading them.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from io import BytesIO
from itertools import accumulate

import cv2
import numpy as np
from _CharLS import read_header as read_jpeg_ls_header
from jpeg_ls import decode_pixel_data as decode_jpeg_ls
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from rle.rle import decode_frame as decode_rle

from echoingecg.common import Refusal
from echoingecg.teacher.decode.dicom import DicomClip, WholeFile

END_OF_IMAGE = b"\xff\xd9"  # of JPEG, JPEG-LS and JPEG 2000 alike
PADDING = 10  # bytes that may follow it within its frame
_ITEM = b"\xfe\xff\x00\xe0"
_END = b"\xfe\xff\xdd\xe0"
_HEAD = 8  # tag and length of an item
_MAX_FRAGMENTS = 256  # a frame, on average

Part = tuple[int, int]  # offset in the file, length; bytes


def locate_frames(file: WholeFile, clip: DicomClip) -> list[list[Part]]:
    """The fragments of each frame.

    As many fragments as frames are one each. Else an offset table tells (the extended one first), and without one
    the end-of-image marker at the end of a fragment.

    Raises:
        Refusal: `truncated`, `unreadable`.
        OSError: the disk cannot give the bytes.
    """
    table, *fragments = _items(file, clip.pixels_at, _MAX_FRAGMENTS * clip.frames + 1)
    if len(fragments) < clip.frames:
        raise Refusal("truncated", f"{len(fragments)} fragments for the {clip.frames} frames stated")
    if len(fragments) == clip.frames:
        return [[one] for one in fragments]
    if clip.frames == 1:
        return [fragments]
    starts = _offsets(file, table, clip) or _offsets_by_marker(file, fragments, clip)
    frames = _split(fragments, starts)
    if len(frames) != clip.frames:
        raise Refusal("unreadable", f"{len(frames)} frames are there, {clip.frames} are stated")
    return frames


def read_parts(file: WholeFile, parts: Sequence[Part]) -> bytes:
    """One encoded frame. Raises OSError: the disk cannot give the bytes."""
    chunks = []
    for at, length in parts:
        file.seek(at)
        chunks.append(file.read(length))
    return b"".join(chunks)


def _items(file: WholeFile, at: int, limit: int) -> Iterator[Part]:
    for _ in range(limit):
        file.seek(at)
        head = file.read(_HEAD)
        if head[:4] == _END:
            return
        if head[:4] != _ITEM and len(head) == _HEAD:
            raise Refusal("unreadable", "the pixel data are no sequence of items")
        length = int.from_bytes(head[4:], "little")
        if len(head) < _HEAD or at + _HEAD + length > file.size:
            raise Refusal("truncated", "the file ends within its pixel data")
        yield at + _HEAD, length
        at += _HEAD + length
    raise Refusal("unreadable", f"over {_MAX_FRAGMENTS} fragments a frame")


def _offsets(file: WholeFile, table: Part, clip: DicomClip) -> list[int]:
    """Of each frame's first item from the first fragment's item, bytes; empty where no table tells."""
    if extended := clip.dataset.get("ExtendedOffsetTable"):
        return [offset for (offset,) in struct.iter_unpack("<Q", extended)]
    return [offset for (offset,) in struct.iter_unpack("<L", read_parts(file, [table]))]


def _offsets_by_marker(file: WholeFile, fragments: Sequence[Part], clip: DicomClip) -> list[int]:
    """The same, where a frame begins after a fragment that holds the end of an image."""
    if clip.transfer_syntax == RLELossless:  # a frame is one fragment (PS3.5 A.4.2), and nothing marks its end
        raise Refusal("unreadable", f"{len(fragments)} RLE fragments for {clip.frames} frames")
    starts, last = [0], 0
    for at, length in fragments:
        tail = read_parts(file, [(at + max(length - PADDING, 0), min(length, PADDING))])
        last = at + length - (fragments[0][0] - _HEAD)
        if END_OF_IMAGE in tail:
            starts.append(last)
    if starts[-1] != last:
        raise Refusal("truncated", "the last frame has no end")
    return starts[:-1]


def _split(fragments: Sequence[Part], starts: Sequence[int]) -> list[list[Part]]:
    """Fragments by frame. Raises Refusal: `unreadable` where a frame starts at no fragment."""
    lengths = (_HEAD + length for _, length in fragments)
    places = {offset: index for index, offset in enumerate(accumulate(lengths, initial=0))}
    firsts = [places.get(start, len(fragments)) for start in starts]
    if firsts[0] != 0 or firsts != sorted(set(firsts)) or firsts[-1] >= len(fragments):
        raise Refusal("unreadable", "the offset table does not fit the fragments")
    return [list(fragments[first:end]) for first, end in zip(firsts, [*firsts[1:], len(fragments)], strict=True)]


LOSSY_JPEG = (JPEGBaseline8Bit, JPEGExtended12Bit)
_LOSSLESS_JPEG = (JPEGLossless, JPEGLosslessSV1)
_START_OF_SCAN = b"\xff\xda"
_UNMARKED = "three components without a colour marker"
_FAMILIES = {
    "MONOCHROME2": ("grey",),
    "RGB": ("RGB", _UNMARKED),
    "YBR_FULL": ("YCbCr", _UNMARKED),
    "YBR_FULL_422": ("YCbCr", _UNMARKED),
}


def _jpeg(stream: bytes, clip: DicomClip) -> np.ndarray:
    scan = stream.find(_START_OF_SCAN) + len(_START_OF_SCAN)
    size, components, family = _jpeg_header(stream[: scan + int.from_bytes(stream[scan : scan + 2])])
    _check_end(stream)
    _check_header(clip, size, components)
    if family not in _FAMILIES.get(clip.photometric, ()):
        raise Refusal("unsupported_pixels", f"{clip.photometric} is stated, the JPEG stream holds {family}")
    if (clip.photometric, family) == ("RGB", _UNMARKED) and clip.transfer_syntax in LOSSY_JPEG:
        # libjpeg would take it for YCbCr, as it takes an unmarked lossless stream for RGB: DICOM's word decides.
        image = JpegImageFile(BytesIO(stream))
        image.draft("YCbCr", None)
        return np.asarray(image)
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    frame = cv2.imdecode(np.frombuffer(stream, np.uint8), flags)
    if frame is None:
        raise Refusal("unreadable", "a JPEG frame cannot be decoded")
    return frame


@lru_cache(maxsize=64)
def _jpeg_header(header: bytes) -> tuple[tuple[int, int], int, str]:
    """(width, height), components and colour family; remembered, as most frames of a clip have one header."""
    image = JpegImageFile(BytesIO(header))
    return image.size, len(image.layer), _colour_family(image)


def _colour_family(image: JpegImageFile) -> str:
    """What libjpeg takes the components for: JFIF, then Adobe's marker, then the component ids."""
    if len(image.layer) == 1:
        return "grey"
    if "jfif" in image.info:
        return "YCbCr"
    if "adobe_transform" in image.info:
        return "YCbCr" if image.info["adobe_transform"] else "RGB"
    return "RGB" if bytes(layer[0] for layer in image.layer) == b"RGB" else _UNMARKED


def _jpeg_2000(stream: bytes, clip: DicomClip) -> np.ndarray:
    """The decoder undoes the multiple component transformation that YBR_ICT and YBR_RCT name (PS3.3 C.7.6.3.1.2)."""
    image = Jpeg2KImageFile(BytesIO(stream))
    _check_end(stream)
    _check_header(clip, image.size, {"L": 1, "RGB": 3}.get(image.mode, 0))
    return np.asarray(image)


def _jpeg_ls(stream: bytes, clip: DicomClip) -> np.ndarray:
    _check_end(stream)
    header = read_jpeg_ls_header(stream)
    _check_header(clip, (header["width"], header["height"]), header["components"])
    if header["bits_per_sample"] > 8:
        raise Refusal("unsupported_pixels", "pixels are not of 8 bits")
    samples, header = decode_jpeg_ls(stream)
    by_plane = header["components"] > 1 and header["interleave_mode"] == 0
    return _shaped(samples, clip, by_plane)


def _rle(stream: bytes, clip: DicomClip) -> np.ndarray:
    planes = decode_rle(stream, clip.height * clip.width, 8, "<")
    return _shaped(planes, clip, by_plane=True)


def _plain(stream: bytes, clip: DicomClip) -> np.ndarray:
    if clip.photometric != "YBR_FULL_422":
        return _shaped(stream, clip, by_plane=bool(clip.dataset.get("PlanarConfiguration")))
    # Two luminances, then the blue and the red difference that both pixels share (PS3.3 C.7.6.3.1.2).
    pairs = np.frombuffer(stream, np.uint8).reshape(clip.height, clip.width // 2, 4)
    blue, red = (np.repeat(pairs[..., at], 2, axis=1) for at in (2, 3))
    return np.dstack([pairs[..., :2].reshape(clip.height, clip.width), blue, red])


CODECS: dict[UID, Callable[[bytes, DicomClip], np.ndarray]] = {
    **dict.fromkeys((*LOSSY_JPEG, *_LOSSLESS_JPEG), _jpeg),
    JPEGLSLossless: _jpeg_ls,
    JPEGLSNearLossless: _jpeg_ls,
    JPEG2000: _jpeg_2000,
    JPEG2000Lossless: _jpeg_2000,
    RLELossless: _rle,
    ImplicitVRLittleEndian: _plain,
    ExplicitVRLittleEndian: _plain,
}


def _shaped(samples: bytes, clip: DicomClip, by_plane: bool) -> np.ndarray:
    """Samples as (height, width[, 3]), one plane after another or pixel by pixel. Raises Refusal: `unreadable`."""
    count = int(clip.dataset.SamplesPerPixel)
    flat = np.frombuffer(samples, np.uint8)
    if flat.size != count * clip.height * clip.width:
        raise Refusal("unreadable", f"{flat.size} samples in a frame of {clip.width} x {clip.height} px")
    if count == 1:
        return flat.reshape(clip.height, clip.width)
    if by_plane:
        return cv2.merge(list(flat.reshape(count, clip.height, clip.width)))
    return flat.reshape(clip.height, clip.width, count)


def _check_end(stream: bytes) -> None:
    if END_OF_IMAGE not in stream[-PADDING:]:
        raise Refusal("truncated", "a frame has no end")


def _check_header(clip: DicomClip, size: tuple[int, int], components: int) -> None:
    if size != (clip.width, clip.height):
        raise Refusal("unreadable", f"a frame of {size}, the header states {(clip.width, clip.height)}")
    if components != clip.dataset.SamplesPerPixel:
        raise Refusal("unsupported_pixels", f"{components} components in a frame of {clip.photometric}")
