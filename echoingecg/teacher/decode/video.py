"""Reads AVI and MP4 files through OpenCV's FFmpeg, frame after frame.

A video states no ultrasound regions: the whole picture counts as one two-dimensional region.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from echoingecg.common import Refusal
from echoingecg.teacher.decode import edit_list
from echoingecg.teacher.decode.clip import Clip, Region, check_size
from echoingecg.teacher.decode.dicom import refusing

_TWO_DIMENSIONAL = 1


@dataclass(frozen=True)
class VideoClip(Clip):
    """A video whose container has been read.

    Attributes:
        path: of the file.
    """

    path: Path


def is_video(head: bytes) -> bool:
    """Says whether a file that begins with these bytes (12 or more) is an AVI or an ISO base media file (MP4, MOV)."""
    return (head[:4], head[8:12]) == (b"RIFF", b"AVI ") or head[4:8] == b"ftyp"


def read_video_header(path: Path) -> VideoClip:
    """Reads the container's header.

    Raises:
        Refusal: `unreadable`, `unsupported_pixels`.
    """
    with _opened(path) as video:
        frames, height, width = (
            round(video.get(name))
            for name in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH)
        )
        rate = video.get(cv2.CAP_PROP_FPS)
    if (shown := _shown_frames(path)) is not None:
        frames = min(frames, shown)
    check_size(frames, height, width)
    whole = Region(_TWO_DIMENSIONAL, 0, 0, width - 1, height - 1)
    return VideoClip(frames, height, width, (whole,), rate if 0 < rate < np.inf else None, path)


def _shown_frames(path: Path) -> int | None:
    """Counts the frames that an MP4's edit list shows; None of an AVI, or without such a list."""
    with path.open("rb") as file:
        head = file.read(12)
    if head[4:8] != b"ftyp":
        return None
    with refusing("the video's index"):
        return edit_list.shown_frames(path)


def decode_video_frames(clip: VideoClip, wanted: Sequence[int]) -> Iterator[np.ndarray]:
    """Decodes up to the last frame asked for, since frames depend on earlier ones; one is in memory at a time.

    Args:
        clip: header of the file.
        wanted: frame numbers from 0, rising.

    Yields:
        uint8 (height, width, 3), RGB.

    Raises:
        Refusal: `truncated`, `unreadable`.
    """
    with _opened(clip.path) as video:
        position = -1
        for index in wanted:
            while position < index:
                if not video.grab():
                    raise Refusal("truncated", f"{position + 1} of {clip.frames} stated frames are there")
                position += 1
            decoded, frame = video.retrieve()
            if not decoded or frame.shape != (clip.height, clip.width, 3):
                raise Refusal("unreadable", "a frame of the video cannot be decoded")
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


@contextmanager
def _opened(path: Path) -> Iterator[cv2.VideoCapture]:
    """Opens a video by file descriptor, since FFmpeg reads `%03d` in a name as a sequence of files.

    OpenCV can also read Python streams, but it crashes where FFmpeg refuses some damaged AVI files.
    """
    with path.open("rb") as file, refusing("the video"):
        video = cv2.VideoCapture(f"/dev/fd/{file.fileno()}", cv2.CAP_FFMPEG)
        try:
            if not video.isOpened():
                raise Refusal("unreadable", "the video cannot be opened")
            video.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
            yield video
        finally:
            video.release()
