"""DICOM pixels to RGB frames, only those asked for: read by seeking, decoded one after another.

Threads take whole clips (tasks/base/workers.py): threads for the frames of one would only wait for each other.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import cv2
import numpy as np
from pydicom.pixels import apply_color_lut
from pydicom.uid import JPEG2000, JPEG2000Lossless

from echoingecg.common import Refusal
from echoingecg.teacher.decode import codecs, dicom

_OF_JPEG_2000 = ("YBR_ICT", "YBR_RCT")

ToRgb = Callable[[np.ndarray], np.ndarray]


def decode_dicom_frames(clip: dicom.DicomClip, wanted: Sequence[int]) -> Iterator[np.ndarray]:
    """Decodes frames in their order; one is in memory.

    Args:
        clip: an opened file.
        wanted: frame numbers from 0, rising.

    Yields:
        uint8 (height, width, 3), RGB.

    Raises:
        Refusal: `truncated`, `unreadable`, `unsupported_pixels`.
        OSError: the disk cannot give the bytes.
    """
    _check_decodable(clip)
    to_rgb = _to_rgb(clip)
    streams = _streams if clip.pixels_length is None else _plain_streams
    with dicom.WholeFile(clip.path) as file:
        for stream in streams(file, clip, wanted):
            with dicom.refusing("a frame"):
                frame = to_rgb(codecs.CODECS[clip.transfer_syntax](stream, clip))
            yield frame


def _streams(file: dicom.WholeFile, clip: dicom.DicomClip, wanted: Sequence[int]) -> Iterator[bytes]:
    with dicom.parsing("the encapsulated pixel data"):
        frames = codecs.locate_frames(file, clip)
    return (codecs.read_parts(file, frames[index]) for index in wanted)


def _plain_streams(file: dicom.WholeFile, clip: dicom.DicomClip, wanted: Sequence[int]) -> Iterator[bytes]:
    assert clip.pixels_length is not None
    if clip.photometric == "YBR_FULL_422" and clip.width % 2:
        raise Refusal("unsupported_pixels", "YBR_FULL_422 of an odd width")
    samples = 2 if clip.photometric == "YBR_FULL_422" else int(clip.dataset.SamplesPerPixel)
    size = clip.height * clip.width * samples
    there, needed = file.size - clip.pixels_at, max(clip.frames * size, clip.pixels_length)
    if there < needed or clip.pixels_length < clip.frames * size:
        raise Refusal("truncated", f"{min(there, clip.pixels_length)} bytes of pixels, {needed} are stated")
    return (codecs.read_parts(file, [(clip.pixels_at + index * size, size)]) for index in wanted)


def _check_decodable(clip: dicom.DicomClip) -> None:
    syntax = clip.transfer_syntax
    if syntax not in codecs.CODECS:
        kind = syntax.keyword if syntax.is_transfer_syntax else "of an unknown kind"
        raise Refusal("unsupported_pixels", f"no decoder for transfer syntax {kind}")
    if clip.photometric in _OF_JPEG_2000 and syntax not in (JPEG2000, JPEG2000Lossless):
        raise Refusal("unsupported_pixels", f"{clip.photometric} in {syntax.keyword}")


def _to_rgb(clip: dicom.DicomClip) -> ToRgb:
    """How decoded samples of this file become RGB."""
    if clip.photometric == "PALETTE COLOR":
        with dicom.parsing("the palette"):
            return partial(np.take, _palette(clip), axis=0)
    if clip.photometric.startswith("YBR_FULL") and clip.transfer_syntax not in codecs.LOSSY_JPEG:
        return _from_ybr
    return _of_three


def _of_three(samples: np.ndarray) -> np.ndarray:
    return cv2.merge([samples] * 3) if samples.ndim == 2 else samples


def _from_ybr(samples: np.ndarray) -> np.ndarray:
    """YCbCr of JPEG, full range (PS3.3 C.7.6.3.1.2)."""
    return cv2.cvtColor(np.ascontiguousarray(samples[..., [0, 2, 1]]), cv2.COLOR_YCrCb2RGB)


def _palette(clip: dicom.DicomClip) -> np.ndarray:
    """uint8 (256, 3): the colour of each value (PS3.3 C.7.6.3.1.5)."""
    colours = apply_color_lut(np.arange(256, dtype=np.uint8), clip.dataset)
    sixteen_bits = int(clip.dataset.RedPaletteColorLookupTableDescriptor[2]) == 16
    return (colours >> 8 if sixteen_bits else colours).astype(np.uint8)
