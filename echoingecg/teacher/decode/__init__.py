"""Echo files to RGB frames: the format is found from the content, never from the file's name."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from echoingecg.common import Refusal, is_dicom, open_regular
from echoingecg.teacher.decode import dicom, pixels, video
from echoingecg.teacher.decode.clip import Clip

_HEAD_BYTES = 132  # the format is found from these


def read_header(path: Path) -> Clip:
    """Reads and checks the header of a DICOM, AVI or MP4 file; no frame is kept.

    Raises:
        Refusal: `unknown_format`, `unreadable`, `truncated`, `no_pixel_data`, `unsupported_pixels`.
        OSError: the bytes cannot be read from the disk.
    """
    with open_regular(path) as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        raise Refusal("unreadable", "the file is empty")
    if is_dicom(head):
        return dicom.read_dicom_header(path)
    if video.is_video(head):
        return video.read_video_header(path)
    raise Refusal("unknown_format", "neither DICOM nor AVI nor MP4")


def decode_frames(clip: Clip, wanted: Sequence[int]) -> Iterator[np.ndarray]:
    """Decodes frames in the order of the file, to RGB.

    Args:
        clip: header, from `read_header`.
        wanted: frame numbers from 0, rising.

    Yields:
        uint8 (height, width, 3), RGB.

    Raises:
        Refusal: `truncated`, `unreadable`, `unsupported_pixels`.
        OSError: the bytes cannot be read from the disk.
    """
    if isinstance(clip, dicom.DicomClip):
        return pixels.decode_dicom_frames(clip, wanted)
    assert isinstance(clip, video.VideoClip)
    return video.decode_video_frames(clip, wanted)


def check_frame_count(clip: Clip) -> None:
    """Checks that a DICOM file does not store more frames than it states; a video states what its container holds.

    Raises:
        Refusal: `unreadable`, `truncated`.
        OSError: the bytes cannot be read from the disk.
    """
    if isinstance(clip, dicom.DicomClip):
        pixels.check_frame_count(clip)
