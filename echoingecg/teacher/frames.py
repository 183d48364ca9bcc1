"""Echo clip to teacher frames: which frames, which region, which size (METHOD: ultrasound region, area resize).

What a scanner prints beside the sector (text, scale, ECG trace) is made black: a teacher must not read it.
"""

from pathlib import Path
from typing import Final

import cv2
import numpy as np

from echoingecg.errors import Refusal
from echoingecg.recipe.sections import TeacherSettings
from echoingecg.teacher.decode.dicom_clip import DicomClip, Region, read_dicom_clip
from echoingecg.teacher.decode.pixels import rgb_frames
from echoingecg.teacher.sector import LOOKS, find_sector, whole_pixels

_TWO_DIMENSIONAL: Final = 1  # Region Spatial Format, DICOM PS3.3 C.8.5.5.1.1
_STRIPS: Final = {2: "M-mode", 3: "spectral Doppler"}
_MIN_EDGE: Final = 16  # px; less is no image of a heart

Box = tuple[slice, slice]


def read_clip(path: Path, settings: TeacherSettings, size: int) -> np.ndarray:
    """Reads the frames that the teacher sees.

    Args:
        path: multi-frame ultrasound DICOM file.
        settings: frame_stride, max_frames, min_frames and mask are read.
        size: edge of the square frames, px. The aspect ratio is not kept (METHOD).

    Returns:
        uint8 (frame, size, size, 3), RGB, the two-dimensional region alone; 0 outside the sector.

    Raises:
        Refusal: the file is damaged, no cine, without region or sector, or encoded in an unknown way.
        OSError: the disk cannot give the bytes.
    """
    frames, inside = read_unmasked(path, settings, size)
    frames &= (inside * np.uint8(255))[..., None].repeat(3, axis=2)  # assigning by index takes 30 times as long
    return frames


def read_unmasked(path: Path, settings: TeacherSettings, size: int) -> tuple[np.ndarray, np.ndarray]:
    """As `read_clip`, with all that is printed, and the sector: bool (size, size), everywhere where mask is off."""
    clip = read_dicom_clip(path)
    box = two_dimensional_region(clip)
    if clip.frames < settings.min_frames:
        raise Refusal("not_a_cine", f"frames: {clip.frames}, at least {settings.min_frames} are needed")
    wanted = frame_indices(clip.frames, settings.frame_stride, settings.max_frames)
    # Whatever is wanted, the same frames are compared: a frame's embedding does not depend on its company.
    looks = frame_indices(clip.frames, 1, LOOKS) if settings.mask else []
    numbers, place = sorted({*wanted, *looks}), {number: index for index, number in enumerate(wanted)}
    frames, seen = np.empty((len(wanted), size, size, 3), np.uint8), []
    for number, frame in zip(numbers, rgb_frames(clip, numbers), strict=True):
        if number in looks:
            seen.append(cv2.cvtColor(frame[box], cv2.COLOR_RGB2GRAY))
        if number in place:
            cv2.resize(frame[box], (size, size), dst=frames[place[number]], interpolation=cv2.INTER_AREA)
    return frames, whole_pixels(find_sector(seen), size) if settings.mask else np.ones((size, size), bool)


def frame_indices(frames: int, stride: int, max_frames: int) -> list[int]:
    """Every `stride`-th frame number; where that is over `max_frames` (0: no limit), evenly spread ones of them."""
    strided = range(0, frames, stride)
    if not max_frames or len(strided) <= max_frames:
        return list(strided)
    return [strided[i * (len(strided) - 1) // max(max_frames - 1, 1)] for i in range(max_frames)]


def two_dimensional_region(clip: DicomClip) -> Box:
    """Rows and columns of the largest two-dimensional region, clipped to the image; the first of equals.

    Raises:
        Refusal: `not_a_cine` where only strips are stated, else `no_region`.
    """
    boxes = [_box(region, clip) for region in clip.regions if region.spatial_format == _TWO_DIMENSIONAL]
    boxes = [box for box in boxes if min(_edges(box)) >= _MIN_EDGE]
    if boxes:
        return max(boxes, key=lambda box: np.prod(_edges(box)))
    strips = sorted({_STRIPS[one.spatial_format] for one in clip.regions if one.spatial_format in _STRIPS})
    if strips:
        raise Refusal("not_a_cine", f"only {' and '.join(strips)} regions")
    raise Refusal("no_region", f"regions: {len(clip.regions)}, two-dimensional within the image: 0")


def _box(region: Region, clip: DicomClip) -> Box:
    return (
        slice(max(region.top, 0), min(region.bottom + 1, clip.height)),
        slice(max(region.left, 0), min(region.right + 1, clip.width)),
    )


def _edges(box: Box) -> tuple[int, int]:
    rows, columns = box
    return rows.stop - rows.start, columns.stop - columns.start
