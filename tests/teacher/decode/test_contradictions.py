"""What the header states and what is stored: contradictions are refused, and what is whole is read.

Truth: pydicom's reading of the same file, the bytes that were written, or the tables of ISO/IEC 14496-12.
"""

import struct
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import pixel_array
from pydicom.uid import SecondaryCaptureImageStorage, XRayAngiographicImageStorage

from echoingecg.common import Refusal
from echoingecg.recipe import TeacherSettings
from echoingecg.teacher.decode import decode_frames, edit_list, read_header
from echoingecg.teacher.frames import read_checked, read_clip
from helpers.echo.echo_encoders import decoded
from helpers.echo.screens import simulated
from helpers.echo.ultrasound_files import WriteClip, jpeg, video
from helpers.paths import DATA, Recording

FACTS = {"Rows": 96, "Columns": 128}
UNMASKED = TeacherSettings(mask=False)


def refusal(path: Path, settings: TeacherSettings = UNMASKED) -> str:
    with pytest.raises(Refusal) as caught:
        read_clip(path, settings, 32)
    return str(caught.value)


def test_the_region_of_a_larger_picture_is_refused_or_divided(shipped_clip: Path) -> None:
    """pydicom's 320 x 240 clip states the region of its original of 640 x 480."""
    assert refusal(shipped_clip).startswith("stale_region: a region (84, 31)-(595, 414)")
    frames = read_clip(shipped_clip, TeacherSettings(mask=False, stale_region="rescale", max_frames=2), 64)
    whole = pixel_array(shipped_clip, index=0, raw=False)
    expected = cv2.resize(whole[16:207, 42:298], (64, 64), interpolation=cv2.INTER_AREA)
    assert np.abs(frames[0].astype(int) - expected).max() <= 1


def test_ybr_full_422_with_three_samples_stored_is_refused(write_clip: WriteClip, heart: np.ndarray) -> None:
    path = write_clip(heart, PhotometricInterpretation="YBR_FULL_422")
    assert "6 frames in YBR_FULL_422 take 147456" in refusal(path)


def test_native_pixels_hold_the_frames_that_are_stated(write_clip: WriteClip, heart: np.ndarray) -> None:
    assert refusal(write_clip(heart, NumberOfFrames=5)).startswith("unreadable: 221184 bytes")
    assert refusal(write_clip(heart, NumberOfFrames=1)).startswith("unreadable: 221184 bytes")
    assert refusal(write_clip(heart, NumberOfFrames=7)).startswith("truncated")
    for surplus, whole in ((bytes(500), True), (bytes(499) + b"\1", False)):
        path = write_clip(heart, PixelData=heart.tobytes() + surplus)
        if whole:
            np.testing.assert_array_equal(decoded(path), heart)
        else:
            assert refusal(path).startswith("unreadable")


@pytest.mark.parametrize("stated", [1, 3, 5])
def test_fewer_encoded_frames_stated_than_stored_are_refused(
    write_clip: WriteClip, heart: np.ndarray, stated: int
) -> None:
    streams = [jpeg(frame) for frame in heart]
    path = write_clip(streams, **FACTS, NumberOfFrames=stated)
    assert refusal(path) == f"unreadable: 6 frames are there, {stated} are stated"


@pytest.mark.parametrize("between", [b"", b"\0"])
def test_two_images_in_the_place_of_a_frame_are_refused(
    write_clip: WriteClip, heart: np.ndarray, between: bytes
) -> None:
    """Fragments as many as the stated frames, with two images in each: half of the frames would be lost in silence."""
    streams = [jpeg(first) + between + jpeg(second) for first, second in zip(heart[::2], heart[1::2], strict=True)]
    assert refusal(write_clip(streams, **FACTS)).startswith("unreadable: two images")


def test_an_offset_table_that_joins_two_images_is_refused(write_clip: WriteClip, heart: np.ndarray) -> None:
    streams = [jpeg(frame) for frame in heart]
    streams = [stream + b"\0" * (len(stream) % 2) for stream in streams]
    starts = np.cumsum([0, *(len(stream) + 8 for stream in streams)])
    items = b"".join(b"\xfe\xff\x00\xe0" + struct.pack("<L", len(stream)) + stream for stream in streams)
    table = struct.pack("<3L", *starts[:6:2])
    pixels = b"\xfe\xff\x00\xe0" + struct.pack("<L", len(table)) + table + items + b"\xfe\xff\xdd\xe0\0\0\0\0"
    path = write_clip(streams, **FACTS, NumberOfFrames=3, PixelData=pixels)
    assert refusal(path).startswith("unreadable: two images")


@pytest.mark.parametrize("zeros", [1, 11, 16, 500])
@pytest.mark.parametrize("parts", [1, 2])
def test_padding_after_the_end_of_an_image_is_no_fault(
    write_clip: WriteClip, heart: np.ndarray, zeros: int, parts: int
) -> None:
    streams = [jpeg(frame) for frame in heart]
    padded = [stream + bytes(zeros) for stream in streams]
    pixels = encapsulate(padded, fragments_per_frame=parts, has_bot=parts == 1)
    whole = decoded(write_clip(streams, **FACTS))
    np.testing.assert_array_equal(decoded(write_clip(padded, **FACTS, PixelData=pixels)), whole)


def test_other_bytes_after_the_end_are_a_fault(write_clip: WriteClip, heart: np.ndarray) -> None:
    assert refusal(write_clip([jpeg(frame) + b"\1" * 16 for frame in heart], **FACTS)).startswith("truncated")


def test_the_case_with_padding_is_read_as_pydicom_reads_it(case: Recording) -> None:
    path = case("echo/b7_padding_16.dcm")
    clip = read_header(path)
    dataset = pydicom.dcmread(path)
    streams = list(generate_frames(dataset.PixelData, number_of_frames=clip.frames))
    assert len(streams) == clip.frames == 24
    for number, frame in zip((0, 23), decode_frames(clip, [0, 23]), strict=True):
        second = cv2.imdecode(np.frombuffer(streams[number], np.uint8), cv2.IMREAD_COLOR_RGB)
        np.testing.assert_array_equal(frame, second)


def test_an_ultrasound_file_without_regions_is_cropped_to_its_sector(write_clip: WriteClip) -> None:
    frames, true = simulated("apical", 3)
    path = write_clip(frames, SequenceOfUltrasoundRegions=pydicom.Sequence())
    rows, columns = (np.flatnonzero(true.any(axis=axis)) for axis in (1, 0))
    seen = read_clip(path, TeacherSettings(), 112)
    box = frames[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    expected = np.stack([cv2.resize(frame, (112, 112), interpolation=cv2.INTER_AREA) for frame in box])
    lit = seen.any(axis=-1)
    assert np.abs(seen.astype(int) - expected)[lit].mean() < 15, "a row or a column more or less"
    assert lit.any(axis=0).mean() > 0.5
    assert refusal(path).startswith("no_region"), "without a mask nothing says where the picture is"


@pytest.mark.parametrize("kind", [XRayAngiographicImageStorage, SecondaryCaptureImageStorage])
def test_other_pictures_without_regions_are_refused(write_clip: WriteClip, kind: str) -> None:
    frames, _ = simulated("apical", 3)
    path = write_clip(frames, SequenceOfUltrasoundRegions=pydicom.Sequence(), SOPClassUID=kind)
    assert refusal(path, TeacherSettings()).startswith("no_region")


def test_frames_before_and_after_an_edit_list_do_not_count(case: Recording) -> None:
    """34 frames of 512 units, the first at 1024; the list shows 2560 to 18432 (its time scales are both 10240)."""
    path = case("echo/v1_trim_copy.mp4")
    shown = [time for time in range(1024, 1024 + 34 * 512, 512) if 2560 <= time < 18432]
    assert len(shown) == 31
    assert read_header(path).frames == edit_list.shown_frames(path) == 31
    assert len(read_clip(path, TeacherSettings(), 64)) == 31


@pytest.mark.parametrize("codec", ["mp4v", "vp09"])
def test_an_mp4_shows_as_many_frames_as_were_written(tmp_path: Path, heart: np.ndarray, codec: str) -> None:
    path = video(tmp_path / "clip.mp4", heart, codec)
    assert read_header(path).frames == 6
    assert edit_list.shown_frames(path) in (None, 6)
    assert read_header(DATA / "h264_b_frames.mp4").frames == 10


def test_an_mp4_cut_within_its_frames_is_truncated(case: Recording, tmp_path: Path) -> None:
    """With its index first, as for streaming: the index alone says that frames are missing."""
    content = case("echo/v1_trim_copy.mp4").read_bytes()
    boxes, offset = {}, 0
    while offset < len(content):
        length, kind = struct.unpack(">I4s", content[offset : offset + 8])
        boxes[kind] = content[offset : offset + length]
        offset += length
    path = tmp_path / "clip.mp4"
    path.write_bytes(boxes[b"ftyp"] + boxes[b"moov"] + boxes[b"mdat"][:-1000])
    assert refusal(path).startswith("truncated")


def test_a_damaged_index_is_a_refusal_or_no_list(case: Recording, tmp_path: Path) -> None:
    content = case("echo/v1_trim_copy.mp4").read_bytes()
    start = content.index(b"moov")
    rng = np.random.default_rng(1)
    path = tmp_path / "clip.mp4"
    for _ in range(60):
        damaged = bytearray(content)
        for at in rng.integers(start, len(content), 8):
            damaged[at] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            shown = edit_list.shown_frames(path)
        except Refusal:
            continue
        assert shown is None or shown >= 0


OUTCOMES = {
    "I_000031.dcm": "64 frames, sure",
    "I_000037.dcm": "61 frames, sure",
    "b7_padding_16.dcm": "24 frames, sure",
    "stale_region.dcm": "stale_region",
    "v1_trim_copy.mp4": "31 frames, sure",
}


@pytest.mark.parametrize("name", OUTCOMES)
def test_what_becomes_of_each_case(case: Recording, name: str) -> None:
    """The table of shared/cases/README.md."""
    try:
        clip = read_checked(case(f"echo/{name}"), TeacherSettings(), 64)
        outcome = f"{len(clip.frames)} frames, {clip.degree}"
    except Refusal as refused:
        outcome = refused.reason
    assert outcome == OUTCOMES[name]
