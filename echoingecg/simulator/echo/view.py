"""The probe position: the sector in the image, the heart in the sector; and the valve leaflets drawn into a view."""

from dataclasses import dataclass, replace
from typing import Self

import cv2
import numpy as np

from echoingecg.simulator.echo.beating_heart import Anatomy, Field, half_width, material

_HEADER_SHARE = 0.08  # share of the image height above the sector: text
_FOOTER_SHARE = 0.14  # share below it: the ECG trace
_MARGIN_BEHIND_ATRIA_MM = 12.0  # shown behind the atria
_LEAFLET_LEVEL = 150  # above the darkest grey level that tissue has
_SUBPIXEL = 4  # fractional bits of OpenCV's drawing
_TENTING_MM = 5.0  # that closed leaflets reach into the ventricle
_BEND = np.linspace(0, 1, 5)[:, None]


@dataclass(frozen=True)
class View:
    """One probe position.

    Attributes:
        height, width: of the image, px.
        top: row of the transducer, px.
        bottom: last row of the sector, px.
        spacing: mm a pixel, the same in both directions.
        half_angle: of the sector, radians.
        apex_x, apex_y: the ventricle's apex, mm from the transducer, right and down.
        tilt: of its long axis against the vertical, radians, positive with the base to the right.
        mirrored: whether the septum lies on the other side of the long axis.
    """

    height: int
    width: int
    top: int
    bottom: int
    spacing: float
    half_angle: float
    apex_x: float
    apex_y: float
    tilt: float
    mirrored: bool = False

    @property
    def depth(self) -> float:
        """Depth of the sector, mm."""
        return (self.bottom - self.top) * self.spacing

    @property
    def region(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom of the sector's box, px, all of them belonging to it."""
        half = int(np.ceil((self.bottom - self.top) * np.sin(self.half_angle)))
        centre = self.width // 2
        return max(centre - half, 0), self.top, min(centre + half, self.width - 1), self.bottom

    def sector(self) -> Self:
        """Returns the view cropped to `region`."""
        left, top, right, bottom = self.region
        return replace(self, height=bottom - top + 1, width=right - left + 1, top=0, bottom=bottom - top)

    def polar(self) -> tuple[Field, Field]:
        """Distance from the transducer (mm) and angle to the right (radians) of every pixel, (height, width)."""
        x, y = self._millimetres(*self.pixels())
        return np.hypot(x, y), np.arctan2(x, np.maximum(y, 1e-3))

    def within(self) -> np.ndarray:
        """bool (height, width): the sector that the beams reach."""
        distance, angle = self.polar()
        inside = (distance <= self.depth) & (np.abs(angle) <= self.half_angle) & (distance >= 0.02 * self.depth)
        inside[: self.top] = False
        return inside

    def pixels(self) -> tuple[Field, Field]:
        """Column and row of every pixel, float32 (height, width)."""
        columns, rows = np.arange(self.width, dtype=np.float32), np.arange(self.height, dtype=np.float32)
        return np.broadcast_to(columns, (self.height, self.width)), np.broadcast_to(
            rows[:, None], (self.height, self.width)
        )

    def of_ventricle(self) -> tuple[Field, Field]:
        """Depth and side (mm, see anatomy) of every pixel, float32 (height, width)."""
        return self.from_pixels(*self.pixels())

    def from_pixels(self, columns: Field, rows: Field) -> tuple[Field, Field]:
        """Depth and side (mm) of places of the image (px, fractional)."""
        x, y = self._millimetres(columns, rows)
        x, y = x - np.float32(self.apex_x), y - np.float32(self.apex_y)
        cos, sin = np.float32(np.cos(self.tilt)), np.float32(np.sin(self.tilt))
        side = x * cos - y * sin
        return y * cos + x * sin, -side if self.mirrored else side

    def to_pixels(self, depth: np.ndarray, side: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Column and row (px, fractional) of a place of the ventricle: the inverse of `from_pixels`."""
        cos, sin = np.float32(np.cos(self.tilt)), np.float32(np.sin(self.tilt))
        across = -side if self.mirrored else side
        x = self.apex_x + depth * sin + across * cos
        y = self.apex_y + depth * cos - across * sin
        return x / self.spacing + self.width // 2, y / self.spacing + self.top

    def _millimetres(self, columns: Field, rows: Field) -> tuple[Field, Field]:
        """Right of and below the transducer."""
        spacing = np.float32(self.spacing)
        return (columns - self.width // 2) * spacing, (rows - self.top) * spacing


def image_rows(height: int) -> tuple[int, int]:
    """Rows of the transducer and of the sector's end, between text and trace."""
    return round(_HEADER_SHARE * height), height - 1 - round(_FOOTER_SHARE * height)


def place(anatomy: Anatomy, height: int, width: int, rng: np.random.Generator) -> View:
    """A probe position that shows the whole heart, as a sonographer would choose the depth."""
    top, bottom = image_rows(height)
    apex_y = rng.uniform(19, 27)
    depth = apex_y + anatomy.total_depth + _MARGIN_BEHIND_ATRIA_MM + rng.uniform(0, 10)
    return View(
        height=height,
        width=width,
        top=top,
        bottom=bottom,
        spacing=depth / (bottom - top),
        half_angle=np.radians(rng.uniform(39, 44)),
        apex_x=rng.uniform(-1, 6),
        apex_y=apex_y,
        tilt=np.radians(rng.uniform(0, 7)),
    )


@dataclass(frozen=True)
class Valves:
    """State of one frame.

    Attributes:
        contraction: 0 to 1; the annulus descends with it.
        opening: of the mitral and tricuspid valves, 0 closed to 1 open.
        ejection: flow through the aortic valve, 0 to 1.
        drift: rows by which the heart is displaced, px.
    """

    contraction: float
    opening: float
    ejection: float
    drift: float


def draw_leaflets(image: np.ndarray, anatomy: Anatomy, view: View, now: Valves) -> None:
    """Draws the four leaflets of a four-chamber view; `image`, uint8 (height, width), is changed."""
    depth = annulus_depth(anatomy, now.contraction)
    half = annulus_half(anatomy, now.contraction)
    septum = -beyond_wall(anatomy, now.contraction, 0.0)
    free_wall = -beyond_wall(anatomy, now.contraction, anatomy.right_ventricle)
    curves = [
        leaflet(depth, -half, half, 0.62, now.opening),
        leaflet(depth, half, -half, 0.38, now.opening),
        leaflet(depth - 3, septum, free_wall, 0.45, now.opening),
        leaflet(depth - 3, free_wall, septum, 0.55, now.opening),
    ]
    draw_curves(image, view, curves, now.drift)


def draw_curves(image: np.ndarray, view: View, curves: list[np.ndarray], drift: float) -> None:
    """Draws curves, (point, 2) depth and side each, as thin tissue; `image` is changed."""
    points = []
    for curve in curves:
        columns, rows = view.to_pixels(curve[:, 0], curve[:, 1])
        points.append(np.round(np.stack([columns, rows + drift], axis=1) * (1 << _SUBPIXEL)).astype(np.int32)[:, None])
    width = max(round(1.6 / view.spacing), 1)
    cv2.polylines(image, points, False, _LEAFLET_LEVEL, width, cv2.LINE_AA, _SUBPIXEL)


def annulus_half(anatomy: Anatomy, contraction: float) -> float:
    """Half width of the mitral annulus, mm."""
    return float(half_width(anatomy, np.array(anatomy.length))) * (1 - contraction * anatomy.radial)


def annulus_depth(anatomy: Anatomy, contraction: float) -> float:
    """mm from the apex: solves `depth + contraction * (material depth - depth) = length`."""
    descent = anatomy.length * anatomy.longitudinal
    slope = contraction * descent / (anatomy.atrial_depth + descent)
    return (anatomy.length - slope * anatomy.total_depth) / (1 - slope)


def beyond_wall(anatomy: Anatomy, contraction: float, distance: float) -> float:
    """mm from the long axis, at the annulus, of what lay `distance` mm outside of the septum at end diastole."""
    inner = float(half_width(anatomy, np.array(anatomy.length)))
    now = np.linspace(0, 3 * inner, 200)
    _, then = material(anatomy, np.full_like(now, anatomy.length * (1 - anatomy.longitudinal)), -now)
    return float(np.interp(inner + anatomy.septum + distance, now - contraction * (then + now), now))


def leaflet(depth: float, hinge: float, opposite: float, share: float, opening: float) -> np.ndarray:
    """(point, 2) depth and side from hinge to tip; closed, the tips of a pair meet `share` of the way across."""
    reach = share * abs(opposite - hinge)
    across = np.sign(opposite - hinge)
    closed = np.array([-_TENTING_MM, across * reach])
    wide = np.array([-0.92 * reach, across * 0.30 * reach])
    tip = (1 - opening) * closed + opening * wide
    belly = np.array([-0.12 * reach, 0.0]) * np.sin(np.pi * _BEND)
    return np.array([depth, hinge]) + _BEND * tip + belly
