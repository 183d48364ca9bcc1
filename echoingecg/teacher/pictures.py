"""Pictures of the teacher stage: contact sheets of echo frames, and a map of the study targets.

Print outside the sector may hold a patient's name. Only `contact_sheet` shows it, and only a person calls that.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
from sklearn.decomposition import PCA

from echoingecg.common import Refusal
from echoingecg.common.figure_style import GREY, drawable, new_figure, png, set_title, styled
from echoingecg.recipe.stages import TeacherSettings
from echoingecg.teacher.frames import read_unmasked

_FRAMES_PER_CLIP = 4  # evenly spread
_GAP_PX = 4
_OUTLINE_RGB = (255, 210, 0)
_LARGE_FRAME_PX = 224
_SMALL_FRAME_PX = 120  # a sheet of three clips then has about 150 kB
_MIN_STUDIES = 3  # fewer do not span a plane
_COLOUR_MAP = "viridis"  # readable with any colour vision
_HEIGHT_INCHES = 3.9


def contact_sheet(path: Path, settings: TeacherSettings) -> bytes:
    """Draws frames of a clip as decoded, with the outline of the sector, and as the teacher sees them: a PNG.

    Args:
        path: the clip.
        settings: of the teacher; frame_stride and max_frames are not used.

    Raises:
        Refusal: the clip cannot be read, or has no sector.
        OSError: the bytes cannot be read from the disk.
    """
    frames, inside = read_unmasked(path, _few_frames(settings), _LARGE_FRAME_PX)
    return _png([_strip(frames, inside), _strip(frames * inside[..., None])])


def masked_contact_sheet(paths: Sequence[Path], settings: TeacherSettings) -> bytes | None:
    """Draws frames of several clips, black outside the sector: a PNG, or None if there is no clip.

    Args:
        paths: clips; those that cannot be read any more are left out.
        settings: of the teacher, with a mask.
    """
    assert settings.mask, "unmasked frames may hold a name: only contact_sheet shows them"
    strips = []
    for path in paths:
        with suppress(Refusal, OSError):
            frames, inside = read_unmasked(path, _few_frames(settings), _SMALL_FRAME_PX)
            strips.append(_strip(frames * inside[..., None], inside))
    return _png(strips) if strips else None


def _few_frames(settings: TeacherSettings) -> TeacherSettings:
    return settings.model_copy(update={"frame_stride": 1, "max_frames": _FRAMES_PER_CLIP})


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
