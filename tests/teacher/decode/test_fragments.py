"""Encapsulated frames in pieces, with and without tables of offsets."""

import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, RLELossless

from echoingecg.common import Refusal
from helpers.echo.echo_encoders import Encode, decoded, fragments, jpeg_2000, jpeg_ls, of_444, rle
from helpers.echo.ultrasound_files import WriteClip


@pytest.mark.parametrize("count", [1, 3, 7])
@pytest.mark.parametrize("table", ["basic", "none"])
@pytest.mark.parametrize(
    ("syntax", "encode"), [(JPEGBaseline8Bit, of_444), (JPEGLSLossless, jpeg_ls(2)), (JPEG2000Lossless, jpeg_2000())]
)
def test_frames_in_fragments(
    write_clip: WriteClip, heart: np.ndarray, count: int, table: str, syntax: UID, encode: Encode
) -> None:
    streams = [encode(frame) for frame in heart]
    photometric = {JPEGBaseline8Bit: "YBR_FULL", JPEGLSLossless: "RGB", JPEG2000Lossless: "YBR_RCT"}[syntax]
    facts = {"Rows": 96, "Columns": 128, "PhotometricInterpretation": photometric}
    whole = decoded(write_clip(streams, syntax, **facts))
    parts = fragments(count, table)(streams)
    np.testing.assert_array_equal(decoded(write_clip(streams, syntax, **facts, **parts)), whole)


def test_extended_offset_table(write_clip: WriteClip, heart: np.ndarray) -> None:
    streams = [of_444(frame) for frame in heart]
    facts = {"Rows": 96, "Columns": 128, "PhotometricInterpretation": "YBR_FULL"}
    path = write_clip(streams, **facts, **fragments(1, "extended")(streams))
    np.testing.assert_array_equal(decoded(path), decoded(write_clip(streams, **facts)))


def test_an_offset_table_that_fits_no_fragment_is_refused(write_clip: WriteClip, heart: np.ndarray) -> None:
    streams = [of_444(frame) for frame in heart]
    pixels = bytearray(encapsulate(streams, fragments_per_frame=2))
    pixels[12] += 2  # the second frame's offset
    path = write_clip(streams, Rows=96, Columns=128, PixelData=bytes(pixels))
    with pytest.raises(Refusal, match="unreadable: the offset table"):
        decoded(path)


def test_rle_in_more_fragments_than_frames_is_refused(write_clip: WriteClip, heart: np.ndarray) -> None:
    streams = [rle(frame) for frame in heart]
    facts = {"Rows": 96, "Columns": 128, "PhotometricInterpretation": "RGB"}
    path = write_clip(streams, RLELossless, **facts, **fragments(2, "none")(streams))
    with pytest.raises(Refusal, match="unreadable: 12 RLE fragments"):
        decoded(path)
