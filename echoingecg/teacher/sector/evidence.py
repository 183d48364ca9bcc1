"""What the frames of a clip say about each pixel: part of the moving body, print, or nothing that is known.

Then the weight of many fans at once: what all pixels within them say.

Speckle and noise change in nearly every frame, and are grey. What a scanner prints stands still, or is a thin stroke of
a strong colour. Every length is a share of the picture, except for the blocks of JPEG.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

_LONG_EDGE_PX = 320  # a longer edge is halved, divided by three and so on until it is about this long
_UNCHANGED_LEVELS = 1  # a grey level that differs by more has changed
_OFTEN = 1 / 3  # of the frame pairs; the eraser of a sweeping trace changes a pixel once or twice in 15 pairs
_SOMETIMES = 1 / 6  # of the frame pairs
_DARK_LEVEL = 6  # grey; nothing is seen below it
_FAINT = 0.1  # of the bright grey of the body; less may be the halo of the coder
_BRIGHT = 0.3  # of the bright grey of the body: what is brighter and stands still is print
_NEUTRAL, _STRONG_COLOUR = 128, 14  # chroma without colour; levels of chroma beyond the tint of the picture
_FLOW, _FLOW_SHARE = 1 / 12, 0.35  # of the shorter edge: areas of flow; share of a window that is coloured there
_STROKE = 1 / 20  # of the shorter edge: coloured areas that are narrower are print, not flow
_HALO_PX, _HALO = 8, 1 / 30  # a block of JPEG; of the shorter edge at most
_PART_PX, _PART_FILLED, _PART_EDGE_PX = 64, 0.35, 5  # of the map of parts: longer edge; share that moves; least edge
_EVERY = np.s_[::3, ::3]  # pixels enough for a median
UNSEEN, SOMETIMES_SEEN, PRINTED = -0.5, 0.15, -1.0  # weights beside 1 of the body, and 0 of coloured strokes


@dataclass(frozen=True)
class Evidence:
    """Maps of the size of the frames.

    Attributes:
        weight: float32 (height, width), what a shape gains by holding the pixel: 1 for the moving body.
        high, low: uint8 (height, width, 3), the largest and smallest YCrCb of each pixel.
        steady: uint8 (2, height, width), the largest and smallest grey of each pixel but for one frame.
        stroke: bool (height, width), strokes, and still areas, of a strong colour.
        bright: the grey that a tenth of the body exceeds.
    """

    weight: np.ndarray
    high: np.ndarray
    low: np.ndarray
    steady: np.ndarray
    stroke: np.ndarray
    bright: float


def disc(diameter: float) -> np.ndarray:
    """Returns the structuring element of a disc: uint8 (edge, edge), 3 px at least."""
    edge = max(int(diameter) | 1, 3)
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (edge, edge))


def scale_of(height: int, width: int) -> int:
    """Returns by how much frames of this size are reduced: 1, 2, 3 and so on."""
    return max(round(max(height, width) / _LONG_EDGE_PX), 1)


def reduced(frame: np.ndarray) -> np.ndarray:
    """Makes a frame small by the mean of whole blocks of pixels: a copy, or the frame where it is small."""
    scale = scale_of(*frame.shape[:2])
    if scale == 1:
        return frame
    height, width = frame.shape[0] // scale, frame.shape[1] // scale
    return cv2.resize(frame[: height * scale, : width * scale], (width, height), interpolation=cv2.INTER_AREA)


def collect(frames: Sequence[np.ndarray]) -> Evidence | None:
    """Compares frames: None where nothing changes.

    Args:
        frames: uint8 (height, width, 3), RGB, two or more, reduced, in the order of the clip.
    """
    high, low, steady, times = _extremes(frames)
    pairs, edge = len(frames) - 1, min(times.shape)
    grey = cv2.extractChannel(high, 0)
    often = times >= max(pairs * _OFTEN, 1)
    seen = often & (grey > _DARK_LEVEL)
    if not seen.any():
        return None
    body = _largest_part(seen)
    bright = float(np.percentile(grey[_EVERY][body[_EVERY]], 90)) if body[_EVERY].any() else float(grey[seen].max())
    still = times < max(pairs * _SOMETIMES, 1)
    stroke, halo = _coloured_print(high, low, body, still.astype(np.uint8), edge)
    weight = np.where(still, np.float32(UNSEEN), np.float32(SOMETIMES_SEEN))
    weight[still & (grey > _BRIGHT * bright)] = PRINTED
    weight[often & (grey >= max(_DARK_LEVEL, _FAINT * bright))] = 1
    weight[halo] = 0
    weight[stroke & ~often] = PRINTED
    return Evidence(weight, high, low, steady, stroke, bright)


def _largest_part(seen: np.ndarray) -> np.ndarray:
    """Keeps the largest area of what is seen to move: bool (h, w). Print that moves must not change what is bright."""
    height, width = seen.shape
    share = _PART_PX / max(seen.shape)
    size = max(round(width * share), 4), max(round(height * share), 4)
    parts = (cv2.resize(seen.astype(np.float32), size, interpolation=cv2.INTER_AREA) > _PART_FILLED).astype(np.uint8)
    parts = cv2.morphologyEx(parts, cv2.MORPH_OPEN, np.ones((_PART_EDGE_PX, _PART_EDGE_PX), np.uint8))
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(parts, connectivity=4)
    if len(statistics) < 2:
        return seen
    largest = (labels == 1 + statistics[1:, cv2.CC_STAT_AREA].argmax()).astype(np.uint8)
    return seen & (cv2.resize(largest, (width, height), interpolation=cv2.INTER_NEAREST) > 0)


def _extremes(frames: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Finds `high`, `low` and `steady` of the evidence, and how often each pixel's grey changes: uint8 (h, w)."""
    times = np.zeros(frames[0].shape[:2], np.uint8)
    high = low = before = np.empty(0, np.uint8)
    steady = np.stack([np.zeros_like(times), np.full_like(times, 255)])
    for frame in frames:
        colours = cv2.cvtColor(frame, cv2.COLOR_RGB2YCrCb)
        grey = cv2.extractChannel(colours, 0)
        if not before.size:
            high, low = colours.copy(), colours
            most, least = grey.copy(), grey.copy()
        else:
            times += cv2.threshold(cv2.absdiff(grey, before), _UNCHANGED_LEVELS, 1, cv2.THRESH_BINARY)[1]
            cv2.max(high, colours, dst=high)
            cv2.min(low, colours, dst=low)
            cv2.max(steady[0], cv2.min(most, grey), dst=steady[0])
            cv2.min(steady[1], cv2.max(least, grey), dst=steady[1])
            cv2.max(most, grey, dst=most)
            cv2.min(least, grey, dst=least)
        before = grey
    return high, low, steady, times


def _coloured_print(
    high: np.ndarray, low: np.ndarray, body: np.ndarray, still: np.ndarray, edge: int
) -> tuple[np.ndarray, np.ndarray]:
    """Finds strokes, and still areas, of a strong colour; and the same with the pixels that their coding disturbs."""
    some = body[_EVERY]
    tints = [np.median(extreme[_EVERY][some], axis=0) if some.any() else [_NEUTRAL] * 3 for extreme in (high, low)]
    strength = np.zeros(still.shape, np.uint8)
    for channel in (1, 2):
        # A picture that is tinted as a whole has colours between none and its tint.
        most, least = max(float(tints[0][channel]), _NEUTRAL), min(float(tints[1][channel]), _NEUTRAL)
        cv2.max(strength, cv2.subtract(cv2.extractChannel(high, channel), most), dst=strength)
        cv2.max(strength, cv2.subtract(least, cv2.extractChannel(low, channel)), dst=strength)
    coloured = cv2.threshold(strength, _STRONG_COLOUR, 1, cv2.THRESH_BINARY)[1]
    if not cv2.countNonZero(coloured):
        return coloured > 0, coloured > 0
    moving = coloured & (1 - still)
    area = cv2.morphologyEx(moving, cv2.MORPH_OPEN, disc(edge * _FLOW))
    if cv2.countNonZero(area):  # colour flow: its ragged parts are no strokes
        window = max(int(edge * _FLOW) | 1, 3)
        crowded = cv2.blur(coloured * np.uint8(255), (window, window)) > _FLOW_SHARE * 255
        area = cv2.morphologyEx(moving, cv2.MORPH_OPEN, disc(edge * _STROKE)) | crowded
    printed = coloured & (still | (area == 0))
    return printed > 0, cv2.dilate(printed, disc(min(_HALO_PX, edge * _HALO))) > 0


def reach_of(corners: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Returns the distance of the farthest corner from each place, and a little more: float64 (place,)."""
    return 1.03 * np.hypot(*(corners[None] - places[:, None]).T).max(axis=0)


def best_fans(
    weight: np.ndarray, places: np.ndarray, reach: np.ndarray, downwards: bool, grid: tuple[int, int], rounds: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Finds the best fan about each place.

    Returns:
        float64 (place,), its weight; (place, 2), first and last angle, rad; (place, 2), inner and outer radius, px.
    """
    angles, radii = grid
    turn = np.pi / angles
    directions, order_of_angles, order_of_radii = _polar_grid(angles, radii, downwards)
    radius = (reach / radii)[:, None].astype(np.float32) * (order_of_radii + np.float32(0.5))
    x, y = (
        (places[:, axis, None, None].astype(np.float32) + directions[axis] * radius[:, None]).reshape(-1, radii)
        for axis in (0, 1)
    )
    sampled = cv2.remap(weight, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    areas = radius * (reach * (turn / radii))[:, None].astype(np.float32)
    sampled = sampled.reshape(-1, angles, radii) * areas[:, None]
    of_angles = sampled.sum(axis=2)
    for _ in range(rounds):
        first, last, _ = intervals(of_angles)
        between = (order_of_angles >= first[:, None]) & (order_of_angles < last[:, None])
        inner, outer, gains = intervals(np.matmul(between[:, None].astype(np.float32), sampled)[:, 0])
        between = (order_of_radii >= inner[:, None]) & (order_of_radii < outer[:, None])
        of_angles = np.matmul(sampled, between[..., None].astype(np.float32))[..., 0]
    sides = np.stack([first, last], axis=1) * turn - (0 if downwards else np.pi)
    return gains, sides, np.stack([inner, outer], axis=1) * reach[:, None] / radii


@lru_cache(maxsize=8)
def _polar_grid(angles: int, radii: int, downwards: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns cosine and sine of the angles, float32 (2, angle, 1), and the numbers of angles and radii."""
    angle = (np.arange(angles) + 0.5) * np.pi / angles - (0 if downwards else np.pi)
    directions = np.stack([np.cos(angle), np.sin(angle)]).astype(np.float32)[..., None]
    return directions, np.arange(angles), np.arange(radii, dtype=np.float32)


def intervals(gains: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Finds in each row the stretch with the largest sum: its first place, the place after its last, and its sum."""
    sums = np.concatenate([np.zeros((len(gains), 1)), gains.cumsum(axis=1, dtype=float)], axis=1)
    lowest = np.minimum.accumulate(sums, axis=1)
    last = (sums - lowest).argmax(axis=1)
    row = np.arange(len(gains))
    first = (sums == lowest[row, last][:, None]).argmax(axis=1)
    return first, last, (sums - lowest)[row, last]
