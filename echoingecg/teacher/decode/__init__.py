"""Echo files to RGB frames: the format is found from the content, never from the file's name."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from echoingecg.common import Refusal
from echoingecg.teacher.decode import dicom, pixels, video
from echoingecg.teacher.decode.clip import Clip

_HEAD = 132  # bytes that tell a format


def open_clip(path: Path) -> Clip:
    """Reads and checks the header of a DICOM, AVI or MP4 file; no frame is kept.

    Raises:
        Refusal: `unknown_format`, `unreadable`, `truncated`, `no_pixel_data`, `unsupported_pixels`.
        OSError: the disk cannot give the bytes.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head:
        raise Refusal("unreadable", "the file is empty")
    if dicom.is_dicom(head):
        return dicom.read_dicom_clip(path)
    if video.is_video(head):
        return video.read_video_clip(path)
    raise Refusal("unknown_format", "neither DICOM nor AVI nor MP4")


def frames_of(clip: Clip, wanted: Sequence[int]) -> Iterator[np.ndarray]:
    """The frames asked for, as `rgb_frames` and `video_frames` yield them."""
    if isinstance(clip, dicom.DicomClip):
        return pixels.rgb_frames(clip, wanted)
    assert isinstance(clip, video.VideoClip)
    return video.video_frames(clip, wanted)
