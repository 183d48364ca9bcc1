"""Frames as streams of every encoding, and what comes back; most encoders are of other libraries than the decoders."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from jpeg_ls import encode_array
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.pixels.encoders import RLELosslessEncoder

from echoingecg.teacher.decode import decode_frames, read_header
from helpers.echo.ultrasound_files import jpeg

Encode = Callable[[np.ndarray], bytes]


def decoded(path: Path) -> np.ndarray:
    clip = read_header(path)
    return np.stack(list(decode_frames(clip, range(clip.frames)))).astype(int)


def rle(frame: np.ndarray) -> bytes:
    """By pydicom's own encoder; the decoder is another library's."""
    return RLELosslessEncoder.encode(
        frame.tobytes(),
        encoding_plugin="pydicom",
        rows=frame.shape[0],
        columns=frame.shape[1],
        samples_per_pixel=frame.size // (frame.shape[0] * frame.shape[1]),
        photometric_interpretation="RGB" if frame.ndim == 3 else "MONOCHROME2",
        bits_allocated=8,
        bits_stored=8,
        number_of_frames=1,
        pixel_representation=0,
        planar_configuration=0,
    )


def jpeg_ls(interleave: int, error: int = 0) -> Encode:
    def encode(frame: np.ndarray) -> bytes:
        planes = np.ascontiguousarray(np.moveaxis(frame, -1, 0)) if frame.ndim == 3 and interleave == 0 else frame
        lines = {"interleave_mode": interleave} if frame.ndim == 3 else {}
        return bytes(encode_array(planes, lossy_error=error, **lines))

    return encode


def jpeg_2000(**options: object) -> Encode:
    return lambda frame: jpeg(frame, "JPEG2000", no_jp2=True, **options)


def of_444(frame: np.ndarray) -> bytes:
    return jpeg(frame, quality=95, subsampling=0)


def extended(frame: np.ndarray) -> bytes:
    """Baseline's stream is a legal one of process 2, which has another start-of-frame marker."""
    return of_444(frame).replace(b"\xff\xc0", b"\xff\xc1", 1)


def fragments(count: int, table: str) -> Callable[[list[bytes]], dict[str, bytes]]:
    def encode(streams: list[bytes]) -> dict[str, bytes]:
        if table == "extended":
            pixels, offsets, lengths = encapsulate_extended(streams)
            return {"PixelData": pixels, "ExtendedOffsetTable": offsets, "ExtendedOffsetTableLengths": lengths}
        return {"PixelData": encapsulate(streams, fragments_per_frame=count, has_bot=table == "basic")}

    return encode
