"""Decoders: one encoded frame to samples, a function per transfer syntax.

Each checks the header of the encoded frame before it takes memory. Each returns uint8 (height, width) or
(height, width, 3), in the colours of PhotometricInterpretation; lossy JPEG and JPEG 2000 return RGB, as their decoders
convert. simplejpeg (libjpeg-turbo, MIT) decodes JPEG strictly: what the codec would only warn of is a refusal.
"""

from collections.abc import Callable
from functools import lru_cache
from io import BytesIO

import cv2
import numpy as np
import simplejpeg
from _CharLS import read_header as read_jpeg_ls_header
from jpeg_ls import decode_pixel_data as decode_jpeg_ls
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from pydicom import uid
from rle.rle import decode_frame as decode_rle

from echoingecg.common import Refusal
from echoingecg.teacher.decode.dicom import DicomClip

END_OF_IMAGE = b"\xff\xd9"  # of JPEG, JPEG-LS and JPEG 2000 alike
PADDING = 10  # bytes of any kind that may follow END_OF_IMAGE within its frame; zeros may be more
LOSSY_JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)
_LOSSLESS_JPEG = (uid.JPEGLossless, uid.JPEGLosslessSV1)
_START_OF_SCAN = b"\xff\xda"
_SEQUENTIAL, _LOSSLESS = (0xC0, 0xC1), (0xC3,)  # markers of a frame: Huffman, in one pass (ISO/IEC 10918-1, table B.1)
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_RGB_MARKER = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0"  # Adobe's, with transform 0: no YCbCr (ISO/IEC 10918-6, 6.5.3)
_HUFFMAN_TABLES = 0xC4
_HOLE = bytes(64)  # in coded data; the real clips at hand have up to 4 zero bytes in a row
_START_OF_IMAGE = b"\xff\xd8\xff"  # with the first byte of a marker
_NO_MARKER = "three components without a colour marker"
_JPEG_COLOURS = {
    "MONOCHROME2": ("grey",),
    "RGB": ("RGB", _NO_MARKER),
    "YBR_FULL": ("YCbCr", _NO_MARKER),
    "YBR_FULL_422": ("YCbCr", _NO_MARKER),
}


def _jpeg(stream: bytes, clip: DicomClip) -> np.ndarray:
    scan = stream.find(_START_OF_SCAN) + len(_START_OF_SCAN)
    header = stream[: scan + int.from_bytes(stream[scan : scan + 2])]
    size, components, colours, process = _jpeg_header(header)
    _check_end(stream)
    _check_header(clip, size, components)
    if _holds_another(stream, scan):
        raise Refusal("unreadable", "two images in the place of one frame: fewer frames are stated than stored")
    if process not in (_SEQUENTIAL if clip.transfer_syntax in LOSSY_JPEG else _LOSSLESS):
        raise Refusal(
            "unsupported_pixels", f"a JPEG stream of process {process:#x}, not {clip.transfer_syntax.keyword}"
        )
    if _HOLE in stream[scan:].rstrip(b"\0") and any(_codes_of_zeros(header)):
        raise Refusal("unreadable", f"{len(_HOLE)} zero bytes or more within the coded data, which no picture gives")
    if stream.count(_START_OF_SCAN, scan) >= components:
        raise Refusal("unreadable", f"more scans than the {components} components of the JPEG stream")
    if colours not in _JPEG_COLOURS.get(clip.photometric, ()):
        raise Refusal("unsupported_pixels", f"{clip.photometric} is stated, the JPEG stream holds {colours}")
    if (clip.photometric, colours) == ("RGB", _NO_MARKER) and clip.transfer_syntax in LOSSY_JPEG:
        # libjpeg would take it for YCbCr, as it takes a lossless stream without a marker for RGB: DICOM decides.
        stream = stream[:2] + _RGB_MARKER + stream[2:]
    try:
        return simplejpeg.decode_jpeg(stream, "RGB", strict=True)
    except ValueError as fault:
        raise Refusal("unreadable", f"the JPEG codec warns: {fault}") from fault


def _holds_another(stream: bytes, scan: int) -> bool:
    """Says whether an image begins where one ends, but for a byte of padding."""
    start = scan
    while (start := stream.find(_START_OF_IMAGE, start + 1)) >= 0:
        if stream.endswith((END_OF_IMAGE, END_OF_IMAGE + b"\0"), scan, start):
            return True
    return False


@lru_cache(maxsize=64)
def _jpeg_header(header: bytes) -> tuple[tuple[int, int], int, str, int]:
    """Reads (width, height), components, colours and process; cached, as most frames of a clip have the same header."""
    image = JpegImageFile(BytesIO(header))
    return image.size, len(image.layer), _jpeg_colours(image), _jpeg_process(header)


def _jpeg_process(header: bytes) -> int:
    """Reads the last byte of the frame's marker, 0xC0 for baseline; 0 if there is none, or more than one."""
    marker, processes = 2, []
    while marker + 4 <= len(header):
        if header[marker + 1] in _FRAME_MARKERS:
            processes.append(header[marker + 1])
        marker += 1 if header[marker + 1] == 0xFF else 2 + int.from_bytes(header[marker + 2 : marker + 4])
    return processes[0] if len(processes) == 1 else 0


def _codes_of_zeros(header: bytes) -> list[int]:
    """Reads what zero bits mean in each Huffman table: its first symbol (ISO/IEC 10918-1, annex C).

    If that is 0 in all of them, no difference and end of block, zeros are a flat area; otherwise a pattern without end.
    """
    marker, symbols = 2, []
    while marker + 4 <= len(header):
        end = marker + 2 + int.from_bytes(header[marker + 2 : marker + 4])
        table = marker + 4 if header[marker + 1] == _HUFFMAN_TABLES else end
        while table + 17 < min(end, len(header)):  # class and number, 16 counts by length, then the symbols
            symbols.append(header[table + 17])
            table += 17 + sum(header[table + 1 : table + 17])
        marker = marker + 1 if header[marker + 1] == 0xFF else end
    return symbols


def _jpeg_colours(image: JpegImageFile) -> str:
    """Finds the colours that libjpeg assumes: from JFIF, then Adobe's marker, then the component ids."""
    if len(image.layer) == 1:
        return "grey"
    if "jfif" in image.info:
        return "YCbCr"
    if "adobe_transform" in image.info:
        return "YCbCr" if image.info["adobe_transform"] else "RGB"
    return "RGB" if bytes(layer[0] for layer in image.layer) == b"RGB" else _NO_MARKER


def _jpeg_2000(stream: bytes, clip: DicomClip) -> np.ndarray:
    """Decodes to RGB: the decoder undoes the component transformation of YBR_ICT and YBR_RCT (PS3.3 C.7.6.3.1.2)."""
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
    return _as_image(samples, clip, by_plane)


def _rle(stream: bytes, clip: DicomClip) -> np.ndarray:
    planes = decode_rle(stream, clip.height * clip.width, 8, "<")
    return _as_image(planes, clip, by_plane=True)


def _plain(stream: bytes, clip: DicomClip) -> np.ndarray:
    if clip.photometric != "YBR_FULL_422":
        return _as_image(stream, clip, by_plane=bool(clip.dataset.get("PlanarConfiguration")))
    # Two luminances, then the blue and the red difference that both pixels share (PS3.3 C.7.6.3.1.2).
    pairs = np.frombuffer(stream, np.uint8).reshape(clip.height, clip.width // 2, 4)
    blue, red = (np.repeat(pairs[..., channel], 2, axis=1) for channel in (2, 3))
    return np.dstack([pairs[..., :2].reshape(clip.height, clip.width), blue, red])


CODECS: dict[uid.UID, Callable[[bytes, DicomClip], np.ndarray]] = {
    **dict.fromkeys((*LOSSY_JPEG, *_LOSSLESS_JPEG), _jpeg),
    uid.JPEGLSLossless: _jpeg_ls,
    uid.JPEGLSNearLossless: _jpeg_ls,
    uid.JPEG2000: _jpeg_2000,
    uid.JPEG2000Lossless: _jpeg_2000,
    uid.RLELossless: _rle,
    uid.ImplicitVRLittleEndian: _plain,
    uid.ExplicitVRLittleEndian: _plain,
}


def _as_image(samples: bytes, clip: DicomClip, by_plane: bool) -> np.ndarray:
    """Reshapes samples, by plane or by pixel, to (height, width[, 3]). Raises Refusal: `unreadable`."""
    count = clip.samples_per_pixel
    flat = np.frombuffer(samples, np.uint8)
    if flat.size != count * clip.height * clip.width:
        raise Refusal("unreadable", f"{flat.size} samples in a frame of {clip.width} x {clip.height} px")
    if count == 1:
        return flat.reshape(clip.height, clip.width)
    if by_plane:
        return cv2.merge(list(flat.reshape(count, clip.height, clip.width)))
    return flat.reshape(clip.height, clip.width, count)


def ends_image(tail: bytes) -> bool:
    """Says whether an image ends in these bytes, the last of a frame, but for padding."""
    return END_OF_IMAGE in tail[-PADDING:] or tail.rstrip(b"\0").endswith(END_OF_IMAGE)


def _check_end(stream: bytes) -> None:
    if not ends_image(stream):
        raise Refusal("truncated", "a frame has no end")


def _check_header(clip: DicomClip, size: tuple[int, int], components: int) -> None:
    if size != (clip.width, clip.height):
        raise Refusal("unreadable", f"a frame of {size}, the header states {(clip.width, clip.height)}")
    if components != clip.samples_per_pixel:
        raise Refusal("unsupported_pixels", f"{components} components in a frame of {clip.photometric}")
