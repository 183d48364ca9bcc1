"""A small clip of every encoding that is read, for the tests that damage them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, RLELossless

from helpers.echo.echo_encoders import fragments, jpeg_2000, jpeg_ls, of_444, rle
from helpers.echo.ultrasound_files import WriteClip, video

SIZE = {"Rows": 48, "Columns": 64}

Write = Callable[[WriteClip, Path, np.ndarray], Path]


def _encoded(syntax: str, photometric: str, encode: Callable[[np.ndarray], bytes]) -> Write:
    facts = {**SIZE, "PhotometricInterpretation": photometric}
    return lambda write, _, frames: write([encode(frame) for frame in frames], syntax, **facts)


def _in_fragments(write: WriteClip, _: Path, frames: np.ndarray) -> Path:
    streams = [of_444(frame) for frame in frames]
    return write(streams, **SIZE, PhotometricInterpretation="YBR_FULL", **fragments(3, "none")(streams))


def _palette(write: WriteClip, _: Path, frames: np.ndarray) -> Path:
    facts: dict[str, object] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name in ("Red", "Green", "Blue"):
        facts[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 8]
        facts[f"{name}PaletteColorLookupTableData"] = bytes(range(256))
    return write(np.ascontiguousarray(frames[..., 0]), **facts)


FORMS: dict[str, Write] = {
    "uncompressed": lambda write, _, frames: write(frames, FrameTimeVector=[0] + [33.3] * 5),
    "palette": _palette,
    "rle": _encoded(RLELossless, "RGB", rle),
    "jpeg": _encoded(JPEGBaseline8Bit, "YBR_FULL", of_444),
    "fragments": _in_fragments,
    "jpeg-ls": _encoded(JPEGLSLossless, "RGB", jpeg_ls(2)),
    "jpeg 2000": _encoded(JPEG2000Lossless, "YBR_RCT", jpeg_2000(irreversible=False)),
    "avi": lambda _, folder, frames: video(folder / "clip.avi", frames, "MJPG"),
    "mp4": lambda _, folder, frames: video(folder / "clip.mp4", frames, "mp4v"),
}
