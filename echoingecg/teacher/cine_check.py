"""Checks from its frames that a clip shows a beating heart, since headers can be wrong.

docs/echo_formats.md says how the limits were found.
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from itertools import pairwise

import cv2
import numpy as np

from echoingecg.common import RecipeError, Refusal
from echoingecg.recipe.stages import TeacherSettings
from echoingecg.teacher.decode.clip import Clip

ViewFilter = Callable[[np.ndarray], bool]  # uint8 (frame, size, size, 3), RGB -> whether the clip is wanted

_COLOUR_FLOW = 2  # Region Data Type, DICOM PS3.3 C.8.5.5.1.2
_UNCHANGED_LEVELS = 8  # a pixel whose green differs by more has changed
_MOVING_SHARE = 0.005  # of the pixels, over the whole clip
_STRIP_SIZE_PX = (112, 28)  # px, width and height in which strips are looked for
_COMPARED_NEIGHBOURS = 13  # frames compared, at most
_SWEEP_SHARE = 0.15  # of the columns, between two frames
_LAGS_FRAMES = (1, 12)  # frames apart; a slow scroll is under a pixel from one to the next
_SHIFTED_PAIRS = 4
_SCROLL_RATIO = 0.15  # of the squared difference that is left after shifting one frame onto the other
_HUE_LEVELS = 48  # red over green and blue, or blue over red and green
_HUE_SHARE = 0.001  # of the pixels, for red and for blue
_COLOUR_FRAMES = 8


def check_cine(clip: Clip, frames: np.ndarray, settings: TeacherSettings) -> None:
    """Refuses a clip that does not move like a heart, and views that the recipe does not want.

    Args:
        clip: header of the file.
        frames: uint8 (frame, size, size, 3), RGB, as the teacher sees them; motion is checked in two or more.
        settings: colour_doppler and view_filter are read.

    Raises:
        Refusal: `not_a_cine`, `unwanted_view`.
        RecipeError: the view filter cannot be loaded.
    """
    if len(frames) > 1:
        if not is_moving(frames):
            raise Refusal("not_a_cine", f"the {len(frames)} frames taken show the same picture")
        if is_strip(frames):
            raise Refusal("not_a_cine", "the picture scrolls or is swept over as a strip does")
    if settings.colour_doppler == "refuse":
        stated = any(region.data_type == _COLOUR_FLOW for region in clip.regions)
        if stated or shows_colour_flow(frames):
            raise Refusal("unwanted_view", f"colour Doppler, {'stated' if stated else 'seen'}")
    if settings.view_filter and not load_view_filter(settings.view_filter)(frames):
        raise Refusal("unwanted_view", "the view filter does not want this clip")


def is_moving(frames: np.ndarray) -> bool:
    """Says whether enough pixels differ from the first frame in any other frame."""
    changed = np.zeros(frames.shape[1:3], bool)
    for frame in frames[1:, ..., 1]:
        changed |= cv2.absdiff(frame, frames[0, ..., 1]) > _UNCHANGED_LEVELS
        if changed.mean() >= _MOVING_SHARE:
            return True
    return False


def is_strip(frames: np.ndarray) -> bool:
    """Says whether frames show a strip: a narrow band of change that advances, or a picture that moves to the left."""
    start = max(len(frames) - _COMPARED_NEIGHBOURS, 0) // 2
    small = [
        cv2.resize(cv2.extractChannel(frame, 1), _STRIP_SIZE_PX, interpolation=cv2.INTER_AREA)
        for frame in frames[start:][:_COMPARED_NEIGHBOURS]
    ]
    return _is_swept(small) or any(_scrolls(small, lag) for lag in _LAGS_FRAMES if lag < len(small))


def _is_swept(small: list[np.ndarray]) -> bool:
    differences = [cv2.absdiff(*pair) > _UNCHANGED_LEVELS for pair in pairwise(small)]
    changed = np.array([difference.any(axis=0) for difference in differences])  # (pair, column)
    changed = changed[changed.any(axis=1)]
    if len(changed) < 2:
        return False
    width = np.median(changed.mean(axis=1))
    return bool(width < _SWEEP_SHARE and changed.any(axis=0).mean() > 2 * width)


def _scrolls(small: list[np.ndarray], lag: int) -> bool:
    pairs = list(zip(small, small[lag:], strict=False))[:_SHIFTED_PAIRS]
    return bool(np.median([_difference_after_shift(*pair) for pair in pairs]) < _SCROLL_RATIO)


def _difference_after_shift(first: np.ndarray, second: np.ndarray) -> float:
    """Smallest squared difference over shifts to the left, as a share of the difference without a shift."""
    unshifted, *shifted = cv2.matchTemplate(first, second[:, : -(_STRIP_SIZE_PX[0] // 4)], cv2.TM_SQDIFF)[0]
    return float(min(shifted) / unshifted) if unshifted > second.size else 1.0  # under a level a pixel: rounding


def shows_colour_flow(frames: np.ndarray) -> bool:
    """Says whether red and blue both come and go, as flow to and from the probe does.

    Printed colours stay, and a tint of the picture has one hue.
    """
    sample = frames[:: -(-len(frames) // _COLOUR_FRAMES)].astype(np.int16)
    red, green, blue = np.moveaxis(sample, -1, 0)
    hues = (red - np.maximum(green, blue), blue - np.maximum(green, red))
    return all(_changing_share(hue > _HUE_LEVELS) > _HUE_SHARE for hue in hues)


def _changing_share(coloured: np.ndarray) -> float:
    return float((coloured.any(axis=0) & ~coloured.all(axis=0)).mean())


@cache
def load_view_filter(name: str) -> ViewFilter:
    """Imports the function that the recipe names as `module:function`.

    Raises:
        RecipeError: there is no such function.
    """
    module, _, function = name.partition(":")
    try:
        view_filter = getattr(import_module(module), function)
    except (ImportError, AttributeError) as fault:
        raise RecipeError(f"teacher.view_filter '{name}': {fault}; name it as module:function") from fault
    if not callable(view_filter):
        raise RecipeError(f"teacher.view_filter '{name}' is no function")
    return view_filter
