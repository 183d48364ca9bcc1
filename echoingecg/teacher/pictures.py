"""Pictures of the teacher stage: contact sheets of echo frames, and a map of the study targets.

Print may hold a patient's name. Only `contact_sheet` shows it, and only a person calls that. In a sheet that is kept,
everything outside the sector is black, and so is bright print that stands still within it.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import TypeVar

import cv2
import numpy as np
from sklearn.decomposition import PCA

from echoingecg.common import Refusal
from echoingecg.common.figure_style import GREY, drawable, new_figure, png, set_title, styled
from echoingecg.recipe.stages import TeacherSettings
from echoingecg.teacher.decode import decode_frames, read_header
from echoingecg.teacher.frames import frame_indices, read_checked, read_unmasked
from echoingecg.teacher.sector.evidence import disc
from echoingecg.teacher.sector.find import COMPARED_FRAMES

_FRAMES_PER_CLIP = 4  # evenly spread
_GAP_PX = 4
_OUTLINE_RGB = (255, 210, 0)
_LARGE_FRAME_PX = 224
_SMALL_FRAME_PX = 120  # a sheet of three clips then has about 150 kB
_COARSE_PX = 30  # edge of a coarse frame: blocks of 4 px, in which nobody reads a line of print
_STILL_LEVELS, _PRINT_CONTRAST = 12, 25  # grey levels: print changes less, and stands out more, than what lies about it
_LINE_PX, _LETTER_PX = 20, 8
_TEXT_RGB = (255, 255, 255)
# What a recipe may say about files that are refused for a reason.
_ADVICE = {
    "no_sector": "teacher.mask=false shows the teacher the whole region, with everything that is printed on it",
    "stale_region": "teacher.stale_region=rescale divides the region by the least whole number with which it fits",
    "no_region": "only an ultrasound file with a sure sector needs no region: state one in the file",
    "not_a_cine": "teacher.min_frames is the least number of frames; stills and strips have no setting",
    "unwanted_view": "teacher.colour_doppler and teacher.view_filter say which clips count",
}
_MIN_STUDIES = 3  # fewer do not span a plane
_COLOUR_MAP = "viridis"  # readable with any colour vision
_HEIGHT_INCHES = 3.9


@dataclass(frozen=True)
class Sheet:
    """A picture of one file.

    Attributes:
        png: content of the PNG file.
        remarks: lines to print: whether the clip is refused or its sector doubtful, why, and what may be set.
    """

    png: bytes
    remarks: tuple[str, ...]


def contact_sheet(path: Path, settings: TeacherSettings) -> Sheet:
    """Draws frames of a clip as decoded, with the outline of the sector, and as the teacher sees them.

    A refused file is drawn, too, if a frame can be decoded: frames as decoded, and why.

    Args:
        path: the clip.
        settings: of the teacher.

    Raises:
        Refusal: no frame can be decoded.
        OSError: the bytes cannot be read from the disk.
    """
    try:
        clip = read_checked(path, settings, _LARGE_FRAME_PX)
    except Refusal as refusal:
        return _refused_sheet(path, refusal)
    taken = frame_indices(len(clip.frames), 1, _FRAMES_PER_CLIP)
    frames = clip.frames[taken]
    strips = [_strip(frames, clip.inside), _strip(frames * clip.inside[..., None])]
    doubtful = clip.degree == "doubtful"
    remarks = (f"doubtful sector: {clip.doubt}; {_ADVICE['no_sector']}",) if doubtful else ()
    return Sheet(_png([*strips, *_lines(remarks)]), remarks)


def _refused_sheet(path: Path, refusal: Refusal) -> Sheet:
    header = _or_raise(lambda: read_header(path), refusal)
    wanted = frame_indices(header.frames, 1, _FRAMES_PER_CLIP)
    frames = []
    for frame in _or_raise(lambda: list(decode_frames(header, wanted)), refusal):
        share = _LARGE_FRAME_PX / max(frame.shape[:2])
        height, width = (max(round(edge * share), 1) for edge in frame.shape[:2])
        square = np.zeros((_LARGE_FRAME_PX, _LARGE_FRAME_PX, 3), np.uint8)
        square[:height, :width] = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
        frames.append(square)
    advice = _ADVICE.get(refusal.reason)
    remarks = (f"refused, {refusal}", *([f"{advice}"] if advice else []))
    return Sheet(_png([_strip(np.stack(frames)), *_lines(remarks)]), remarks)


Value = TypeVar("Value")


def _or_raise(work: Callable[[], Value], refusal: Refusal) -> Value:
    """Returns the result of `work`; where it is refused, too, raises the first refusal."""
    try:
        return work()
    except Refusal as second:
        raise refusal from second


def _lines(remarks: Sequence[str]) -> list[np.ndarray]:
    """Writes remarks below each other, in lines of the sheet's width."""
    letters = (_FRAMES_PER_CLIP * (_LARGE_FRAME_PX + 2 * _GAP_PX)) // _LETTER_PX
    lines = []
    for remark in remarks:
        for line in wrap(drawable(remark), letters):
            strip = np.zeros((_LINE_PX, letters * _LETTER_PX, 3), np.uint8)
            cv2.putText(strip, line, (_GAP_PX, _LINE_PX - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.42, _TEXT_RGB, 1, cv2.LINE_AA)
            lines.append(strip)
    return lines


def masked_contact_sheet(paths: Sequence[Path], settings: TeacherSettings, coarse: bool) -> bytes | None:
    """Draws frames of several clips, black outside the sector and over print: a PNG, or None if there is no clip.

    Args:
        paths: clips; those that cannot be read any more are left out.
        settings: of the teacher, with a mask.
        coarse: whether frames are reduced to blocks, as for every export that is not public.
    """
    assert settings.mask, "unmasked frames may hold a name: only contact_sheet shows them"
    strips = []
    for path in paths:
        with suppress(Refusal, OSError):
            clip = read_unmasked(path, _spread_frames(settings), _SMALL_FRAME_PX)
            shown = frame_indices(len(clip.frames), 1, _FRAMES_PER_CLIP)
            strips.append(_strip(without_print(clip.masked, coarse)[shown], clip.inside))
    return _png(strips) if strips else None


def without_print(frames: np.ndarray, coarse: bool) -> np.ndarray:
    """Blacks out bright strokes that stand still in all frames; a copy.

    Args:
        frames: uint8 (frame, size, size, 3), RGB, spread over the clip.
        coarse: whether the frames are reduced to blocks as well.
    """
    grey = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames])
    darkest, size = grey.min(axis=0), frames.shape[1]
    contrast = cv2.morphologyEx(darkest, cv2.MORPH_TOPHAT, disc(size / 12))
    is_print = (contrast > _PRINT_CONTRAST) & (grey.max(axis=0) - darkest < _STILL_LEVELS + contrast // 4)
    covered = cv2.dilate(is_print.astype(np.uint8), disc(size / 24)) > 0
    shown = np.where(covered[..., None], np.uint8(0), frames)
    if not coarse:
        return shown
    blocks = [cv2.resize(frame, (_COARSE_PX, _COARSE_PX), interpolation=cv2.INTER_AREA) for frame in shown]
    return np.stack([cv2.resize(frame, (size, size), interpolation=cv2.INTER_NEAREST) for frame in blocks])


def _spread_frames(settings: TeacherSettings) -> TeacherSettings:
    return settings.model_copy(update={"frame_stride": 1, "max_frames": COMPARED_FRAMES, "frames_from": "whole"})


def _strip(frames: np.ndarray, inside: np.ndarray | None = None) -> np.ndarray:
    """Puts frames beside each other, and draws the outline of the sector if it is given."""
    frames = np.pad(frames, ((0, 0), (_GAP_PX, _GAP_PX), (_GAP_PX, _GAP_PX), (0, 0)))
    if inside is not None:
        edges, _ = cv2.findContours(np.pad(inside, _GAP_PX).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        for frame in frames:
            cv2.drawContours(frame, edges, -1, _OUTLINE_RGB, 1)
    return np.concatenate(list(frames), axis=1)


def _png(strips: Sequence[np.ndarray]) -> bytes:
    width = max(strip.shape[1] for strip in strips)  # a short clip has fewer frames to show
    padded = [np.pad(strip, ((0, 0), (0, width - strip.shape[1]), (0, 0))) for strip in strips]
    image = cv2.cvtColor(np.concatenate(padded), cv2.COLOR_RGB2BGR)
    encoded, content = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    assert encoded
    return content.tobytes()


def draw_embedding_map(mean: np.ndarray, values: np.ndarray, measurement: str, unit: str) -> bytes | None:
    """Draws study targets on their two principal components, coloured by a measurement: a PNG.

    The same arguments give the same bytes. Fewer than three studies give None.

    Args:
        mean: float32 (study, dim), target means.
        values: float64 (study,), in `unit`; NaN where nothing was measured, drawn in grey.
        measurement: name of the measurement.
        unit: unit of the values.
    """
    if len(mean) < _MIN_STUDIES:
        return None
    components = PCA(2, svd_solver="full").fit(mean)
    x, y = components.transform(mean).T
    known = np.isfinite(values)
    with styled():
        figure = new_figure(_HEIGHT_INCHES)
        axes = figure.add_subplot()
        axes.scatter(x[~known], y[~known], s=10, color=GREY, linewidths=0)
        dots = axes.scatter(x[known], y[known], s=14, c=values[known], cmap=_COLOUR_MAP, linewidths=0)
        if known.any():
            figure.colorbar(dots, label=drawable(f"{measurement} ({unit})" if unit else measurement))
        for name, share in zip(("x", "y"), components.explained_variance_ratio_, strict=True):
            axes.set(**{f"{name}label": f"component of {share:.0%} of the variance"})
        set_title(axes, f"{len(mean)} echo studies, {np.count_nonzero(known)} with {measurement}")
        return png(figure)
