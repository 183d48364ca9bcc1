"""Leaflets of the mitral and tricuspid valves, drawn as curves hinged at the annulus."""

from typing import Final

import cv2
import numpy as np

from echoingecg.simulator.anatomy import Anatomy, half_width
from echoingecg.simulator.view import View

_GREY: Final = 120
_SUBPIXEL: Final = 4  # fractional bits of OpenCV's drawing
_TENTING: Final = 5.0  # mm that closed leaflets reach into the ventricle
_BEND: Final = np.linspace(0, 1, 5)[:, None]


def draw_leaflets(
    image: np.ndarray, anatomy: Anatomy, view: View, contraction: float, opening: float, drift: float
) -> None:
    """Draws four leaflets; `image`, uint8 (height, width), is changed.

    Args:
        image: the tissue of one frame.
        anatomy: where the annulus is.
        view: millimetres to pixels.
        contraction: 0 to 1; the annulus descends with it.
        opening: 0 closed to 1 open.
        drift: rows by which the heart is displaced, px.
    """
    depth = annulus_depth(anatomy, contraction)
    half = float(half_width(anatomy, np.array(anatomy.length))) * (1 - contraction * anatomy.radial)
    septum = -(half + anatomy.septum)
    free_wall = septum - anatomy.right_ventricle
    curves = [
        _leaflet(depth, -half, half, 0.62, opening),
        _leaflet(depth, half, -half, 0.38, opening),
        _leaflet(depth - 3, septum, free_wall, 0.45, opening),
        _leaflet(depth - 3, free_wall, septum, 0.55, opening),
    ]
    points = []
    for curve in curves:
        columns, rows = view.to_pixels(curve[:, 0], curve[:, 1])
        points.append(np.round(np.stack([columns, rows + drift], axis=1) * (1 << _SUBPIXEL)).astype(np.int32)[:, None])
    width = max(round(1.6 / view.spacing), 1)
    cv2.polylines(image, points, False, _GREY, width, cv2.LINE_AA, _SUBPIXEL)


def annulus_depth(anatomy: Anatomy, contraction: float) -> float:
    """mm from the apex: solves `depth + contraction * (material depth - depth) = length`."""
    descent = anatomy.length * anatomy.longitudinal
    slope = contraction * descent / (anatomy.atrial_depth + descent)
    return (anatomy.length - slope * anatomy.total_depth) / (1 - slope)


def _leaflet(depth: float, hinge: float, opposite: float, share: float, opening: float) -> np.ndarray:
    """(point, 2) depth and side from hinge to tip; closed, the tips of a pair meet `share` of the way across."""
    reach = share * abs(opposite - hinge)
    across = np.sign(opposite - hinge)
    closed = np.array([-_TENTING, across * reach])
    wide = np.array([-0.92 * reach, across * 0.30 * reach])
    tip = (1 - opening) * closed + opening * wide
    belly = np.array([-0.12 * reach, 0.0]) * np.sin(np.pi * _BEND)
    return np.array([depth, hinge]) + _BEND * tip + belly
