"""Fits the shape of a scanner's picture to the evidence: a fan of two lines and one or two arcs, or a rectangle.

The shape that gains the most weight wins. So a strip that has grown onto the body costs more than it brings, and dark
places within the body cost less than they would lose.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from echoingecg.teacher.sector.evidence import UNSEEN, best_fans, disc, intervals, reach_of

_COARSE_PX, _MIDDLE_PX = 64, 160  # longer edge of the maps on which a fan is looked for
_GAP = 1 / 12  # of the shorter edge: dark gaps that are closed, and strips that are cut off the body
_BODY = 0.35  # of a coarse pixel that moves, for it to count as body
_NEAR_BODY = 0.2  # of an arc near the transducer that moves, for it to belong to the fan
_HALF_PLANES, _CUTS = 16, 3
_STILLNESS = 1  # times as much as elsewhere, stillness counts when the body is trimmed
_BELONGS = 2  # times as much as elsewhere, motion within the trimmed body counts
_NET_PX = 0.5  # weight that a cut must gain, in coarse px
_SIDE = 0.17  # of a unit normal, across and along: the side of a fan leans by at least 10 degrees
_LONGEST = 3  # edges of the hull that may be a side of the fan
_APEX_SHARES = ((0.0, 0.5), (-0.3, 0.5), (-0.8, 0.5))  # of the hull's height and width, beside what its edges give
_TIP, _TIP_SHARES = 0.1, (0.0, -0.15, -0.4)  # of the hull's height: its tip, which the picture's side may set off
_SEARCHES = ((2, 2.0), (1, 1.0)), ((1, 1.0),)  # for the apex, on the coarse and the middle map: places to a side, px
_FOLLOWED = 2  # places for the apex
_WIDER = 1.3  # times, that a third of a fan is wider than the opposite one
_SEARCH, _FINAL = (60, 24), (180, 64)  # angles and radii
_CUT_SHARE = 0.005  # of a fan's weight, that a straight cut must gain
_ARC_POINTS = 48
_DEPTHS, _STILLNESS_BY_DEPTH = (0.0, 0.3, 1.0, 1.05), (2.0, 1.0, 0.25, 1.0)  # from the nearest to the farthest body
_HALO_PX, _HALO, _HALO_SHARE = (
    12,
    1 / 24,
    0.4,
)  # of the coder: px and share of the shorter edge at most; of the grey inside
_SHIFT = 4  # bits after the point in OpenCV's coordinates


@dataclass(frozen=True)
class Shape:
    """A fitted shape, in px of the map that it was fitted to.

    Attributes:
        kind: fan or rectangle.
        outline: float64 (point, 2), x and y.
        box: left, top, right and bottom edge; what of the outline lies beyond them does not belong to the shape.
        mask: bool (height, width).
        weight: what it holds.
    """

    kind: str
    outline: np.ndarray
    box: tuple[float, float, float, float]
    mask: np.ndarray
    weight: float


@dataclass(frozen=True)
class Body:
    """The largest area that moves: bool (height, width) of the map, within its convex hull.

    Attributes:
        whole: the hull, with everything that has grown onto the body.
        trimmed: without the parts that hold more stillness than motion.
    """

    whole: np.ndarray
    trimmed: np.ndarray


def fit(weight: np.ndarray, grey: np.ndarray) -> tuple[Shape, Body] | None:
    """Finds the shape of the largest moving body; None where there is no body.

    Args:
        weight: float32 (height, width), what a shape gains by holding the pixel.
        grey: uint8 (height, width), the brightest grey of each pixel.
    """
    coarse = _reduced(weight, _COARSE_PX)
    if (hull := _hull(coarse)) is None:
        return None
    trimmed = _trimmed(np.where(coarse < 0, _STILLNESS * coarse, coarse), hull)
    if not trimmed.any():
        return None
    body = Body(_enlarged(hull, weight.shape), _enlarged(trimmed, weight.shape))
    weight = _about_the_body(weight, body.trimmed)
    shapes = [_rectangle(weight, body.trimmed)]
    if (fan := _fan(weight, grey, body.trimmed)) is not None:
        shapes.append(fan)
    return max(shapes, key=lambda shape: shape.weight), body


def _about_the_body(weight: np.ndarray, body: np.ndarray) -> np.ndarray:
    """Lets motion within the body count more, and still print beside it count as no more than stillness.

    So print beside the body does not move the edges of the fan.
    """
    near = cv2.dilate(body.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    beside = np.where(weight > 0, weight, np.float32(UNSEEN))
    return np.where(near, np.where(weight > 0, _BELONGS * weight, weight), beside)


def drawn(outline: np.ndarray, box: tuple[float, float, float, float], size: tuple[int, int]) -> np.ndarray:
    """Fills an outline, x and y in px, within a box: bool (height, width)."""
    mask = np.zeros(size, np.uint8)
    points = np.round(np.clip(outline, -1e5, 1e5) * (1 << _SHIFT)).astype(np.int32)
    cv2.fillPoly(mask, [points[:, None]], 1, shift=_SHIFT)
    rows, columns = np.ogrid[: size[0], : size[1]]
    left, top, right, bottom = box
    return (mask > 0) & (columns >= left) & (columns <= right) & (rows >= top) & (rows <= bottom)


def _reduced(weight: np.ndarray, longer_px: int) -> np.ndarray:
    share = min(longer_px / max(weight.shape), 1)
    height, width = (max(round(length * share), 4) for length in weight.shape)
    return cv2.resize(weight, (width, height), interpolation=cv2.INTER_AREA)


def _enlarged(mask: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    return cv2.resize(mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR) > 0.5


def _rescaled(places: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Carries x and y from one map of the picture to another."""
    ratio = np.array(after.shape[::-1]) / np.array(before.shape[::-1])
    return (places + 0.5) * ratio - 0.5


def _hull(weight: np.ndarray) -> np.ndarray | None:
    """Finds the convex hull of the largest part that moves, one pixel wider: bool (height, width)."""
    edge = min(weight.shape) * _GAP
    moving = (weight > _BODY).astype(np.uint8)
    thick = cv2.morphologyEx(moving, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    if 2 * cv2.countNonZero(thick) > cv2.countNonZero(moving):  # a body as thin as print stays whole
        moving = thick
    moving = cv2.morphologyEx(moving, cv2.MORPH_CLOSE, disc(edge))
    moving = cv2.morphologyEx(moving, cv2.MORPH_OPEN, disc(edge))
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(moving, connectivity=4)
    if len(statistics) < 2:
        return None
    largest = (labels == 1 + statistics[1:, cv2.CC_STAT_AREA].argmax()).astype(np.uint8)
    hull = cv2.fillConvexPoly(np.zeros_like(largest), _corners(largest).astype(np.int32)[:, None], 1)
    return cv2.dilate(hull, np.ones((3, 3), np.uint8)) > 0


def _corners(mask: np.ndarray) -> np.ndarray:
    """Finds the corners of a mask's convex hull: float64 (corner, 2), x and y."""
    edges, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return cv2.convexHull(np.concatenate(edges))[:, 0].astype(float)


@lru_cache(maxsize=32)
def _distances(height: int, width: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Returns how far pixels lie along each direction: int32 (direction, height, width), as flat indices, the range."""
    angles = np.arange(_HALF_PLANES) * 2 * np.pi / _HALF_PLANES
    rows, columns = np.mgrid[:height, :width]
    along = columns * np.cos(angles)[:, None, None] + rows * np.sin(angles)[:, None, None]
    along = np.round(along - along.min()).astype(np.int32)
    count = int(along.max()) + 1
    return along, (along + np.arange(_HALF_PLANES)[:, None, None] * count).ravel(), count


def _trimmed(weight: np.ndarray, hull: np.ndarray) -> np.ndarray:
    """Cuts off by straight lines what of the hull holds more stillness than motion: bool (height, width)."""
    along, flat, count = _distances(*weight.shape)
    for _ in range(_CUTS):
        held = weight * hull
        sums = np.bincount(flat, np.tile(held.ravel(), _HALF_PLANES), _HALF_PLANES * count)
        beyond = sums.reshape(_HALF_PLANES, count)[:, ::-1].cumsum(axis=1)  # weight of the last 1, 2, ... lines
        before = hull
        for direction in np.argsort(beyond.min(axis=1)):
            if beyond[direction].min() > -_NET_PX:
                break
            cut = hull & (along[direction] >= count - 1 - beyond[direction].argmin())
            if held[cut].sum() < -_NET_PX:
                hull = hull & ~cut
        if hull is before:
            break
    return hull


def _fan(weight: np.ndarray, grey: np.ndarray, body: np.ndarray) -> Shape | None:
    """Fits the best fan, on finer and finer maps; None where no fan holds anything.

    The best places of the coarse map are all followed: print beside the sector changes their order.
    """
    corners = _corners(body)
    (_, top), (_, bottom) = corners.min(axis=0), corners.max(axis=0)
    maps, starts = {}, []
    for downwards in _openings(body):
        faded = _faded(weight, top, bottom, downwards)
        coarse = _reduced(faded, _COARSE_PX)
        there = _rescaled(corners, weight, coarse)
        places = _apexes(there, downwards)
        gains, *_ = best_fans(coarse, places, reach_of(there, places), downwards, _SEARCH)
        maps[downwards] = faded, coarse, there
        starts += [(gain, downwards, place) for gain, place in zip(gains, places, strict=True) if gain > 0]
    fans = []
    for _, downwards, place in sorted(starts, key=lambda start: -start[0])[:_FOLLOWED]:
        faded, coarse, there = maps[downwards]
        place = _refined(coarse, there, place, downwards, _SEARCHES[0])
        middle = _reduced(faded, _MIDDLE_PX)
        place = _rescaled(place, coarse, middle)
        place = _refined(middle, _rescaled(corners, weight, middle), place, downwards, _SEARCHES[1])
        fans.append(_drawn_fan(faded, weight, grey, corners, _rescaled(place, middle, weight), downwards))
    return max(fans, key=lambda fan: fan.weight, default=None)


def _openings(body: np.ndarray) -> tuple[bool, ...]:
    """Says which ways a fan may open: downwards where the body is wider below, either way where it is as wide."""
    widths = body.sum(axis=1)
    widths = widths[widths > 0]
    upper, lower = widths[: len(widths) // 3 + 1].mean(), widths[-(len(widths) // 3 + 1) :].mean()
    if lower > _WIDER * upper:
        return (True,)
    return (False,) if upper > _WIDER * lower else (True, False)


def _faded(weight: np.ndarray, top: float, bottom: float, downwards: bool) -> np.ndarray:
    """Lets stillness count less with depth: far from the transducer, corners of a fan are often dark, near it never."""
    depth = (np.arange(len(weight)) - top) / max(bottom - top, 1)
    depth = depth if downwards else 1 - depth
    share = np.interp(depth, _DEPTHS, _STILLNESS_BY_DEPTH).astype(np.float32)
    return np.where(weight == UNSEEN, weight * share[:, None], weight)


def _apexes(corners: np.ndarray, downwards: bool) -> np.ndarray:
    """Lists where the lines may meet: crossings of the hull's longest edges, places above it and its tip."""
    corners = cv2.approxPolyDP(corners.astype(np.float32)[:, None], 1.0, True)[:, 0].astype(float)
    edges = np.roll(corners, -1, axis=0) - corners
    lengths = np.maximum(np.hypot(*edges.T), 1e-9)
    # OpenCV's hulls turn one way or the other: normals point away from the middle.
    normals = np.stack([edges[:, 1], -edges[:, 0]], axis=1) / lengths[:, None]
    outwards = np.sign(((corners + edges / 2 - corners.mean(axis=0)) * normals).sum(axis=1))
    normals *= np.where(outwards == 0, 1, outwards)[:, None]
    upper = normals[:, 1] * (-1 if downwards else 1) > _SIDE
    sides = [
        [index for index in np.argsort(-lengths)[: 4 * _LONGEST] if upper[index] and normals[index, 0] * side > _SIDE]
        for side in (-1, 1)
    ]
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    height, width = bottom - top, right - left
    places = [
        np.array([left + across * width, top + down * height if downwards else bottom - down * height])
        for down, across in _APEX_SHARES
    ]
    tip = corners[corners[:, 1] < top + _TIP * height if downwards else corners[:, 1] > bottom - _TIP * height, 0]
    middle = (tip.min() + tip.max()) / 2
    places += [np.array([middle, top + down * height if downwards else bottom - down * height]) for down in _TIP_SHARES]
    for first in sides[0][:_LONGEST]:
        for second in sides[1][:_LONGEST]:
            lines = np.stack([edges[first], -edges[second]], axis=1)
            if abs(np.linalg.det(lines)) > 0.05 * lengths[first] * lengths[second]:
                share = np.linalg.solve(lines, corners[second] - corners[first])[0]
                places.append(corners[first] + share * edges[first])
    limit = 4 * max(height, width)
    return np.array([place for place in places if np.abs(place - [left, top]).max() < limit])


def _refined(
    weight: np.ndarray, corners: np.ndarray, place: np.ndarray, downwards: bool, searches: tuple[tuple[int, float], ...]
) -> np.ndarray:
    """Moves the apex to the best of the places around it, in each search: how many to a side, and the step, px."""
    for count, step in searches:
        steps = np.arange(-count, count + 1) * step
        places = place + np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
        gains, *_ = best_fans(weight, places, reach_of(corners, places), downwards, _SEARCH)
        place = places[gains.argmax()]
    return place


def _stretch(gains: np.ndarray) -> tuple[int, int]:
    first, last, _ = intervals(gains[None])
    return int(first[0]), int(last[0])


def _drawn_fan(
    faded: np.ndarray,
    weight: np.ndarray,
    grey: np.ndarray,
    corners: np.ndarray,
    place: np.ndarray,
    downwards: bool,
) -> Shape:
    places = place[None]
    _, sides, radii = best_fans(faded, places, reach_of(corners, places), downwards, _FINAL, rounds=2)
    first, last, inner, outer = _without_halo(grey, place, sides[0], radii[0])
    inner = _nearest_body(weight, place, (first, last), inner)
    angles = np.linspace(first, last, _ARC_POINTS)
    arc = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    outline = place + np.concatenate([arc * outer, arc[::-1] * inner])
    everywhere = (-0.5, -0.5, weight.shape[1] - 0.5, weight.shape[0] - 0.5)
    mask = drawn(outline, everywhere, weight.shape)
    box = _straight_cuts(faded * mask, everywhere)
    mask = drawn(outline, box, weight.shape)
    return Shape("fan", outline, box, mask, float(weight[mask].sum()))


def _nearest_body(weight: np.ndarray, place: np.ndarray, sides: tuple[float, float], inner: float) -> float:
    """Moves the inner arc towards the transducer as long as enough of what it takes in moves: px.

    So near the apex there is too little area to gain by.
    """
    radius = np.arange(0, max(inner, 1), dtype=np.float32)
    angle = np.linspace(*sides, 2 * _ARC_POINTS, dtype=np.float32)
    x = np.float32(place[0]) + np.cos(angle)[:, None] * radius
    y = np.float32(place[1]) + np.sin(angle)[:, None] * radius
    sampled = cv2.remap(weight, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    still = np.flatnonzero((sampled >= 1).mean(axis=0) < _NEAR_BODY)
    return float(radius[still[-1]]) + 1 if still.size else 0.0


def _without_halo(
    grey: np.ndarray, place: np.ndarray, sides: np.ndarray, radii: np.ndarray
) -> tuple[float, float, float, float]:
    """Moves the sides and the outer arc inwards over the halo that the coder left beside them.

    Returns:
        first and last angle, rad; inner and outer radius, px.
    """
    (first, last), (inner, outer) = sides, radii
    margin = min(_HALO_PX, _HALO * min(grey.shape))
    radius = np.linspace(inner, outer, max(round(outer - inner), 8), dtype=np.float32)
    angle = np.linspace(first, last, max(round((last - first) * outer), 8), dtype=np.float32)
    x = np.float32(place[0]) + np.cos(angle)[:, None] * radius
    y = np.float32(place[1]) + np.sin(angle)[:, None] * radius
    sampled = cv2.remap(grey, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    by_angle, by_radius = sampled.mean(axis=1), sampled.mean(axis=0)
    turn, step = (last - first) / len(angle), (outer - inner) / len(radius)
    places = max(round(margin), 1)  # both are sampled once a pixel, angles at the outer arc
    return (
        first + turn * _halo_width(by_angle, places),
        last - turn * _halo_width(by_angle[::-1], places),
        inner,
        outer - step * _halo_width(by_radius[::-1], places),
    )


def _halo_width(profile: np.ndarray, places: int) -> int:
    """Counts the places at the beginning of a profile, at most `places`, that are much darker than what follows."""
    level = float(np.median(profile[places : 3 * places + 1])) if len(profile) > 3 * places else 0.0
    bright = np.flatnonzero(profile[: places + 1] >= _HALO_SHARE * level)
    return int(bright[0]) if bright.size else places


def _straight_cuts(held: np.ndarray, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """Finds upright and level cuts through a fan that gain much, as where a scanner cuts its picture's sides."""
    left, top, right, bottom = box
    needed = max(held.sum() * _CUT_SHARE, 0)
    for axis in (0, 1):
        sums = held.sum(axis=axis)
        first, last = _stretch(sums)
        first = first if sums[:first].sum() < -needed else 0
        last = last if sums[last:].sum() < -needed else len(sums)
        if axis == 0:
            left, right = max(left, first - 0.5), min(right, last - 0.5)
        else:
            top, bottom = max(top, first - 0.5), min(bottom, last - 0.5)
    return left, top, right, bottom


def _rectangle(weight: np.ndarray, hull: np.ndarray) -> Shape:
    around = np.ones(2 * (max(weight.shape) // _COARSE_PX + 1) + 1)
    rows, columns = (np.convolve(hull.any(axis=axis), around, "same") > 0 for axis in (1, 0))
    held = weight * (rows[:, None] & columns)
    left, right = _stretch(held.sum(axis=0))
    top, bottom = _stretch(held[:, left:right].sum(axis=1))
    left, right = _stretch(held[top:bottom].sum(axis=0))
    box = (left - 0.5, top - 0.5, right - 0.5, bottom - 0.5)
    outline = np.array([(box[0], box[1]), (box[2], box[1]), (box[2], box[3]), (box[0], box[3])])
    mask = np.zeros(weight.shape, bool)
    mask[top:bottom, left:right] = True
    return Shape("rectangle", outline, box, mask, float(weight[mask].sum()))
