"""Echo clip to the frames that the teacher sees: which frames, which region, which size (docs/method.md).

What a scanner prints beside the sector (text, scale, ECG trace) is made black: a teacher must not read it.
"""

from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from echoingecg.common import Refusal
from echoingecg.recipe.stages import TeacherSettings
from echoingecg.teacher import cine_check, sector_mask
from echoingecg.teacher.decode import decode_frames, read_header
from echoingecg.teacher.decode.clip import Clip, Region

_TWO_DIMENSIONAL = 1  # Region Spatial Format, DICOM PS3.3 C.8.5.5.1.1
_STRIPS = {2: "M-mode", 3: "spectral Doppler"}
_ZOOM = 0.1
_MIN_EDGE_PX = 16  # a smaller region shows no heart

Box = tuple[slice, slice]  # rows and columns
_NOWHERE = (slice(0, 0), slice(0, 0))


def read_clip(path: Path, settings: TeacherSettings, size: int) -> np.ndarray:
    """Reads the frames that the teacher sees, and refuses what is no clip of a beating heart.

    Args:
        path: multi-frame ultrasound DICOM file, AVI or MP4.
        settings: frame_stride, max_frames, min_frames, colour_doppler, view_filter, region and mask are read.
        size: edge of the square frames, px. The aspect ratio is not kept (docs/method.md).

    Returns:
        uint8 (frame, size, size, 3), RGB, of the region only; 0 outside the sector.

    Raises:
        Refusal: the file is damaged, no cine, without region or sector, not wanted, or encoded in an unknown way.
        OSError: the bytes cannot be read from the disk.
    """
    clip, frames, compared = _read(path, settings, size)
    cine_check.check_cine(clip, frames, settings)
    inside = _sector(compared, settings, size)
    frames &= (inside * np.uint8(255))[..., None].repeat(3, axis=2)  # 30 times as fast as assigning by index
    return frames


def read_unmasked(path: Path, settings: TeacherSettings, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Reads the frames as decoded, with everything that is printed on them, and the sector.

    Motion is not checked. For the arguments and errors see `read_clip`.

    Returns:
        uint8 (frame, size, size, 3), RGB; bool (size, size), True everywhere if the mask is off.
    """
    _, frames, compared = _read(path, settings, size)
    return frames, _sector(compared, settings, size)


def _read(path: Path, settings: TeacherSettings, size: int) -> tuple[Clip, np.ndarray, list[np.ndarray]]:
    """Reads the header, the frames wanted (resized), and the grey frames of full size that show the sector."""
    clip = read_header(path)
    if clip.frames < settings.min_frames:
        raise Refusal("not_a_cine", f"frames: {clip.frames}, at least {settings.min_frames} are needed")
    box = teacher_region(clip, settings.region)
    wanted = frame_indices(clip.frames, settings.frame_stride, settings.max_frames, settings.frames_from)
    # The sector never depends on which frames are wanted, so a frame's embedding does not either.
    compared = frame_indices(clip.frames, 1, sector_mask.COMPARED_FRAMES) if settings.mask else []
    seen = centre_of(box) if settings.crop == "centre" else box
    resampling = cv2.INTER_CUBIC if settings.crop == "centre" else cv2.INTER_AREA
    numbers, place = sorted({*wanted, *compared}), {number: index for index, number in enumerate(wanted)}
    frames, grey = np.empty((len(wanted), size, size, 3), np.uint8), []
    for number, frame in zip(numbers, decode_frames(clip, numbers), strict=True):
        if number in compared:
            grey.append(cv2.cvtColor(frame[box], cv2.COLOR_RGB2GRAY))
        if number in place:
            cv2.resize(frame[seen], (size, size), dst=frames[place[number]], interpolation=resampling)
    return clip, frames, grey


def _sector(compared: list[np.ndarray], settings: TeacherSettings, size: int) -> np.ndarray:
    if not settings.mask:
        return np.ones((size, size), bool)
    sector = sector_mask.find_sector(compared)
    if settings.crop == "centre":
        sector = sector[centre_of((slice(0, sector.shape[0]), slice(0, sector.shape[1])))]
    return sector_mask.resized_sector(sector, size)


def centre_of(box: Box) -> Box:
    """Cuts a box to its central square, then by a tenth at each edge, as ECHO-CLIP's and EchoPrime's own code does."""
    height, width = _edges(box)
    cut = [round((height - width) / 2), 0] if height > width else [0, round((width - height) / 2)]
    inner = [edge - 2 * less for edge, less in zip((height, width), cut, strict=True)]
    cut = [less + round(int(edge * _ZOOM)) for less, edge in zip(cut, inner, strict=True)]
    rows, columns = box
    return slice(rows.start + cut[0], rows.stop - cut[0]), slice(columns.start + cut[1], columns.stop - cut[1])


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


def teacher_region(clip: Clip, choice: Literal["largest", "first"]) -> Box:
    """Finds the region that the teacher sees, cut to the image: rows and columns.

    Args:
        clip: states its regions.
        choice: `largest` as in `two_dimensional_region`; `first` the first that the file lists, whatever it shows, as
            published (METHOD).

    Raises:
        Refusal: `no_region`; `largest` also `not_a_cine`.
    """
    if choice == "largest":
        return two_dimensional_region(clip)
    box = _box(clip.regions[0], clip) if clip.regions else _NOWHERE
    if min(_edges(box)) < _MIN_EDGE_PX:
        raise Refusal("no_region", f"regions: {len(clip.regions)}, and the first has no {_MIN_EDGE_PX} px in the image")
    return box


def two_dimensional_region(clip: Clip) -> Box:
    """Finds the largest two-dimensional region (the first of equals) and cuts it to the image: rows and columns.

    Raises:
        Refusal: `not_a_cine` where an M-mode or Doppler strip is larger or alone; otherwise `no_region`.
    """
    boxes = [_box(region, clip) for region in clip.regions if region.spatial_format == _TWO_DIMENSIONAL]
    largest = max((box for box in boxes if min(_edges(box)) >= _MIN_EDGE_PX), key=_area, default=_NOWHERE)
    strips = [region for region in clip.regions if region.spatial_format in _STRIPS]
    if any(_area(_box(strip, clip)) > _area(largest) for strip in strips):
        kinds = sorted({_STRIPS[strip.spatial_format] for strip in strips})
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
