"""One real clip in every encoding, most written by other libraries than those that read it; files of other writers."""

from io import BytesIO

import cv2
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import generate_frames
from pydicom.pixels import convert_color_space, pixel_array
from pydicom.uid import (
    JPEG2000,
    UID,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from echoingecg.common import Refusal
from echoingecg.teacher.decode import decode_frames, read_header
from helpers.echo.echo_encoders import Encode, decoded, extended, jpeg_2000, jpeg_ls, of_444, rle
from helpers.echo.ultrasound_files import PACKAGED, WriteClip, jpeg

# The encoding, its encoder, what it does to colours: exact, or by how many levels it may be off.
OF_RGB: dict[str, tuple[UID, str, Encode, int]] = {
    "rle": (RLELossless, "RGB", rle, 0),
    "jpeg-ls by plane": (JPEGLSLossless, "RGB", jpeg_ls(0), 0),
    "jpeg-ls by line": (JPEGLSLossless, "RGB", jpeg_ls(1), 0),
    "jpeg-ls by pixel": (JPEGLSLossless, "RGB", jpeg_ls(2), 0),
    "jpeg-ls near-lossless": (JPEGLSNearLossless, "RGB", jpeg_ls(2, error=2), 2),
    "jpeg 2000": (JPEG2000Lossless, "RGB", jpeg_2000(irreversible=False, mct=0), 0),
    "jpeg 2000 rct": (JPEG2000Lossless, "YBR_RCT", jpeg_2000(irreversible=False, mct=1), 0),
}


@pytest.mark.parametrize("name", OF_RGB)
def test_lossless_encodings_give_the_pixels_back(write_clip: WriteClip, heart: np.ndarray, name: str) -> None:
    syntax, photometric, encode, levels = OF_RGB[name]
    streams = [encode(frame) for frame in heart]
    path = write_clip(streams, syntax, Rows=96, Columns=128, PhotometricInterpretation=photometric)
    assert np.abs(decoded(path) - heart).max() <= levels


@pytest.mark.parametrize(
    ("syntax", "encode"),
    [(RLELossless, rle), (JPEGLSLossless, jpeg_ls(2)), (JPEG2000Lossless, jpeg_2000(irreversible=False))],
)
def test_one_plane_is_grey(write_clip: WriteClip, heart: np.ndarray, syntax: UID, encode: Encode) -> None:
    grey = np.ascontiguousarray(heart[..., 1])
    facts = {"Rows": 96, "Columns": 128, "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2"}
    path = write_clip([encode(frame) for frame in grey], syntax, **facts)
    np.testing.assert_array_equal(decoded(path), np.stack([grey] * 3, axis=-1))


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, None], ids=["implicit", "explicit"])
def test_uncompressed_pixels_are_exact(write_clip: WriteClip, heart: np.ndarray, syntax: UID | None) -> None:
    np.testing.assert_array_equal(decoded(write_clip(heart, syntax)), heart)
    planes = np.ascontiguousarray(np.moveaxis(heart, -1, 1)).tobytes()
    np.testing.assert_array_equal(decoded(write_clip(heart, syntax, PlanarConfiguration=1, PixelData=planes)), heart)
    grey = np.ascontiguousarray(heart[..., 1])
    np.testing.assert_array_equal(decoded(write_clip(grey, syntax)), np.stack([grey] * 3, axis=-1))


YBR: dict[str, tuple[UID | None, Encode | None]] = {
    "uncompressed": (None, None),
    "rle": (RLELossless, rle),
    "jpeg-ls": (JPEGLSLossless, jpeg_ls(2)),
    "jpeg 2000": (JPEG2000Lossless, jpeg_2000(irreversible=False, mct=0)),
}


@pytest.mark.parametrize("name", YBR)
def test_ybr_full_becomes_rgb(write_clip: WriteClip, moving: np.ndarray, name: str) -> None:
    """Against pydicom's formula in double precision, on colours of every kind."""
    syntax, encode = YBR[name]
    ybr = moving.copy()
    pixels = ybr if encode is None else [encode(frame) for frame in ybr]
    path = write_clip(pixels, syntax, Rows=48, Columns=64, PhotometricInterpretation="YBR_FULL")
    assert np.abs(decoded(path) - convert_color_space(ybr, "YBR_FULL", "RGB")).max() <= 1


def test_uncompressed_ybr_full_422(write_clip: WriteClip, moving: np.ndarray) -> None:
    """Two pixels share their blue and red difference."""
    luma, shared = moving[..., 0], moving[:, :, ::2, 1:]
    packed = np.concatenate([luma.reshape(6, 48, 32, 2), shared], axis=-1)
    path = write_clip(moving, PhotometricInterpretation="YBR_FULL_422", PixelData=packed.tobytes())
    ybr = np.concatenate([luma[..., None], np.repeat(shared, 2, axis=2)], axis=-1)
    assert np.abs(decoded(path) - convert_color_space(ybr, "YBR_FULL", "RGB")).max() <= 1
    odd = write_clip(moving[:, :, :63], PhotometricInterpretation="YBR_FULL_422")
    with pytest.raises(Refusal, match="odd width"):
        decoded(odd)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(("syntax", "encode"), [(None, None), (RLELossless, rle), (JPEGLSLossless, jpeg_ls(2))])
def test_a_palette_becomes_its_colours(
    write_clip: WriteClip, heart: np.ndarray, syntax: UID | None, encode: Encode | None, bits: int
) -> None:
    image = Image.fromarray(heart.reshape(-1, 128, 3)).quantize(200)
    colours = np.array(image.getpalette(), np.uint8).reshape(-1, 3)
    colours = np.vstack([colours, np.zeros((200 - len(colours), 3), np.uint8)])[:200]
    values = np.asarray(image).reshape(6, 96, 128)
    stored = colours.astype("<u2") * 257 if bits == 16 else colours
    facts = {"Rows": 96, "Columns": 128, "SamplesPerPixel": 1, "PhotometricInterpretation": "PALETTE COLOR"}
    for at, name in enumerate(("Red", "Green", "Blue")):
        facts[f"{name}PaletteColorLookupTableDescriptor"] = [200, 0, bits]
        facts[f"{name}PaletteColorLookupTableData"] = stored[:, at].tobytes()
    path = write_clip(values if encode is None else [encode(frame) for frame in values], syntax, **facts)
    np.testing.assert_array_equal(decoded(path), colours[values])


def test_a_palette_that_is_not_there_is_refused(write_clip: WriteClip, heart: np.ndarray) -> None:
    with pytest.raises(Refusal, match="unreadable"):
        decoded(write_clip(heart[..., 1], PhotometricInterpretation="PALETTE COLOR"))


JPEGS: dict[str, tuple[UID, str, Encode]] = {
    "422": (JPEGBaseline8Bit, "YBR_FULL_422", lambda frame: jpeg(frame, quality=90, subsampling=1)),
    "420": (JPEGBaseline8Bit, "YBR_FULL_422", lambda frame: jpeg(frame, quality=90, subsampling=2)),
    "444": (JPEGBaseline8Bit, "YBR_FULL", of_444),
    "extended": (JPEGExtended12Bit, "YBR_FULL", extended),
    "rgb": (JPEGBaseline8Bit, "RGB", lambda frame: jpeg(frame, quality=90, keep_rgb=True)),
    "grey": (JPEGBaseline8Bit, "MONOCHROME2", lambda frame: jpeg(frame[..., 1], quality=90)),
    "jpeg 2000 ict": (JPEG2000, "YBR_ICT", jpeg_2000(irreversible=True, mct=1, quality_layers=[40], quality_mode="dB")),
}


@pytest.mark.parametrize("name", JPEGS)
def test_lossy_encodings_match_a_second_decoder(write_clip: WriteClip, heart: np.ndarray, name: str) -> None:
    syntax, photometric, encode = JPEGS[name]
    streams = [encode(frame) for frame in heart]
    facts = {"Rows": 96, "Columns": 128, "PhotometricInterpretation": photometric}
    if name == "grey":
        facts["SamplesPerPixel"] = 1
    second = _by_opencv if photometric == "YBR_ICT" else _by_pillow
    frames = decoded(write_clip(streams, syntax, **facts))
    assert np.abs(frames - np.stack([second(stream) for stream in streams])).max() <= 2
    assert np.abs(frames - (heart[..., 1:2] if name == "grey" else heart)).mean() < 3


def _by_pillow(stream: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(stream)).convert("RGB")).astype(int)


def _by_opencv(stream: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(stream, np.uint8), cv2.IMREAD_COLOR_RGB).astype(int)


@pytest.mark.parametrize("markers", [{"keep_rgb": True}, {}], ids=["rgb", "ycc"])
@pytest.mark.parametrize("stated", ["RGB", "YBR_FULL_422"])
def test_a_jpeg_stream_that_contradicts_the_header_is_refused(
    write_clip: WriteClip, heart: np.ndarray, markers: dict[str, bool], stated: str
) -> None:
    path = write_clip(
        [jpeg(frame, **markers) for frame in heart], Rows=96, Columns=128, PhotometricInterpretation=stated
    )  # fmt: skip
    if (stated == "RGB") == bool(markers):
        assert np.abs(decoded(path) - heart).mean() < 3
        return
    with pytest.raises(Refusal, match="unsupported_pixels"):
        decoded(path)


def test_of_a_stream_without_markers_the_header_tells(write_clip: WriteClip, heart: np.ndarray) -> None:
    streams = [jpeg(frame, quality=95, subsampling=0) for frame in heart]
    length = int.from_bytes(streams[0][4:6], "big")
    assert streams[0][2:4] == b"\xff\xe0"  # the JFIF segment
    bare = [stream[:2] + stream[4 + length :] for stream in streams]
    facts = {"Rows": 96, "Columns": 128, "PhotometricInterpretation": "YBR_FULL"}
    np.testing.assert_array_equal(decoded(write_clip(bare, **facts)), decoded(write_clip(streams, **facts)))
    unmarked = [without_markers(jpeg(frame, quality=95, keep_rgb=True)) for frame in heart]
    stated = facts | {"PhotometricInterpretation": "RGB"}
    assert np.abs(decoded(write_clip(unmarked, **stated)) - heart).mean() < 3


@pytest.mark.parametrize("coded", ["native", "jpeg-ls", "jpeg"])
@pytest.mark.parametrize(("stated", "stored"), [("RGB", "YBR_FULL"), ("YBR_FULL", "RGB")])
def test_a_colour_space_that_the_picture_contradicts_is_refused(
    write_clip: WriteClip, heart: np.ndarray, coded: str, stated: str, stored: str
) -> None:
    """Pixels whose stated colour space is the true one are read, and equal pydicom's conversion."""
    samples = convert_color_space(heart, "RGB", stored)
    facts = {"Rows": 96, "Columns": 128}
    if coded == "native":
        args: tuple[object, ...] = (samples,)
    elif coded == "jpeg-ls":
        args = ([jpeg_ls(2)(frame) for frame in samples], JPEGLSLossless)
    else:
        args = ([without_markers(jpeg(frame, quality=95, keep_rgb=True)) for frame in samples],)
    right = decoded(write_clip(*args, **facts, PhotometricInterpretation=stored))
    assert np.abs(right - heart).mean() < 3
    with pytest.raises(Refusal, match=f"unsupported_pixels: {stated} is stated"):
        decoded(write_clip(*args, **facts, PhotometricInterpretation=stated))


def test_the_exif_orientation_of_a_stream_is_not_obeyed(write_clip: WriteClip) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:24] = 255
    frames = decoded(write_clip([jpeg(frame, exif=exif, quality=95)] * 2, Rows=48, Columns=64))
    assert frames[0, 0].mean() > 250


def without_markers(stream: bytes) -> bytes:
    """No Adobe segment, components 1, 2 and 3 instead of R, G and B."""
    adobe = stream.index(b"\xff\xee")
    length = int.from_bytes(stream[adobe + 2 : adobe + 4], "big")
    bare = bytearray(stream[:adobe] + stream[adobe + 2 + length :])
    frame, scan = (
        (bare.find(b"\xff\xc3") if b"\xff\xc3\0" in bare else bare.index(b"\xff\xc0")) + 10,
        bare.index(b"\xff\xda") + 5,
    )
    bare[frame : frame + 9 : 3] = bare[scan : scan + 6 : 2] = b"\1\2\3"
    return bytes(bare)


def test_lossless_jpeg(write_clip: WriteClip) -> None:
    """GDCM wrote the stream; the same picture is packaged in RLE."""
    stream = next(generate_frames(pydicom.dcmread(PACKAGED / "SC_rgb_jpeg_gdcm.dcm").PixelData, number_of_frames=1))
    picture = pixel_array(PACKAGED / "SC_rgb_rle.dcm")

    def read(stream: bytes, photometric: str) -> np.ndarray:
        size = {"Rows": 100, "Columns": 100, "PhotometricInterpretation": photometric}
        return decoded(write_clip([stream] * 2, JPEGLosslessSV1, **size))

    np.testing.assert_array_equal(read(stream, "RGB"), np.stack([picture] * 2))
    np.testing.assert_array_equal(read(without_markers(stream), "RGB"), np.stack([picture] * 2))
    as_ybr = convert_color_space(picture, "YBR_FULL", "RGB").astype(int)
    assert np.abs(read(without_markers(stream), "YBR_FULL") - as_ybr).max() <= 1
    with pytest.raises(Refusal, match="unsupported_pixels"):
        read(stream, "YBR_FULL")


PACKAGED_FILES = (
    "SC_rgb_dcmtk_+eb+cr.dcm", "SC_rgb_dcmtk_+eb+cy+n1.dcm", "SC_rgb_dcmtk_+eb+cy+n2.dcm",
    "SC_rgb_dcmtk_+eb+cy+np.dcm", "SC_rgb_dcmtk_+eb+cy+s2.dcm", "SC_rgb_dcmtk_+eb+cy+s4.dcm", "SC_rgb_gdcm_KY.dcm",
    "SC_rgb_jls_lossy_line.dcm", "SC_rgb_jls_lossy_sample.dcm", "SC_rgb_jpeg_app14_dcmd.dcm",
    "SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_jpeg_lossy_gdcm.dcm", "SC_rgb_rle.dcm", "SC_rgb_rle_2frame.dcm",
    "SC_rgb_small_odd.dcm", "SC_rgb_small_odd_jpeg.dcm", "SC_ybr_full_422_uncompressed.dcm",
    "SC_jpeg_no_color_transform.dcm", "SC_jpeg_no_color_transform_2.dcm",
    "JPEGLSNearLossless_08.dcm",
)  # fmt: skip


@pytest.mark.parametrize("name", PACKAGED_FILES)
def test_files_of_other_writers(name: str) -> None:
    expected = pixel_array(PACKAGED / name, index=0, raw=False).astype(int)
    if expected.ndim == 2:
        expected = np.stack([expected] * 3, axis=-1)
    (frame,) = decode_frames(read_header(PACKAGED / name), [0])
    assert np.abs(frame.astype(int) - expected).max() <= 2
