"""Finds the sector of a clip: the part of the picture that the transducer drew, without what the scanner printed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from echoingecg.common import Refusal
from echoingecg.teacher.sector import marks
from echoingecg.teacher.sector.evidence import collect, reduced, scale_of
from echoingecg.teacher.sector.fit import Body, Shape, drawn, fit

__all__ = ["COMPARED_FRAMES", "Sector", "find_sector", "reduced", "resized_sector"]

COMPARED_FRAMES = 16  # of a clip, evenly spread
_LEAST_AREA = 0.06  # of the picture; print that changes all over a screen fills less
_LEAST_HELD, _SURE_HELD = 0.7, 0.95  # of the motion of the body, that the shape holds
_LEAST_FILLED, _SURE_FILLED = 0.2, 0.4  # of the shape that is seen to move
_SURE_LOST = 0.25  # of a sector that is cut out since something is printed there
_INSET_PX = 1  # of the maps: the edge of a sector is mixed with what lies beside it
_PART = 0.2  # of the sector: smaller parts that a cut leaves are dropped


@dataclass(frozen=True)
class Sector:
    """Where the transducer drew.

    Attributes:
        mask: bool (height, width) of the frames.
        degree: whether the shape explains nearly all that moves.
        reason: why it is doubtful, in words; empty if it is sure.
        kind: fan or rectangle.
        cuts: number of rectangles cut out since something is printed there.
    """

    mask: np.ndarray
    degree: Literal["sure", "doubtful"]
    reason: str
    kind: str
    cuts: int


def find_sector(frames: Sequence[np.ndarray], size: tuple[int, int]) -> Sector:
    """Finds the sector from frames that are spread over the clip.

    Args:
        frames: uint8 (height, width, 3), RGB, of the two-dimensional region, `reduced`, in the order of the clip.
        size: height and width of the region, px.

    Raises:
        Refusal: `no_sector`: nothing moves, or no shape of a sector explains what moves.
    """
    evidence = collect(frames)
    fitted = fit(evidence.weight, cv2.extractChannel(evidence.high, 0)) if evidence is not None else None
    if evidence is None or fitted is None:
        raise Refusal("no_sector", "no area of the picture keeps changing")
    shape, body = fitted
    doubt = _doubt(evidence.weight, shape, body)
    cuts = marks.on_sector(frames, evidence, shape.mask)
    scale = scale_of(*size)
    box = tuple((edge + 0.5) * scale - 0.5 for edge in shape.box)
    mask = drawn((shape.outline + 0.5) * scale - 0.5, (box[0], box[1], box[2], box[3]), size)
    mask = _inset(mask, scale)
    whole = np.count_nonzero(mask)
    for left, top, right, bottom in cuts:
        mask[top * scale : bottom * scale, left * scale : right * scale] = False
    if cuts:
        mask = _large_parts(mask)
    if not doubt and (lost := 1 - np.count_nonzero(mask) / (whole or 1)) > _SURE_LOST:
        doubt = f"print on it took {lost:.0%} of the {shape.kind}"
    return Sector(mask, "doubtful" if doubt else "sure", doubt, shape.kind, len(cuts))


def resized_sector(sector: np.ndarray, size: int) -> np.ndarray:
    """Marks the pixels of a resized frame to which no pixel outside the sector has contributed: bool (size, size).

    Args:
        sector: bool (height, width).
        size: edge of the frame, resized by area, px.
    """
    return cv2.resize((~sector).astype(np.float32), (size, size), interpolation=cv2.INTER_AREA) == 0


def _doubt(weight: np.ndarray, shape: Shape, body: Body) -> str:
    """Says why the shape is doubtful; empty if it is sure. Raises Refusal: `no_sector` where it explains too little."""
    size = np.count_nonzero(shape.mask)
    area = size / shape.mask.size
    moving = weight == 1
    inside = np.count_nonzero(moving & shape.mask)
    held = inside / (np.count_nonzero(moving & (body.whole | shape.mask)) or 1)
    filled = np.count_nonzero((weight >= 0) & shape.mask) / (size or 1)
    if area < _LEAST_AREA:
        raise Refusal("no_sector", f"the largest area that keeps changing is {area:.0%} of the picture")
    if held < _LEAST_HELD or filled < _LEAST_FILLED:
        raise Refusal(
            "no_sector", f"a {shape.kind} holds {held:.0%} of what keeps changing and is {filled:.0%} full: no sector"
        )
    if held < _SURE_HELD:
        return f"{1 - held:.0%} of what keeps changing lies outside the {shape.kind}"
    return f"{1 - filled:.0%} of the {shape.kind} never changes" if filled < _SURE_FILLED else ""


def _inset(mask: np.ndarray, scale: int) -> np.ndarray:
    edge = 2 * _INSET_PX * scale + 1
    # The picture's own border is no edge of the sector.
    return cv2.erode(mask.astype(np.uint8), np.ones((edge, edge), np.uint8), borderType=cv2.BORDER_CONSTANT) > 0


def _large_parts(mask: np.ndarray) -> np.ndarray:
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    areas = statistics[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    return (areas >= _PART * areas.sum())[labels] & mask
