"""Reads AVI and MP4 files through PyAV (FFmpeg), frame after frame; what the decoder finds damaged is a refusal.

A video states no ultrasound regions: the whole picture counts as one two-dimensional region.
"""

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame

from echoingecg.common import Refusal
from echoingecg.teacher.decode import edit_list
from echoingecg.teacher.decode.clip import MAX_EDGE_PX, Clip, Region, check_size
from echoingecg.teacher.decode.dicom import refusing

_TWO_DIMENSIONAL = 1
# FFmpeg's decoders conceal damage unless they are asked to stop; the limit holds before a picture is allocated.
_STRICT = {"err_detect": "crccheck+bitstream+buffer+explode", "max_pixels": str(MAX_EDGE_PX**2)}
_HEAD_BYTES, _AVI_HEADER_BYTES = 12, 4096

av.logging.set_level(av.logging.PANIC)  # what FFmpeg prints names no file, and a refusal says it


@dataclass(frozen=True)
class VideoClip(Clip):
    """A video whose container has been read.

    Attributes:
        path: of the file.
    """

    path: Path


def is_video(head: bytes) -> bool:
    """Says whether a file that begins with these bytes (12 or more) is an AVI or an ISO base media file (MP4, MOV)."""
    return bool(_container(head))


def _container(head: bytes) -> str:
    """Names FFmpeg's reader of a file that begins with these bytes; empty where it is neither AVI nor MP4."""
    if (head[:4], head[8:12]) == (b"RIFF", b"AVI "):
        return "avi"
    return "mov" if head[4:8] == b"ftyp" else ""


def read_video_header(path: Path) -> VideoClip:
    """Reads the container's header.

    Raises:
        Refusal: `unreadable`, `unsupported_pixels`.
        OSError: the bytes cannot be read from the disk.
    """
    with _opened(path) as video:
        stream = video.streams.video[0]
        rate = float(stream.guessed_rate or 0)
        frames, height, width = stream.frames, stream.height, stream.width
        if not frames and stream.duration and stream.time_base:
            frames = round(float(stream.duration * stream.time_base) * rate)
    with path.open("rb") as file:
        head = file.read(_AVI_HEADER_BYTES)
    if _container(head) == "avi":
        _check_stated_size(head, height, width)
    else:
        with refusing("the video's index"):
            frames = min(frames, edit_list.shown_frames(path) or frames)
    check_size(frames, height, width)
    whole = Region(_TWO_DIMENSIONAL, 0, 0, width - 1, height - 1)
    return VideoClip(frames, height, width, (whole,), rate if 0 < rate < np.inf else None, path)


def _check_stated_size(head: bytes, height: int, width: int) -> None:
    """Refuses an AVI whose stream states another size: FFmpeg takes pictures of half the height for half-frames."""
    form = head.find(b"strf", head.find(b"vids"))  # then the length, and that of a BITMAPINFOHEADER
    stated = struct.unpack_from("<ii", head, form + 12) if 0 < form <= len(head) - 20 else (width, height)
    if (stated[0], abs(stated[1])) != (width, height):
        detail = f"pictures of {width} x {height} px, the AVI states {stated[0]} x {stated[1]}"
        raise Refusal("unsupported_pixels", detail)


def decode_video_frames(clip: VideoClip, wanted: Sequence[int]) -> Iterator[np.ndarray]:
    """Decodes up to the last frame asked for, since frames depend on earlier ones; one is in memory at a time.

    Args:
        clip: header of the file.
        wanted: frame numbers from 0, rising.

    Yields:
        uint8 (height, width, 3), RGB.

    Raises:
        Refusal: `truncated`, `unreadable`.
        OSError: the bytes cannot be read from the disk.
    """
    with _opened(clip.path) as video:
        frames, position = video.decode(video.streams.video[0]), -1
        for index in wanted:
            while position < index:
                frame = _next_frame(frames, position + 1, clip)
                position += 1
            picture = frame.to_ndarray(format="rgb24")
            if picture.shape != (clip.height, clip.width, 3):
                raise Refusal("unreadable", f"a frame of the video has another size (frame {index})")
            yield picture


def _next_frame(frames: Iterator[VideoFrame], number: int, clip: VideoClip) -> VideoFrame:
    """Decodes the next frame. Raises Refusal: `truncated`, `unreadable`."""
    try:
        frame = next(frames, None)
    except av.error.MemoryError:
        raise
    except av.error.FFmpegError as fault:
        if _is_cut(clip.path):
            raise Refusal("truncated", f"the file ends about frame {number} of {clip.frames}") from fault
        raise Refusal("unreadable", f"the video is damaged: {fault.strerror} (about frame {number})") from fault
    if frame is None:
        raise Refusal("truncated", f"{number} of {clip.frames} stated frames are there")
    if frame.is_corrupt:
        raise Refusal("unreadable", f"the video is damaged (frame {number})")
    return frame


def _is_cut(path: Path) -> bool:
    """Says whether an AVI file ends before its first chunk does."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    return head[:4] == b"RIFF" and 8 + int.from_bytes(head[4:8], "little") > path.stat().st_size


@contextmanager
def _opened(path: Path) -> Iterator[InputContainer]:
    """Opens a video as a stream of bytes: FFmpeg takes some names for addresses or for patterns of many files."""
    with path.open("rb") as file, refusing("the video"):
        container = _container(file.read(_HEAD_BYTES))
        file.seek(0)
        try:
            video = av.open(file, "r", format=container, options=_STRICT)
        except av.error.FFmpegError as fault:
            raise Refusal("unreadable", f"the video cannot be opened: {fault.strerror}") from fault
        with video:
            if not video.streams.video:
                raise Refusal("unreadable", "the file holds no video")
            context = video.streams.video[0].codec_context
            context.options = _STRICT
            context.thread_count = 1  # clips are decoded side by side
            yield video
