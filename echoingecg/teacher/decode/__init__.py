"""Echo files to RGB frames: the format is found from the content, never from the file's name."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from echoingecg.common.errors import Refusal
from echoingecg.teacher.decode.clip import Clip
from echoingecg.teacher.decode.dicom import DicomClip, is_dicom, read_dicom_clip
from echoingecg.teacher.decode.pixels import rgb_frames
from echoingecg.teacher.decode.video import VideoClip, is_video, read_video_clip, video_frames

_HEAD: Final = 132  # bytes that tell a format


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
    if is_dicom(head):
        return read_dicom_clip(path)
    if is_video(head):
        return read_video_clip(path)
    raise Refusal("unknown_format", "neither DICOM nor AVI nor MP4")


def frames_of(clip: Clip, wanted: Sequence[int]) -> Iterator[np.ndarray]:
    """The frames asked for, as `rgb_frames` and `video_frames` yield them."""
    if isinstance(clip, DicomClip):
        return rgb_frames(clip, wanted)
    assert isinstance(clip, VideoClip)
    return video_frames(clip, wanted)
