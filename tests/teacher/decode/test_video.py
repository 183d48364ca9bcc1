"""AVI and MP4: frames, rate, colours, sampling, and what is refused."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from echoingecg.common import Refusal
from echoingecg.recipe import TeacherSettings
from echoingecg.teacher.decode import decode_frames, read_header
from echoingecg.teacher.frames import read_clip
from helpers.echo.ultrasound_files import video
from helpers.paths import DATA

FORMS = {"mjpeg": ("clip.avi", "MJPG"), "mpeg-4": ("clip.mp4", "mp4v"), "vp9": ("clip.mp4", "vp09")}


def decoded(path: Path) -> np.ndarray:
    clip = read_header(path)
    return np.stack(list(decode_frames(clip, range(clip.frames)))).astype(int)


@pytest.mark.parametrize("codec", ["HFYU", "MPNG"])
def test_a_lossless_video_gives_the_pixels_back(tmp_path: Path, heart: np.ndarray, codec: str) -> None:
    path = video(tmp_path / "clip.avi", heart, codec, rate=50.0)
    clip = read_header(path)
    assert (clip.frames, clip.height, clip.width, clip.frame_rate) == (6, 96, 128, 50.0)
    np.testing.assert_array_equal(decoded(path), heart)


@pytest.mark.parametrize("form", FORMS)
def test_a_lossy_video_is_near_its_source(tmp_path: Path, heart: np.ndarray, form: str) -> None:
    name, codec = FORMS[form]
    frames = decoded(video(tmp_path / name, heart, codec))
    assert np.abs(frames - heart).mean() < 4
    assert all(np.abs(frames[at] - heart).mean(axis=(1, 2, 3)).argmin() == at for at in range(6)), "in their order"


def test_motion_jpeg_has_the_colours_of_a_second_decoder(tmp_path: Path, heart: np.ndarray) -> None:
    """Pillow, given the streams that lie in the AVI file; of one tint, as each spreads shared chroma in its own way."""
    tinted = (heart[..., 1:2] * 0.6 + np.array([70, 40, 10])).astype(np.uint8)
    path = video(tmp_path / "clip.avi", tinted, "MJPG")
    content, streams, at = path.read_bytes(), [], 0
    while (at := content.find(b"\xff\xd8\xff", at + 1)) > 0:
        streams.append(content[at : content.index(b"\xff\xd9", at) + 2])
    assert len(streams) == 6
    second = np.stack([np.asarray(Image.open(BytesIO(stream)).convert("RGB")) for stream in streams])
    assert np.abs(decoded(path) - second).max() <= 2


def test_h264_frames_come_in_the_order_they_are_shown() -> None:
    """Ten grey frames, each lighter, stored as I B B B P I B B B P; OpenCV's build has no encoder for it, so by

    ffmpeg -f lavfi -i color=black:size=64x48:rate=25:duration=0.4 -vf "geq=lum='40+20*N':cb=128:cr=128" \
        -c:v libx264 -bf 3 -b_strategy 0 -pix_fmt yuv420p -bitexact h264_b_frames.mp4
    """
    path = DATA / "h264_b_frames.mp4"
    luma = 40 + 20 * np.arange(10)
    assert read_header(path).frame_rate == 25
    np.testing.assert_allclose(decoded(path).mean(axis=(1, 2, 3)), (luma - 16) * 255 / 219, atol=2)
    taken = np.stack(list(decode_frames(read_header(path), [2, 7])))
    np.testing.assert_array_equal(taken, decoded(path)[[2, 7]])


@pytest.mark.parametrize("form", FORMS)
def test_sampled_frames_are_those_of_the_whole(tmp_path: Path, heart: np.ndarray, form: str) -> None:
    name, codec = FORMS[form]
    path = video(tmp_path / name, heart, codec)
    taken = np.stack(list(decode_frames(read_header(path), [1, 4])))
    np.testing.assert_array_equal(taken, decoded(path)[[1, 4]])
    assert read_clip(path, TeacherSettings(frame_stride=2), 32).shape == (3, 32, 32, 3)


def test_the_name_does_not_matter(tmp_path: Path, heart: np.ndarray) -> None:
    path = video(tmp_path / "clip.avi", heart, "MJPG")
    frames = decoded(path)
    for name in ("clip.dcm", "clip.mp4", "frame%03d.png"):
        np.testing.assert_array_equal(decoded(path.rename(tmp_path / name)), frames)
        path = tmp_path / name


def test_a_list_of_other_files_is_no_video(tmp_path: Path, heart: np.ndarray) -> None:
    """FFmpeg would follow it out of the export."""
    video(tmp_path / "clip.mp4", heart, "mp4v")
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nclip.mp4\n")
    with pytest.raises(Refusal, match="unknown_format"):
        read_header(tmp_path / "list.mp4")


@pytest.mark.parametrize(("form", "reasons"), [("mjpeg", {"truncated"}), ("mpeg-4", {"unreadable"})])
def test_a_video_cut_short_is_refused(tmp_path: Path, heart: np.ndarray, form: str, reasons: set[str]) -> None:
    name, codec = FORMS[form]
    path = video(tmp_path / name, heart, codec)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(Refusal) as refusal:
        decoded(path)
    assert refusal.value.reason in reasons
