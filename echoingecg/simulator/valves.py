"""Leaflets of the mitral and tricuspid valves, drawn as curves hinged at the annulus."""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from echoingecg.simulator.echo.beating_heart import Anatomy, half_width, material
from echoingecg.simulator.echo.view import View

_LEVEL: Final = 150  # above the darkest grey level that tissue has
_SUBPIXEL: Final = 4  # fractional bits of OpenCV's drawing
_TENTING: Final = 5.0  # mm that closed leaflets reach into the ventricle
_BEND: Final = np.linspace(0, 1, 5)[:, None]


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
    cv2.polylines(image, points, False, _LEVEL, width, cv2.LINE_AA, _SUBPIXEL)


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
    closed = np.array([-_TENTING, across * reach])
    wide = np.array([-0.92 * reach, across * 0.30 * reach])
    tip = (1 - opening) * closed + opening * wide
    belly = np.array([-0.12 * reach, 0.0]) * np.sin(np.pi * _BEND)
    return np.array([depth, hinge]) + _BEND * tip + belly
