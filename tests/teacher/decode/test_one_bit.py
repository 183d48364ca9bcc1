"""One bit changed in a JPEG frame: refused wherever libjpeg warns; counted where the format shows nothing.

Truth: what OpenCV's libjpeg prints of the same stream, and the frames beside the damaged one.
"""

from pathlib import Path

import cv2
import numpy as np
import pytest

from echoingecg.common import Refusal, result_or_refusal
from echoingecg.recipe import TeacherSettings
from echoingecg.teacher.decode import codecs, decode_frames, dicom, pixels, read_header
from echoingecg.teacher.frames import read_checked
from helpers.echo.echo_encoders import of_444
from helpers.echo.ultrasound_files import WriteClip, jpeg, video
from helpers.paths import Recording

ECHOES = ("go-dicom/I_000003.dcm", "go-dicom/I_000027.dcm", "pydicom/color3d_jpeg_baseline.dcm")
HOLE_BYTES = 512
LEAST_REFUSED_SHARE = 0.15  # of single bits; 25 % in docs/echo_formats.md, from 1,000


def drawn_frame(
    recording: Recording, trial: int, random: np.random.Generator
) -> tuple[dicom.DicomClip, int, bytearray, int, int]:
    """A clip, the number of a frame after its first, the file's bytes, and where in them the frame's stream stands."""
    source = recording(f"echo_dicom/{ECHOES[trial % len(ECHOES)]}")
    clip = read_header(source)
    number = int(random.integers(1, clip.frames))
    with dicom.WholeFile(source) as file:
        ((offset, length),) = pixels._locate_frames(file, clip)[number]
    return clip, number, bytearray(source.read_bytes()), offset, length


@pytest.mark.parametrize("flips", [60, pytest.param(400, marks=pytest.mark.slow)])
def test_a_bit_is_refused_where_the_codec_warns(
    flips: int, recording: Recording, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    random, refused = np.random.default_rng(22), 0
    for trial in range(flips):
        clip, number, content, offset, length = drawn_frame(recording, trial, random)
        first = content.index(b"\xff\xda", offset) + 14  # behind the head of a scan of three components
        bit = int(random.integers(8 * first, 8 * (offset + length - 3)))
        content[bit // 8] ^= 1 << bit % 8
        damaged = tmp_path / "clip.dcm"
        damaged.write_bytes(content)
        capfd.readouterr()
        cv2.imdecode(np.frombuffer(content[offset : offset + length], np.uint8), cv2.IMREAD_COLOR)
        warned = "JPEG" in capfd.readouterr().err
        frames = result_or_refusal(lambda path=damaged, n=number: list(decode_frames(read_header(path), [n - 1, n])))
        if isinstance(frames, Refusal):
            assert f"(frame {number})" in str(frames)
            refused += 1
        else:
            assert not warned
            np.testing.assert_array_equal(frames[0], next(decode_frames(clip, [number - 1])))
    assert refused >= LEAST_REFUSED_SHARE * flips


@pytest.mark.parametrize("holes", [15, pytest.param(60, marks=pytest.mark.slow)])
def test_a_hole_in_a_frame_is_refused(holes: int, recording: Recording, tmp_path: Path) -> None:
    """A lost sector of a disk, as zeros; the frame before it is read."""
    random = np.random.default_rng(23)
    for trial in range(holes):
        _, number, content, offset, length = drawn_frame(recording, trial, random)
        place = int(random.integers(content.index(b"\xff\xda", offset) + 14, offset + length - HOLE_BYTES - 2))
        content[place : place + HOLE_BYTES] = bytes(HOLE_BYTES)
        (damaged := tmp_path / "clip.dcm").write_bytes(content)
        holed = read_header(damaged)
        with pytest.raises(Refusal, match=rf"unreadable: .*\(frame {number}\)"):
            list(decode_frames(holed, [number]))
        assert len(list(decode_frames(holed, [number - 1]))) == 1


@pytest.mark.parametrize("optimize", [False, True])
def test_a_black_picture_is_no_hole(write_clip: WriteClip, optimize: bool) -> None:
    """With tables of its own, a flat area is a run of zero bits: 64 zero bytes in a row."""
    black = np.zeros((480, 640, 3), np.uint8)
    black[200:240, 300:340] = 200
    stream = jpeg(black, quality=90, subsampling=0, optimize=optimize)
    assert (bytes(64) in stream) is optimize
    clip = read_header(write_clip([stream] * 2, Rows=480, Columns=640, PhotometricInterpretation="YBR_FULL"))
    assert len(list(decode_frames(clip, range(2)))) == 2


def test_the_frame_is_named(case: Recording) -> None:
    with pytest.raises(Refusal, match=r"unreadable: the JPEG codec warns: .* \(frame 22\)"):
        read_checked(case("safe/jpeg_one_bit/one_bit.dcm"), TeacherSettings(stale_region="rescale"), 64)


def test_other_frames_of_that_file_are_read(case: Recording) -> None:
    clip = read_header(case("safe/jpeg_one_bit/one_bit.dcm"))
    assert len(list(decode_frames(clip, range(22)))) == 22


def test_a_progressive_stream_is_refused_at_once(case: Recording) -> None:
    clip = read_header(case("safe/progressive_200.dcm"))
    with pytest.raises(Refusal, match=r"unsupported_pixels: a JPEG stream of process 0xc2, not JPEGBaseline8Bit"):
        next(decode_frames(clip, [0]))


FACTS = {"Rows": 96, "Columns": 128, "PhotometricInterpretation": "YBR_FULL"}


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda stream: jpeg(np.zeros((96, 128, 3), np.uint8), progressive=True), "unsupported_pixels"),
        (lambda stream: stream[: len(stream) // 2] + codecs.END_OF_IMAGE, "unreadable"),
        (lambda stream: stream[:-2] + bytes(16) + codecs.END_OF_IMAGE, "unreadable"),
        (lambda stream: stream.replace(b"\xff\xda", b"\xff\xc0\0\x0b\x08\0\x60\0\x80\1\1\x11\0\xff\xda", 1), "unsu"),
        (lambda stream: stream[:-2] + stream[stream.index(b"\xff\xda") :], "unreadable"),
        (lambda stream: stream + bytes(16), "read"),
    ],
    ids=["progressive", "cut", "left over", "two headers", "scanned twice", "padded"],
)
def test_streams_of_another_form(write_clip: WriteClip, heart: np.ndarray, damage: object, reason: str) -> None:
    streams = [of_444(frame) for frame in heart]
    whole = list(decode_frames(read_header(write_clip(streams, **FACTS)), range(6)))
    clip = read_header(write_clip([*streams[:5], damage(streams[5])], **FACTS))  # type: ignore[operator]
    if reason == "read":
        np.testing.assert_array_equal(list(decode_frames(clip, range(6))), whole)
        return
    with pytest.raises(Refusal, match=rf"{reason}.*\(frame 5\)"):
        list(decode_frames(clip, range(6)))


@pytest.mark.parametrize(("codec", "name", "least"), [("MJPG", "clip.avi", 0.2), ("mp4v", "clip.mp4", 0.4)])
def test_a_damaged_video_is_refused_where_its_decoder_sees_it(
    tmp_path: Path, case: Recording, codec: str, name: str, least: float
) -> None:
    """OpenCV's FFmpeg, which conceals damage, decodes the sound file to the same pixels."""
    source = read_header(case("echo/I_000031.dcm"))
    frames = np.stack(list(decode_frames(source, range(8))))[:, 100:340, 100:420]
    path = video(tmp_path / name, frames, codec)
    second = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    for frame in decode_frames(read_header(path), range(8)):
        np.testing.assert_array_equal(frame, cv2.cvtColor(second.read()[1], cv2.COLOR_BGR2RGB))
    content, refused, random = path.read_bytes(), 0, np.random.default_rng(22)
    for _ in range(40):
        damaged = bytearray(content)
        bit = int(random.integers(len(content) * 2, len(content) * 6))  # from a quarter to three quarters: pictures
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        pictures = result_or_refusal(lambda: list(decode_frames(read_header(path), range(8))))
        assert "frame" in str(pictures) if isinstance(pictures, Refusal) else len(pictures) == 8
        refused += isinstance(pictures, Refusal)
    assert refused >= least * 40
