"""What counts as a clip by its content: stills, strips and colour Doppler, whatever the header says."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from echoingecg.common import RecipeError, Refusal
from echoingecg.recipe import TeacherSettings
from echoingecg.teacher.cine_check import is_moving, is_strip, shows_colour_flow
from echoingecg.teacher.decode import decode_frames, read_header
from echoingecg.teacher.frames import read_clip
from helpers.echo.expected_echoes import CLIPS
from helpers.echo.ultrasound_files import WriteClip, region
from helpers.paths import Recording

SETTINGS = TeacherSettings()
WIDTH = 320  # px of the strip that is seen at once


def still_twice(frame: np.ndarray) -> np.ndarray:
    """A still that was written again and again, each time a level brighter."""
    return np.stack([np.clip(frame.astype(int) + at, 0, 255).astype(np.uint8) for at in range(6)])


@pytest.fixture(scope="module")
def m_mode(recording: Recording) -> np.ndarray:
    """The strip of a real M-mode image: uint8 (264, 641, 3)."""
    (frame,) = decode_frames(read_header(recording("echo_dicom/go-dicom/I_000034.dcm")), [0])
    return frame[221:485, 23:664]


def scrolling(strip: np.ndarray, step: int, frames: int = 20) -> np.ndarray:
    starts = [at * step for at in range(frames) if at * step + WIDTH <= strip.shape[1]]
    return np.stack([strip[:, start : start + WIDTH] for start in starts])


def swept(strip: np.ndarray, step: int, frames: int = 20) -> np.ndarray:
    """The trace is drawn over the one before, behind a black bar."""
    before, after = strip[:, :WIDTH], strip[:, -WIDTH:]
    shown = []
    for at in range(0, frames * step, step):
        frame = before.copy()
        frame[:, :at] = after[:, :at]
        frame[:, at : at + 6] = 0
        shown.append(frame)
    return np.stack(shown)


def seen(frames: np.ndarray, size: int = 224) -> np.ndarray:
    return np.stack([cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA) for frame in frames])


def refusal(path: Path, **fields: object) -> Refusal:
    with pytest.raises(Refusal) as caught:
        read_clip(path, TeacherSettings(**fields), 112)
    return caught.value


@pytest.mark.parametrize(
    ("move", "step"),
    [*((scrolling, step) for step in (1, 2, 3, 7, 15, 40)), *((swept, step) for step in (1, 3, 7, 15))],
)
@pytest.mark.parametrize("size", [112, 224])
def test_a_real_m_mode_that_runs_is_a_strip(
    m_mode: np.ndarray, move: Callable[..., np.ndarray], step: int, size: int
) -> None:
    assert is_strip(seen(move(m_mode, step), size))


def test_a_strip_whose_header_says_two_dimensions_is_refused(write_clip: WriteClip, m_mode: np.ndarray) -> None:
    assert refusal(write_clip(scrolling(m_mode, 7))).reason == "not_a_cine"


@pytest.mark.parametrize("name", [one.name for one in CLIPS if one.folder == "shared"])
@pytest.mark.parametrize("fields", [{}, {"frame_stride": 4}, {"max_frames": 2}])
def test_no_real_clip_is_taken_for_a_still_or_a_strip(recording: Recording, name: str, fields: dict[str, int]) -> None:
    frames = read_clip(recording(f"echo_dicom/{name}"), TeacherSettings(**fields, stale_region="rescale"), 112)
    assert is_moving(frames)
    assert not is_strip(frames)


def test_a_still_written_many_times_is_refused(write_clip: WriteClip, heart: np.ndarray) -> None:
    assert refusal(write_clip(still_twice(heart[0]))).reason == "not_a_cine"
    assert refusal(write_clip(np.zeros_like(heart))).reason == "not_a_cine"


def test_a_clock_in_a_still_is_no_motion(write_clip: WriteClip, heart: np.ndarray) -> None:
    frames = np.stack([heart[0]] * 6)
    for at, frame in enumerate(frames):
        cv2.putText(frame, str(at), (2, 12), cv2.FONT_HERSHEY_PLAIN, 0.6, (255, 255, 255))
    assert refusal(write_clip(frames)).reason == "not_a_cine"


def test_one_frame_taken_is_not_judged(write_clip: WriteClip, heart: np.ndarray) -> None:
    assert len(read_clip(write_clip(still_twice(heart[0])), TeacherSettings(max_frames=1, mask=False), 32)) == 1


def test_colour_doppler_is_seen_where_the_header_is_silent(recording: Recording) -> None:
    """The HP clip states tissue alone (Region Data Type 1)."""
    path = recording("echo_dicom/go-dicom/I_000003.dcm")
    assert len(read_clip(path, SETTINGS, 112)) == 17
    found = refusal(path, colour_doppler="refuse")
    assert (found.reason, found.detail) == ("unwanted_view", "colour Doppler, seen")


def test_colour_doppler_is_taken_from_the_header(write_clip: WriteClip, heart: np.ndarray) -> None:
    flow = region(1, 20, 20, 60, 60)
    flow.RegionDataType = 2
    path = write_clip(heart, SequenceOfUltrasoundRegions=[region(1, 0, 0, 127, 95), flow])
    assert len(read_clip(path, SETTINGS, 32)) == 6
    assert refusal(path, colour_doppler="refuse").detail == "colour Doppler, stated"


@pytest.mark.parametrize("name", [one.name for one in CLIPS if one.folder == "shared" and "03.dcm" not in one.name])
def test_grey_clips_with_coloured_print_are_no_colour_doppler(recording: Recording, name: str) -> None:
    read_clip(recording(f"echo_dicom/{name}"), TeacherSettings(colour_doppler="refuse", stale_region="rescale"), 112)


def test_a_tint_and_a_green_trace_are_no_flow(heart: np.ndarray) -> None:
    for tint in ((1.0, 0.7, 0.4), (0.5, 0.6, 1.0), (1.0, 0.3, 0.3)):
        assert not shows_colour_flow((heart * np.array(tint)).astype(np.uint8))
    traced = heart.copy()
    for at, frame in enumerate(traced):
        frame[80 + at : 90 + at, : 20 * (at + 1)] = (0, 255, 0)
    assert not shows_colour_flow(traced)


def is_bright(frames: np.ndarray) -> bool:
    """A view filter."""
    return bool(frames.mean() > 60)


def test_a_view_filter_is_asked(write_clip: WriteClip, heart: np.ndarray) -> None:
    name = f"{__name__}:is_bright"
    dark, bright = (heart * 0.3).astype(np.uint8), np.clip(heart.astype(int) * 3 + 40, 0, 255).astype(np.uint8)
    assert len(read_clip(write_clip(bright), TeacherSettings(view_filter=name), 32)) == 6
    assert refusal(write_clip(dark), view_filter=name).reason == "unwanted_view"


@pytest.mark.parametrize("name", ["no.such.module:f", f"{__name__}:nothing", f"{__name__}:SETTINGS"])
def test_a_view_filter_that_cannot_be_loaded_stops_the_stage(
    write_clip: WriteClip, heart: np.ndarray, name: str
) -> None:
    with pytest.raises(RecipeError, match=r"teacher\.view_filter"):
        read_clip(write_clip(heart), TeacherSettings(view_filter=name), 32)
    with pytest.raises(ValueError, match="view_filter"):
        TeacherSettings(view_filter="a function without its module")
