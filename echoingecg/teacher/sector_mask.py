"""The ultrasound sector of a clip, found from its own frames: speckle and noise change at nearly every frame there.

What a scanner prints stands still, a sweeping trace or a running number changes a pixel now and then, and neither
is part of the one large body that changes all the time. So the sector found does not depend on what is printed
beside it.
"""

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np

from echoingecg.common import Refusal

COMPARED_FRAMES = 16  # frames of a clip that are compared
_LEVELS = 1  # a grey level that moves by more has changed
_ONE_IN = 3  # frame pairs: the eraser of a sweeping trace changes a pixel once or twice in 15
_GAP = 1 / 36  # of the region's shorter edge: dark speckle farther apart than this is no body
_STROKE = 1 / 16  # of the shorter edge: what is narrower is a letter or a trace
_LEAST = 0.2  # of the region's area; letters and traces all over the screen reach 0.17
_FILLED = 0.93  # of the outline: sectors reach 0.94 to 1, with a rolling trace grown onto them 0.7 to 0.92
_HALO = 17  # px, edge of the square about a changing pixel that JPEG may disturb: two blocks of 8
_FAINT = 0.4  # of the strongest change within _HALO: less is the coder's halo about the sector


def find_sector(frames: Sequence[np.ndarray]) -> np.ndarray:
    """The convex body of pixels that change all the time, one pixel within its edge.

    A scanner's sector is convex but for the arc at the transducer's face, and stays so where the image cuts it.

    Args:
        frames: uint8 (height, width), grey levels of the two-dimensional region at several moments of the clip.

    Returns:
        bool (height, width).

    Raises:
        Refusal: `no_sector`: nothing that large keeps changing, or something has grown onto it.
    """
    often, amount = _changes(frames)
    edge = min(often.shape)
    body = cv2.morphologyEx(often, cv2.MORPH_CLOSE, _disc(edge * _GAP))
    body = _largest(cv2.morphologyEx(body, cv2.MORPH_OPEN, _disc(edge * _STROKE)))
    if (share := body.mean()) < _LEAST:
        raise Refusal("no_sector", f"the largest area that keeps changing is {share:.0%} of the region")
    amount = cv2.blur(amount, (3, 3)) * body
    clear = (amount >= _FAINT * cv2.dilate(amount, np.ones((_HALO, _HALO), np.uint8))).astype(np.uint8) * body
    outline = _hull(cv2.morphologyEx(clear, cv2.MORPH_OPEN, _disc(3)))
    if (share := (body & outline).sum() / max(outline.sum(), 1)) < _FILLED:
        raise Refusal("no_sector", f"what keeps changing fills {share:.0%} of its outline, no sector has such a shape")
    return cv2.erode(outline, np.ones((3, 3), np.uint8)) > 0


def resized_sector(sector: np.ndarray, size: int) -> np.ndarray:
    """Pixels of the resized frame that nothing outside the sector has entered: bool (size, size).

    Args:
        sector: bool (height, width).
        size: edge of the frame that area resize makes of the region, px.
    """
    return cv2.resize((~sector).astype(np.float32), (size, size), interpolation=cv2.INTER_AREA) == 0


def _changes(frames: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Whether each pixel changes often, uint8 0 or 1; the sum of its changes, float32 grey levels."""
    times, amount = np.zeros(frames[0].shape, np.uint8), np.zeros(frames[0].shape, np.float32)
    for before, after in pairwise(frames):
        change = cv2.absdiff(before, after)
        times += cv2.threshold(change, _LEVELS, 1, cv2.THRESH_BINARY)[1]
        cv2.accumulate(change, amount)
    return (times >= max((len(frames) - 1) / _ONE_IN, 1)).astype(np.uint8), amount


def _largest(body: np.ndarray) -> np.ndarray:
    """The largest connected part, the first of equals; nothing of nothing."""
    _, labels, facts, _ = cv2.connectedComponentsWithStats(body, connectivity=4)
    return (labels == 1 + facts[1:, cv2.CC_STAT_AREA].argmax()).astype(np.uint8) if len(facts) > 1 else body


def _hull(body: np.ndarray) -> np.ndarray:
    """The convex hull of what is not 0, filled: uint8 0 or 1."""
    edges, _ = cv2.findContours(body, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return cv2.fillConvexPoly(np.zeros_like(body), cv2.convexHull(np.concatenate(edges)), 1) if edges else body


def _disc(diameter: float) -> np.ndarray:
    edge = max(int(diameter) | 1, 3)
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (edge, edge))
