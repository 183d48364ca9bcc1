"""Finds the ultrasound sector of a clip from its frames: speckle and noise change in nearly every frame there.

What a scanner prints stands still. A sweeping trace or a running number changes a pixel now and then. Neither is part
of the one large area that changes all the time, so the result does not depend on what is printed beside the sector.
"""

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np

from echoingecg.common import Refusal

COMPARED_FRAMES = 16  # of a clip, evenly spread
_UNCHANGED_LEVELS = 1  # a grey level that differs by more has changed
_PAIRS_PER_CHANGE = 3  # at most; the eraser of a sweeping trace changes a pixel once or twice in 15 pairs
_GAP_SHARE = 1 / 36  # of the region's shorter edge: narrower dark gaps are closed
_STROKE_SHARE = 1 / 16  # of the region's shorter edge: what is narrower is a letter or a trace
_MIN_AREA_SHARE = 0.2  # of the region that a sector fills at least; letters and traces all over the screen fill 0.17
_MIN_FILL_SHARE = 0.93  # of its outline that a sector fills at least (0.94 to 1; with a trace attached 0.7 to 0.92)
_HALO_PX = 17  # edge of the square around a changing pixel that JPEG may disturb: two blocks of 8 px
_FAINT_SHARE = 0.4  # of the strongest change within _HALO_PX; less is the halo that JPEG makes around the sector


def find_sector(frames: Sequence[np.ndarray]) -> np.ndarray:
    """Finds the convex area of pixels that change all the time, without its outermost pixels.

    A scanner's sector is convex except for the arc at the transducer, also where the image cuts it.

    Args:
        frames: uint8 (height, width), grey levels of the two-dimensional region, in the order of the clip.

    Returns:
        bool (height, width).

    Raises:
        Refusal: `no_sector`: no area is large enough, or something else is attached to it.
    """
    changing, amount = _changes(frames)
    edge = min(changing.shape)
    body = cv2.morphologyEx(changing, cv2.MORPH_CLOSE, _disc(edge * _GAP_SHARE))
    body = _largest(cv2.morphologyEx(body, cv2.MORPH_OPEN, _disc(edge * _STROKE_SHARE)))
    if (share := body.mean()) < _MIN_AREA_SHARE:
        raise Refusal("no_sector", f"the largest area that keeps changing is {share:.0%} of the region")
    amount = cv2.blur(amount, (3, 3)) * body
    strongest = cv2.dilate(amount, np.ones((_HALO_PX, _HALO_PX), np.uint8))
    clear = (amount >= _FAINT_SHARE * strongest).astype(np.uint8) * body
    outline = _hull(cv2.morphologyEx(clear, cv2.MORPH_OPEN, _disc(3)))
    if (share := (body & outline).sum() / max(outline.sum(), 1)) < _MIN_FILL_SHARE:
        raise Refusal("no_sector", f"what keeps changing fills {share:.0%} of its outline, no sector has such a shape")
    return cv2.erode(outline, np.ones((3, 3), np.uint8)) > 0


def resized_sector(sector: np.ndarray, size: int) -> np.ndarray:
    """Marks the pixels of a resized frame to which no pixel outside the sector has contributed: bool (size, size).

    Args:
        sector: bool (height, width).
        size: edge of the frame, resized by area, px.
    """
    return cv2.resize((~sector).astype(np.float32), (size, size), interpolation=cv2.INTER_AREA) == 0


def _changes(frames: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Says whether each pixel changes often (uint8, 0 or 1) and sums its changes (float32, grey levels)."""
    times, amount = np.zeros(frames[0].shape, np.uint8), np.zeros(frames[0].shape, np.float32)
    for before, after in pairwise(frames):
        change = cv2.absdiff(before, after)
        times += cv2.threshold(change, _UNCHANGED_LEVELS, 1, cv2.THRESH_BINARY)[1]
        cv2.accumulate(change, amount)
    return (times >= max((len(frames) - 1) / _PAIRS_PER_CHANGE, 1)).astype(np.uint8), amount


def _largest(body: np.ndarray) -> np.ndarray:
    """Keeps the largest connected part: uint8 0 or 1. Of equal parts the first, of an empty mask nothing."""
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(body, connectivity=4)
    return (labels == 1 + statistics[1:, cv2.CC_STAT_AREA].argmax()).astype(np.uint8) if len(statistics) > 1 else body


def _hull(body: np.ndarray) -> np.ndarray:
    """Fills the convex hull of all pixels that are not 0: uint8 0 or 1."""
    edges, _ = cv2.findContours(body, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return cv2.fillConvexPoly(np.zeros_like(body), cv2.convexHull(np.concatenate(edges)), 1) if edges else body


def _disc(diameter: float) -> np.ndarray:
    edge = max(int(diameter) | 1, 3)
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (edge, edge))
