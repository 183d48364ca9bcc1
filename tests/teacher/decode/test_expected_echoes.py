"""Every real echo file against the table that was set down first; colours against a second decoder."""

from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.pixels import pixel_array

from echoingecg.common import Refusal
from echoingecg.recipe import TeacherSettings
from echoingecg.teacher.decode import decode_frames, read_header
from echoingecg.teacher.frames import read_clip
from echoingecg.teacher.regions import teacher_region
from helpers.echo.expected_echoes import CLIPS, EXPECTED, Expected
from helpers.echo.ultrasound_files import PACKAGED

RESCALED = TeacherSettings(stale_region="rescale")


def path_of(one: Expected, request: pytest.FixtureRequest) -> Path:
    if one.folder == "pydicom":
        return PACKAGED / one.name
    return request.getfixturevalue("recording")(f"echo_dicom/{one.name}")


def named(one: Expected) -> str:
    return f"{one.folder}-{one.name}"


def test_the_table_lists_every_shared_file(all_recordings: Path) -> None:
    folder = all_recordings / "echo_dicom"
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert there == {one.name for one in EXPECTED if one.folder == "shared"}


@pytest.mark.parametrize("one", EXPECTED, ids=named)
def test_facts_or_reason(one: Expected, request: pytest.FixtureRequest) -> None:
    path = path_of(one, request)
    if one.reason:
        with pytest.raises(Refusal) as refusal:
            read_clip(path, TeacherSettings(), 32)
        assert refusal.value.reason == one.reason
        return
    clip = read_header(path)
    assert (clip.frames, clip.height, clip.width) == (one.frames, one.height, one.width)
    assert clip.frame_rate == pytest.approx(one.frame_rate, abs=1e-4)
    rows, columns = teacher_region(clip, RESCALED)
    assert (rows.start, rows.stop, columns.start, columns.stop) == one.box
    assert read_clip(path, RESCALED.model_copy(update={"frame_stride": 5}), 32).shape == (
        -(-one.frames // 5),
        32,
        32,
        3,
    )


@pytest.mark.parametrize("one", CLIPS, ids=named)
def test_colours_are_those_of_a_second_decoder(one: Expected, request: pytest.FixtureRequest) -> None:
    """pydicom's: Pillow to YCbCr, then RGB."""
    path = path_of(one, request)
    wanted = [0, one.frames // 2, one.frames - 1]
    for index, frame in zip(wanted, decode_frames(read_header(path), wanted), strict=True):
        expected = pixel_array(path, index=index, raw=False)
        assert np.abs(frame.astype(int) - expected).max() <= 2


@pytest.mark.parametrize("one", CLIPS, ids=named)
def test_frames_are_cropped_and_resized_as_the_slow_route_does(one: Expected, request: pytest.FixtureRequest) -> None:
    path = path_of(one, request)
    top, bottom, left, right = one.box
    frames = read_clip(path, RESCALED.model_copy(update={"max_frames": 3, "mask": False}), 224)
    for index, frame in zip((0, (one.frames - 1) // 2, one.frames - 1), frames, strict=True):
        whole = pixel_array(path, index=index, raw=False)
        expected = cv2.resize(whole[top:bottom, left:right], (224, 224), interpolation=cv2.INTER_AREA)
        assert np.abs(frame.astype(int) - expected).max() <= 1


def test_stills_hold_the_colours_of_a_second_decoder() -> None:
    """They are no clips, but their encodings are what clips come in: RGB, palette, JPEG 2000."""
    for name in ("examples_rgb_color.dcm", "examples_palette.dcm", "examples_jpeg2k.dcm"):
        (frame,) = decode_frames(read_header(PACKAGED / name), [0])
        expected = pixel_array(PACKAGED / name, raw=False)
        if name == "examples_palette.dcm":
            dataset = pydicom.dcmread(PACKAGED / name)
            expected = pydicom.pixels.apply_color_lut(dataset.pixel_array, dataset) // 256
        np.testing.assert_array_equal(frame, expected)
