"""Frames of echo clips side by side, with the outline of the sector that the teacher sees.

What stands outside the outline may hold a name. It is drawn by `contact_sheet` alone, which a person calls.

Study targets on a plane: their two principal components, coloured by a measurement.
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

_FRAMES = 4  # of a clip, evenly spread
_GAP = 4  # px
_OUTLINE = (255, 210, 0)
_LARGE = 224  # px, edge of a frame
_SMALL = 120  # px: a sheet of three clips takes about 150 kB


def contact_sheet(path: Path, settings: TeacherSettings) -> bytes:
    """PNG of some frames of a clip as decoded, with the sector's outline, and as the teacher sees them.

    Args:
        path, settings: as for `read_clip`; which frames are taken is settled here.

    Raises:
        Refusal, OSError: as `read_clip`.
    """
    frames, inside = read_unmasked(path, _few(settings), _LARGE)
    return _png([_strip(frames, inside), _strip(frames * inside[..., None])])


def masked_contact_sheet(paths: Sequence[Path], settings: TeacherSettings) -> bytes | None:
    """PNG of some frames of each clip, black outside the sector; None of no clip.

    Args:
        paths: clips; one that cannot be read any more is left out.
        settings: the teacher's, with a mask.
    """
    assert settings.mask, "unmasked frames are for the eyes of whoever asks for one file"
    strips = []
    for path in paths:
        with suppress(Refusal, OSError):
            frames, inside = read_unmasked(path, _few(settings), _SMALL)
            strips.append(_strip(frames * inside[..., None], inside))
    return _png(strips) if strips else None


def _few(settings: TeacherSettings) -> TeacherSettings:
    return settings.model_copy(update={"frame_stride": 1, "max_frames": _FRAMES})


def _strip(frames: np.ndarray, inside: np.ndarray | None = None) -> np.ndarray:
    """The frames beside each other, the sector outlined where it is given."""
    frames = np.pad(frames, ((0, 0), (_GAP, _GAP), (_GAP, _GAP), (0, 0)))
    if inside is not None:
        edges, _ = cv2.findContours(np.pad(inside, _GAP).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        for frame in frames:
            cv2.drawContours(frame, edges, -1, _OUTLINE, 1)
    return np.concatenate(list(frames), axis=1)


def _png(strips: Sequence[np.ndarray]) -> bytes:
    width = max(strip.shape[1] for strip in strips)  # a short clip has fewer frames to show
    even = [np.pad(strip, ((0, 0), (0, width - strip.shape[1]), (0, 0))) for strip in strips]
    image = cv2.cvtColor(np.concatenate(even), cv2.COLOR_RGB2BGR)
    encoded, content = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    assert encoded
    return content.tobytes()


_FEWEST = 3  # studies that span a plane
_COLOURS = "viridis"  # told apart with any colour vision
_HEIGHT = 3.9  # inches


def draw_embedding_map(mean: np.ndarray, values: np.ndarray, measurement: str, unit: str) -> bytes | None:
    """PNG of the map; None of fewer than three studies. The same arguments give the same bytes.

    Args:
        mean: float32 (study, dim), target means.
        values: float64 (study,), in `unit`; NaN where nothing was measured, drawn in grey.
        measurement: name of what was measured.
        unit: of the values.
    """
    if len(mean) < _FEWEST:
        return None
    components = PCA(2, svd_solver="full").fit(mean)
    x, y = components.transform(mean).T
    known = np.isfinite(values)
    with styled():
        figure = new_figure(_HEIGHT)
        axes = figure.add_subplot()
        axes.scatter(x[~known], y[~known], s=10, color=GREY, linewidths=0)
        dots = axes.scatter(x[known], y[known], s=14, c=values[known], cmap=_COLOURS, linewidths=0)
        if known.any():
            figure.colorbar(dots, label=drawable(f"{measurement} ({unit})" if unit else measurement))
        for name, share in zip(("x", "y"), components.explained_variance_ratio_, strict=True):
            axes.set(**{f"{name}label": f"component of {share:.0%} of the variance"})
        set_title(axes, f"{len(mean)} echo studies, {np.count_nonzero(known)} with {measurement}")
        return png(figure)
