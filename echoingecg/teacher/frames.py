"""Echo clip to the frames that the teacher sees: which frames, which region, which size (docs/method.md).

What a scanner prints beside the sector (text, scale, ECG trace) is made black: a teacher must not read it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from echoingecg.common import Refusal
from echoingecg.recipe.stages import TeacherSettings
from echoingecg.teacher import cine_check
from echoingecg.teacher.decode import check_frame_count, decode_frames, read_header
from echoingecg.teacher.decode.clip import Clip
from echoingecg.teacher.regions import Box, edges, teacher_region
from echoingecg.teacher.sector import find

_ZOOM = 0.1


@dataclass(frozen=True)
class SeenClip:
    """The frames of a clip, and where its sector is.

    Attributes:
        frames: uint8 (frame, size, size, 3), RGB, with everything that is printed on them.
        inside: bool (size, size), True everywhere if the mask is off.
        degree: whether the sector is sure or doubtful; none if the mask is off.
        doubt: why it is doubtful, in words.
    """

    frames: np.ndarray
    inside: np.ndarray
    degree: Literal["none", "sure", "doubtful"]
    doubt: str

    @property
    def masked(self) -> np.ndarray:
        """The frames with 0 outside the sector; the frames themselves are changed, which is 30 times as fast."""
        if self.degree != "none":
            frames = self.frames
            frames &= (self.inside * np.uint8(255))[..., None].repeat(3, axis=2)
        return self.frames


def read_clip(path: Path, settings: TeacherSettings, size: int) -> np.ndarray:
    """Reads the frames that the teacher sees, and refuses what is no clip of a beating heart.

    Args:
        path: multi-frame ultrasound DICOM file, AVI or MP4.
        settings: all fields about frames, regions, views and the mask are read.
        size: edge of the square frames, px. The aspect ratio is not kept (docs/method.md).

    Returns:
        uint8 (frame, size, size, 3), RGB, of the region only; 0 outside the sector.

    Raises:
        Refusal: the file is damaged, no cine, without region or sector, not wanted, or encoded in an unknown way.
        OSError: the bytes cannot be read from the disk.
    """
    return read_checked(path, settings, size).masked


def read_checked(path: Path, settings: TeacherSettings, size: int) -> SeenClip:
    """Reads a clip and its sector, and checks that it moves like a heart. Arguments and errors as for `read_clip`."""
    clip, frames, compared = _read(path, settings, size)
    cine_check.check_cine(clip, frames, settings)
    return _seen(frames, compared)


def read_unmasked(path: Path, settings: TeacherSettings, size: int) -> SeenClip:
    """Reads a clip and its sector; motion is not checked. Arguments and errors as for `read_clip`."""
    _, frames, compared = _read(path, settings, size)
    return _seen(frames, compared)


@dataclass(frozen=True)
class _Compared:
    """The frames that show the sector, reduced, the size that they had, px, and whether their centre alone is seen."""

    frames: list[np.ndarray]
    size: tuple[int, int]
    centre: bool


def _read(path: Path, settings: TeacherSettings, size: int) -> tuple[Clip, np.ndarray, _Compared | None]:
    """Reads the header, the frames wanted (resized), and those that show the sector if there is a mask."""
    clip = read_header(path)
    if clip.frames < settings.min_frames:
        check_frame_count(clip)
        raise Refusal("not_a_cine", f"frames: {clip.frames}, at least {settings.min_frames} are needed")
    # The sector never depends on which frames are wanted, so a frame's embedding does not either.
    compared = frame_indices(clip.frames, 1, find.COMPARED_FRAMES)
    box = _region(clip, settings, compared)
    wanted = _wanted(clip, settings)
    compared = compared if settings.mask else []
    seen = centre_of(box) if settings.crop == "centre" else box
    resampling = cv2.INTER_CUBIC if settings.crop == "centre" else cv2.INTER_AREA
    numbers, place = sorted({*wanted, *compared}), {number: index for index, number in enumerate(wanted)}
    frames, reduced = np.empty((len(wanted), size, size, 3), np.uint8), []
    for number, frame in zip(numbers, decode_frames(clip, numbers), strict=True):
        if number in compared:
            reduced.append(find.reduced(frame[box]))
        if number in place:
            cv2.resize(frame[seen], (size, size), dst=frames[place[number]], interpolation=resampling)
    return clip, frames, _Compared(reduced, edges(box), settings.crop == "centre") if settings.mask else None


def _region(clip: Clip, settings: TeacherSettings, compared: Sequence[int]) -> Box:
    """Finds the region that the teacher sees; of an ultrasound file that states none, the box around its sector."""
    if clip.regions or not (settings.mask and clip.is_ultrasound):
        return teacher_region(clip, settings)
    sector = find.find_sector(
        [find.reduced(frame) for frame in decode_frames(clip, compared)], (clip.height, clip.width)
    )
    if sector.degree != "sure":
        raise Refusal("no_region", f"no region is stated, and the sector is doubtful: {sector.reason}")
    rows, columns = (np.flatnonzero(sector.mask.any(axis=axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _seen(frames: np.ndarray, compared: _Compared | None) -> SeenClip:
    if compared is None:
        return SeenClip(frames, np.ones(frames.shape[1:3], bool), "none", "")
    sector = find.find_sector(compared.frames, compared.size)
    height, width = compared.size
    mask = sector.mask[centre_of((slice(0, height), slice(0, width)))] if compared.centre else sector.mask
    inside = find.resized_sector(mask, frames.shape[1])
    return SeenClip(frames, inside, sector.degree, sector.reason)


def centre_of(box: Box) -> Box:
    """Cuts a box to its central square, then by a tenth at each edge, as ECHO-CLIP's and EchoPrime's own code does."""
    height, width = edges(box)
    cut = [round((height - width) / 2), 0] if height > width else [0, round((width - height) / 2)]
    inner = [edge - 2 * less for edge, less in zip((height, width), cut, strict=True)]
    cut = [less + round(int(edge * _ZOOM)) for less, edge in zip(cut, inner, strict=True)]
    rows, columns = box
    return slice(rows.start + cut[0], rows.stop - cut[0]), slice(columns.start + cut[1], columns.stop - cut[1])


def _wanted(clip: Clip, settings: TeacherSettings) -> list[int]:
    """Lists the frames that the recipe takes. Raises Refusal: `no_frame_rate`."""
    if not settings.frames_per_second:
        return frame_indices(clip.frames, settings.frame_stride, settings.max_frames, settings.frames_from)
    if clip.frame_rate is None:
        raise Refusal("no_frame_rate", "frames a second are not stated, and teacher.frames_per_second asks for them")
    timed = timed_indices(clip.frames, clip.frame_rate, settings.frames_per_second)
    return [timed[index] for index in frame_indices(len(timed), 1, settings.max_frames, settings.frames_from)]


def timed_indices(frames: int, rate: float, wanted_rate: float) -> list[int]:
    """Selects the frames nearest to the times 0, 1 / wanted_rate, 2 / wanted_rate, ...; none twice.

    Args:
        frames: of the clip, taken as evenly spaced.
        rate, wanted_rate: 1/s. A clip of fewer frames a second than wanted gives all that it has.
    """
    times = np.arange(ceil(frames * wanted_rate / rate) + 1) / wanted_rate
    nearest = np.floor(times * rate + 0.5).astype(int)
    return list(dict.fromkeys(nearest[nearest < frames].tolist()))


def frame_indices(
    frames: int, stride: int, max_frames: int, frames_from: Literal["whole", "start"] = "whole"
) -> list[int]:
    """Selects every `stride`-th frame number; if more than `max_frames` (0: no limit), an even spread or the first."""
    strided = range(0, frames, stride)
    if not max_frames or len(strided) <= max_frames:
        return list(strided)
    if frames_from == "start":
        return list(strided[:max_frames])
    return [strided[index * (len(strided) - 1) // max(max_frames - 1, 1)] for index in range(max_frames)]
