"""Echo files to RGB frames: the format is found from the content, never from the file's name."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from echoingecg.common import Refusal, is_dicom
from echoingecg.teacher.decode import dicom, pixels, video
from echoingecg.teacher.decode.clip import Clip

_HEAD = 132  # bytes that tell a format


def read_header(path: Path) -> Clip:
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
        return dicom.read_dicom_header(path)
    if video.is_video(head):
        return video.read_video_header(path)
    raise Refusal("unknown_format", "neither DICOM nor AVI nor MP4")


def decode_frames(clip: Clip, wanted: Sequence[int]) -> Iterator[np.ndarray]:
    """The frames asked for, as `decode_dicom_frames` and `decode_video_frames` yield them."""
    if isinstance(clip, dicom.DicomClip):
        return pixels.decode_dicom_frames(clip, wanted)
    assert isinstance(clip, video.VideoClip)
    return video.decode_video_frames(clip, wanted)
