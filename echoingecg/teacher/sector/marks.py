"""Finds what a scanner has printed across the sector's edge: a trace, a line, a letter.

Whole rectangles are cut out: a cut along the strokes of a trace would leave its shape to be read.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from echoingecg.teacher.sector.evidence import Evidence, disc

# Shares are of the sector's shorter edge, px those of the maps.
_STROKE = 1 / 20  # strokes are narrower
_CONTRAST = 40  # grey levels by which print is brighter than what lies about it, in every frame
_STILL = 0.35, 12  # share of its contrast, and levels, by which print that was coded as JPEG may change
_BESIDE_PX = 2  # what is nearer to the sector's edge is neither inside nor outside
_GAPS, _RIM = (
    (1 / 8, 1 / 40),
    1 / 40,
)  # gaps that are closed in a coloured and a grey trace; how near to the side it begins
_WIDTH, _HEIGHT, _ASPECT = 1 / 5, 1 / 4, 2.5  # of a trace, at least and at most; the least ratio of both
_INK_HEIGHT = 0.2, 1  # share of the height of a trace, and px, that it covers in a column at most
_LONG = 1 / 2  # of a grey trace that begins at the picture's side: bright tissue lies across a sector, too
_TOUCH = 1 / 40  # how near to the sector a trace comes
_ENTRY, _COVERED = 1 / 12, 0.5  # depth within the sector, and the share of its columns, where a trace is seen again
_SPANNED = 0.5  # of the columns of the sector, between the ends of print that is cut out where it lies
_CROSSED = 0.3  # of all columns of the sector, in which it is seen
_MARGIN = 0.15, 2  # share of the height of a trace, and px, that are cut above and below it
_LINE_WIDTH, _LINE_HEIGHT = 1 / 8, 1 / 60  # of a straight line, at least and at most
_LETTER, _TEXT_HEIGHT, _TEXT_WIDTH = 1 / 40, 1 / 10, 1 / 3  # gaps in print; its largest edges
_BAR_HEIGHT, _BAR_FILLED = 1 / 2, 0.4  # of a colour bar; share of its rectangle that it fills
_MOVING = 0.3  # of the pixels about print on a part of the sector that stands still, at most
_NEUTRAL, _FAINT = 128, 10  # chroma without colour; the chroma below which a trace is grey
_LIKE, _FAINTLY_LIKE = 0.5, 0.25  # shares of the strength of a trace's colour
_AS_BRIGHT, _INK = 0.8, 90  # share of the grey of a trace; percentile of its pixels that show its colour

Rectangle = tuple[int, int, int, int]  # left, top, right, bottom; right and bottom do not belong to it


def on_sector(frames: Sequence[np.ndarray], evidence: Evidence, sector: np.ndarray) -> list[Rectangle]:
    """Lists rectangles of the maps that hold print and that reach into the sector.

    Args:
        frames: uint8 (height, width, 3), RGB, that were compared, of the size of the maps.
        evidence: maps of these frames.
        sector: bool (height, width) of the maps.
    """
    edge = min(np.ptp(np.flatnonzero(sector.any(axis=axis))) for axis in (0, 1)) + 1
    still = _still_strokes(evidence, int(edge))
    marks = _Marks(
        edge=int(edge),
        stroke=evidence.stroke.astype(np.uint8),
        still=still.astype(np.uint8),
        sector=sector,
        outside=1 - cv2.dilate(sector.astype(np.uint8), np.ones((2 * _BESIDE_PX + 1,) * 2, np.uint8)),
    )
    cuts = [_cut(frames, marks, box) for box in _traces(marks)]
    return [*(cut for cut in cuts if cut is not None), *_texts(evidence, marks)]


@dataclass(frozen=True)
class _Marks:
    """Print about the sector, as maps of uint8 (height, width), 0 or 1.

    Attributes:
        edge: shorter edge of the sector, px.
        stroke: of a strong colour.
        still: bright strokes that stay.
        sector: bool (height, width).
        outside: what is surely outside the sector.
    """

    edge: int
    stroke: np.ndarray
    still: np.ndarray
    sector: np.ndarray
    outside: np.ndarray


def _still_strokes(evidence: Evidence, edge: int) -> np.ndarray:
    high, low = evidence.steady
    contrast = cv2.morphologyEx(low, cv2.MORPH_TOPHAT, disc(edge * _STROKE))
    share, levels = _STILL
    return (contrast > _CONTRAST) & (cv2.subtract(high, low) <= share * contrast + levels)


def _boxes(marks: np.ndarray) -> list[Rectangle]:
    """Lists the rectangles around the connected parts, and around the holes in them."""
    edges, _ = cv2.findContours(marks, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    return [(x, y, x + width, y + height) for x, y, width, height in map(cv2.boundingRect, edges)]


def _traces(marks: _Marks) -> list[Rectangle]:
    """Finds traces and lines that reach the sector, from beside it or from the picture's sides."""
    wide, narrow = (np.ones((1, max(int(marks.edge * gap), 3)), np.uint8) for gap in _GAPS)
    beyond = marks.outside.copy()
    rim = max(round(marks.edge * _RIM), 1)
    beyond[:, :rim] = beyond[:, -rim:] = 1
    traces = []
    for kind, gap, least in ((marks.stroke, wide, 0.0), (marks.still, narrow, _LONG)):
        boxes = _boxes(cv2.morphologyEx(kind * marks.outside, cv2.MORPH_CLOSE, gap) * marks.outside)
        boxes += [
            (left, top, right, bottom)
            for left, top, right, bottom in _boxes(cv2.morphologyEx(kind, cv2.MORPH_CLOSE, gap))
            if right - left >= least * marks.edge and (kind & beyond)[top:bottom, left:right].any()
        ]
        traces += [
            box for box in boxes if (_is_line(box, marks.edge) or _is_flat(box, marks.edge)) and _touches(box, marks)
        ]
    return traces


def _is_line(box: Rectangle, edge: int) -> bool:
    left, top, right, bottom = box
    return right - left >= edge * _LINE_WIDTH and bottom - top <= max(edge * _LINE_HEIGHT, 3)


def _is_flat(box: Rectangle, edge: int) -> bool:
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    return edge * _WIDTH <= width and height <= edge * _HEIGHT and width >= _ASPECT * height


def _touches(box: Rectangle, marks: _Marks) -> bool:
    left, top, right, bottom = box
    columns = np.flatnonzero(marks.sector[top:bottom].any(axis=0))
    return bool(columns.size) and max(columns[0] - right, left - columns[-1]) <= marks.edge * _TOUCH


def _cut(frames: Sequence[np.ndarray], marks: _Marks, box: Rectangle) -> Rectangle | None:
    """Returns what to cut for a trace: its rows over the whole width if it runs across the sector, and its cursor.

    Otherwise the part of it that lies on the sector; None where nothing does.
    """
    left, top, right, bottom = box
    share, px = _MARGIN
    margin = round((bottom - top) * share) + px
    reach = round(marks.edge * _HEIGHT)
    first, last = max(top - reach, 0), min(bottom + reach, len(marks.sector))
    columns = np.arange(marks.sector.shape[1])
    inked = ((marks.stroke | marks.still) > 0)[top:bottom] & (columns >= left) & (columns < right)
    inside = marks.sector[top:bottom]
    there = inked & ~inside if (inked & ~inside).any() else inked
    is_line, covered = _is_line(box, marks.edge), np.zeros(len(columns), bool)
    if there.any():
        colours = [cv2.cvtColor(frame[first:last], cv2.COLOR_RGB2YCrCb) for frame in frames]
        rows = slice(top - first, bottom - first)
        ink = np.concatenate([frame[rows][there] for frame in colours])
        faint = _alike([frame[rows] for frame in colours], ink, marks.edge, _FAINTLY_LIKE)
        if not is_line and not _is_thin(faint[:, :, left:right] & ~inside[:, left:right]):
            return None
        covered = (np.logical_or.reduce([_thin(frame, marks.edge) for frame in faint]) & inside).any(axis=0)
        base = top + int(there.sum(axis=1).argmax())
        crossed = np.asarray(marks.sector[max(base - px, 0) : base + px + 1].any(axis=0))
        if _enters(covered, crossed, left, right, marks.edge):
            alike = _alike(colours, ink, marks.edge, _LIKE)
            up, down = _tallest(alike[:, : top - first][:, ::-1]), _tallest(alike[:, bottom - first :])
            return 0, max(top - up - margin, 0), len(columns), bottom + down + margin
    places = np.flatnonzero((inked & inside).any(axis=0))
    if is_line and places.size:
        return max(int(places[0]) - px, 0), max(top - px, 0), int(places[-1]) + px + 1, bottom + px
    places = np.flatnonzero(covered[left:right])
    if places.size and np.ptp(places) > _SPANNED * np.count_nonzero(inside.any(axis=0)):
        return 0, max(top - margin, 0), len(columns), bottom + margin
    return None  # a box of colour flow reaches what stands beside the sector


def _is_thin(ink: np.ndarray) -> bool:
    """Says whether print, bool (frame, height, width), covers as little of a column in each frame as a trace does."""
    heights = ink.sum(axis=1)
    share, px = _INK_HEIGHT
    return bool(heights.sum() <= (share * ink.shape[1] + px) * np.count_nonzero(heights))


def _thin(alike: np.ndarray, edge: int) -> np.ndarray:
    """Keeps what is as thin as a stroke: bool (height, width); flow of the colour of a trace is not."""
    area = cv2.morphologyEx(alike.astype(np.uint8), cv2.MORPH_OPEN, disc(edge * _STROKE / 2))
    return alike & (area == 0)


def _tallest(alike: np.ndarray) -> int:
    """Measures the tallest column of a trace's colour that begins at the first row, in any frame, px."""
    return int(np.logical_and.accumulate(alike, axis=1).sum(axis=1).max()) if alike.shape[1] else 0


def _enters(covered: np.ndarray, inside: np.ndarray, left: int, right: int, edge: int) -> bool:
    """Says whether print goes on within the sector, right behind the side where it stands.

    Args:
        covered: bool (width,), columns of the sector in which its colour is seen.
        inside: bool (width,), columns of the sector where the print crosses it.
        left, right: columns of the print.
        edge: of the sector, px.
    """
    columns = np.flatnonzero(inside)
    if not columns.size:
        return False
    depth = max(round(edge * _ENTRY), 4)
    sides = []
    if left <= columns[0]:
        sides.append(columns[:depth])
    if right > columns[-1]:
        sides.append(columns[-depth:])
    sides = sides or [columns[(columns >= left) & (columns < right)]]
    enters = any(covered[side].mean() >= _COVERED for side in sides if side.size)
    return enters and bool(covered[columns].mean() >= _CROSSED)


def _alike(colours: Sequence[np.ndarray], ink: np.ndarray, edge: int, share: float) -> np.ndarray:
    """Says which pixels have the colour of a trace: bool (frame, height, width).

    Args:
        colours: uint8 (height, width, 3), YCrCb, of each frame.
        ink: uint8 (pixel, 3), pixels on the trace, in some frames.
        edge: of the sector, px.
        share: of the strength of the colour, that a pixel has at least.
    """
    chroma = ink[:, 1:].astype(float) - _NEUTRAL
    strength = np.hypot(*chroma.T)
    colour = np.median(chroma[strength >= np.percentile(strength, _INK)], axis=0)
    power = float(colour @ colour)
    if power < _FAINT**2:
        bright = np.percentile(ink[:, 0], _INK)
        narrow = np.ones((1, max(int(edge * _STROKE) | 1, 3)), np.uint8)
        greys = [cv2.extractChannel(frame, 0) for frame in colours]
        hats = [cv2.morphologyEx(grey, cv2.MORPH_TOPHAT, narrow) for grey in greys]
        return (np.stack(greys) >= max(_AS_BRIGHT * bright, _CONTRAST)) & (np.stack(hats) >= _LIKE * bright)
    chromas = np.stack(colours)[..., 1:].astype(np.float32) - _NEUTRAL
    along = chromas @ (colour / power).astype(np.float32)
    across = np.abs(chromas @ (np.array([-colour[1], colour[0]]) / power).astype(np.float32))
    least = max(share, _FAINT / power**0.5)
    return (along >= least) & (across <= _LIKE * along)


def _texts(evidence: Evidence, marks: _Marks) -> list[Rectangle]:
    """Finds small print that lies partly on the sector, and any print on a part of it that stands still."""
    around = max(round(marks.edge * _LETTER), 2)
    rectangles = []
    for kind, alone in ((marks.still | marks.stroke, False), (marks.still, True)):
        for left, top, right, bottom in _boxes(cv2.morphologyEx(kind, cv2.MORPH_CLOSE, disc(marks.edge * _LETTER))):
            here = slice(top, bottom), slice(left, right)
            if not marks.sector[here].any():
                continue
            if alone:
                near = evidence.weight[max(top - around, 0) : bottom + around, max(left - around, 0) : right + around]
                wanted = (near >= 0).mean() < _MOVING
            else:
                height = _BAR_HEIGHT if kind[here].mean() > _BAR_FILLED else _TEXT_HEIGHT
                small = bottom - top < marks.edge * height and right - left < marks.edge * _TEXT_WIDTH
                wanted = small and (kind[here] & marks.outside[here]).any()
            if wanted:
                rectangles.append((max(left - 2, 0), max(top - 2, 0), right + 2, bottom + 2))
    return rectangles
