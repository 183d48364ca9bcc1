"""Encoded DICOM pixels to RGB frames, only those asked for.

JPEG baseline, what echo machines write, is decoded by OpenCV: the same libjpeg-turbo as pydicom's
plug-ins, with the colour conversion in the decoder. Every other encoding goes through pydicom.
"""

from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Final

import cv2
import numpy as np
from PIL.JpegImagePlugin import JpegImageFile
from pydicom.encaps import generate_frames
from pydicom.pixels import get_decoder, iter_pixels
from pydicom.uid import JPEGBaseline8Bit

from echoingecg.errors import Refusal
from echoingecg.teacher.decode.dicom_clip import PARSE_FAULTS, DicomClip, parsing

_END_OF_IMAGE: Final = b"\xff\xd9"
_PADDING: Final = 10  # bytes that may follow the end of a JPEG stream within its frame
_FAMILY: Final = {"MONOCHROME2": "grey", "RGB": "RGB", "YBR_FULL": "YCbCr", "YBR_FULL_422": "YCbCr"}


def rgb_frames(clip: DicomClip, wanted: Sequence[int]) -> Iterator[np.ndarray]:
    """Decodes frames one at a time, so that one full-size frame is in memory.

    Args:
        clip: an opened file.
        wanted: frame numbers from 0, rising.

    Yields:
        uint8 (height, width, 3), RGB.

    Raises:
        Refusal: `truncated`, `unreadable`, `unsupported_pixels`.
    """
    return _jpeg_frames(clip, wanted) if clip.transfer_syntax == JPEGBaseline8Bit else _other_frames(clip, wanted)


def _jpeg_frames(clip: DicomClip, wanted: Sequence[int]) -> Iterator[np.ndarray]:
    if clip.photometric not in _FAMILY:
        raise Refusal("unsupported_pixels", f"{clip.photometric} in a JPEG stream")
    streams = _streams(clip)
    for index in wanted:
        _check_stream(streams[index], clip)
        frame = cv2.imdecode(
            np.frombuffer(streams[index], np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        )
        if frame is None:
            raise Refusal("unreadable", "a JPEG frame cannot be decoded")
        yield frame


def _streams(clip: DicomClip) -> list[bytes]:
    """The encoded frames. Raises Refusal unless there are as many whole ones as the header states."""
    dataset = clip.dataset
    extended = None
    with parsing("the encapsulated pixel data"):
        if "ExtendedOffsetTable" in dataset:
            extended = (dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths)
        try:
            streams = list(generate_frames(dataset.PixelData, number_of_frames=clip.frames, extended_offsets=extended))
        except ValueError as fault:  # fewer fragments than frames, or an item cut short
            raise Refusal("truncated", f"pixel data hold fewer than the {clip.frames} frames stated") from fault
    if len(streams) < clip.frames:
        raise Refusal("truncated", f"{len(streams)} of {clip.frames} stated frames are there")
    if len(streams) > clip.frames:
        raise Refusal("unreadable", f"{len(streams)} frames are there, {clip.frames} are stated")
    if any(_END_OF_IMAGE not in stream[-_PADDING:] for stream in streams):
        raise Refusal("truncated", "a JPEG frame has no end")
    return streams


def _check_stream(stream: bytes, clip: DicomClip) -> None:
    """Size and colour space of a JPEG stream against the header, before memory is taken for its pixels."""
    try:
        image = JpegImageFile(BytesIO(stream))
    except (SyntaxError, *PARSE_FAULTS) as fault:
        raise Refusal("unreadable", "a JPEG frame has no valid header") from fault
    if image.size != (clip.width, clip.height):
        raise Refusal("unreadable", f"a JPEG frame of {image.size}, the header states {(clip.width, clip.height)}")
    if (found := _colour_family(image)) != _FAMILY[clip.photometric]:
        raise Refusal("unsupported_pixels", f"{clip.photometric} is stated, the JPEG stream holds {found}")


def _colour_family(image: JpegImageFile) -> str:
    """What libjpeg takes the components for: JFIF, then Adobe's marker, then the component ids."""
    if len(image.layer) == 1:
        return "grey"
    if len(image.layer) != 3:
        return f"{len(image.layer)} components"
    if "jfif" in image.info:
        return "YCbCr"
    if "adobe_transform" in image.info:
        return "YCbCr" if image.info["adobe_transform"] else "RGB"
    return "RGB" if bytes(layer[0] for layer in image.layer) == b"RGB" else "YCbCr"


def _other_frames(clip: DicomClip, wanted: Sequence[int]) -> Iterator[np.ndarray]:
    _check_decodable(clip)
    decoded = iter_pixels(clip.dataset, indices=list(wanted), raw=False)
    for _ in wanted:
        with parsing("a frame"):
            try:
                frame = next(decoded)
            except (RuntimeError, StopIteration) as fault:  # a codec's fault
                raise Refusal("unreadable", "a frame cannot be decoded") from fault
        yield np.stack([frame] * 3, axis=-1) if frame.ndim == 2 else np.ascontiguousarray(frame)


def _check_decodable(clip: DicomClip) -> None:
    syntax = clip.transfer_syntax
    try:
        available = syntax.is_valid and get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if not available:
        raise Refusal("unsupported_pixels", f"no decoder for transfer syntax {syntax.keyword or 'of an unknown kind'}")
    if syntax.is_encapsulated:
        return
    samples = 2 if clip.photometric == "YBR_FULL_422" else clip.dataset.SamplesPerPixel
    needed = clip.frames * clip.height * clip.width * samples
    if len(clip.dataset.PixelData) < needed:
        raise Refusal("truncated", f"{len(clip.dataset.PixelData)} bytes of pixels, {needed} are stated")
