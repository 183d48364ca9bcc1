"""Echo clip to teacher frames: which frames, which region, which size (METHOD: ultrasound region, area resize).

What a scanner prints beside the sector (text, scale, ECG trace) is made black: a teacher must not read it.
"""

from pathlib import Path

import cv2
import numpy as np

from echoingecg.common import Refusal
from echoingecg.recipe.stages import TeacherSettings
from echoingecg.teacher import cine_check, sector_mask
from echoingecg.teacher.decode import decode_frames, read_header
from echoingecg.teacher.decode.clip import Clip, Region

_TWO_DIMENSIONAL = 1  # Region Spatial Format, DICOM PS3.3 C.8.5.5.1.1
_STRIPS = {2: "M-mode", 3: "spectral Doppler"}
_MIN_EDGE = 16  # px; less is no image of a heart

Box = tuple[slice, slice]
_NOWHERE = (slice(0, 0), slice(0, 0))


def read_clip(path: Path, settings: TeacherSettings, size: int) -> np.ndarray:
    """Reads the frames that the teacher sees.

    Args:
        path: multi-frame ultrasound DICOM file, AVI or MP4.
        settings: frame_stride, max_frames, min_frames, colour_doppler, view_filter and mask are read.
        size: edge of the square frames, px. The aspect ratio is not kept (METHOD).

    Returns:
        uint8 (frame, size, size, 3), RGB, the two-dimensional region alone; 0 outside the sector.

    Raises:
        Refusal: the file is damaged, no cine, without region or sector, not wanted, or encoded in an unknown way.
        OSError: the disk cannot give the bytes.
    """
    clip, frames, looks = _read(path, settings, size)
    cine_check.check_cine(clip, frames, settings)
    inside = _sector(looks, settings, size)
    frames &= (inside * np.uint8(255))[..., None].repeat(3, axis=2)  # assigning by index takes 30 times as long
    return frames


def read_unmasked(path: Path, settings: TeacherSettings, size: int) -> tuple[np.ndarray, np.ndarray]:
    """As `read_clip`, with all that is printed, and the sector: bool (size, size), everywhere where mask is off.

    What moves is not judged.
    """
    _, frames, looks = _read(path, settings, size)
    return frames, _sector(looks, settings, size)


def _read(path: Path, settings: TeacherSettings, size: int) -> tuple[Clip, np.ndarray, list[np.ndarray]]:
    """The clip, the frames that are wanted, and the grey ones, of full size, that the sector is found from."""
    clip = read_header(path)
    if clip.frames < settings.min_frames:
        raise Refusal("not_a_cine", f"frames: {clip.frames}, at least {settings.min_frames} are needed")
    box = two_dimensional_region(clip)
    wanted = frame_indices(clip.frames, settings.frame_stride, settings.max_frames)
    # Whatever is wanted, the same frames are compared: a frame's embedding does not depend on its company.
    looks = frame_indices(clip.frames, 1, sector_mask.COMPARED_FRAMES) if settings.mask else []
    numbers, place = sorted({*wanted, *looks}), {number: index for index, number in enumerate(wanted)}
    frames, seen = np.empty((len(wanted), size, size, 3), np.uint8), []
    for number, frame in zip(numbers, decode_frames(clip, numbers), strict=True):
        if number in looks:
            seen.append(cv2.cvtColor(frame[box], cv2.COLOR_RGB2GRAY))
        if number in place:
            cv2.resize(frame[box], (size, size), dst=frames[place[number]], interpolation=cv2.INTER_AREA)
    return clip, frames, seen


def _sector(looks: list[np.ndarray], settings: TeacherSettings, size: int) -> np.ndarray:
    if not settings.mask:
        return np.ones((size, size), bool)
    return sector_mask.resized_sector(sector_mask.find_sector(looks), size)


def frame_indices(frames: int, stride: int, max_frames: int) -> list[int]:
    """Every `stride`-th frame number; where that is over `max_frames` (0: no limit), evenly spread ones of them."""
    strided = range(0, frames, stride)
    if not max_frames or len(strided) <= max_frames:
        return list(strided)
    return [strided[i * (len(strided) - 1) // max(max_frames - 1, 1)] for i in range(max_frames)]


def two_dimensional_region(clip: Clip) -> Box:
    """Rows and columns of the largest two-dimensional region, clipped to the image; the first of equals.

    Raises:
        Refusal: `not_a_cine` where a strip is larger, or the only thing stated; else `no_region`.
    """
    boxes = [_box(region, clip) for region in clip.regions if region.spatial_format == _TWO_DIMENSIONAL]
    largest = max((box for box in boxes if min(_edges(box)) >= _MIN_EDGE), key=_area, default=_NOWHERE)
    strips = [one for one in clip.regions if one.spatial_format in _STRIPS]
    if any(_area(_box(one, clip)) > _area(largest) for one in strips):
        kinds = sorted({_STRIPS[one.spatial_format] for one in strips})
        raise Refusal("not_a_cine", f"{' and '.join(kinds)} over more of the picture than two dimensions")
    if largest == _NOWHERE:
        raise Refusal("no_region", f"regions: {len(clip.regions)}, two-dimensional within the image: 0")
    return largest


def _box(region: Region, clip: Clip) -> Box:
    return (
        slice(max(region.top, 0), min(region.bottom + 1, clip.height)),
        slice(max(region.left, 0), min(region.right + 1, clip.width)),
    )


def _edges(box: Box) -> tuple[int, int]:
    rows, columns = box
    return rows.stop - rows.start, columns.stop - columns.start


def _area(box: Box) -> int:
    height, width = _edges(box)
    return max(height, 0) * max(width, 0)
