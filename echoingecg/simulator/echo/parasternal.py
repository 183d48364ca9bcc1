"""Renders a parasternal long-axis clip: right ventricle above, septum, left ventricle, aortic root and left atrium.

The left ventricle is the four-chamber view's own, seen along the same long axis with its base to the right;
coordinates and motion are those of beating_heart. Sizes of root and outflow tract: Lang et al., J Am Soc Echocardiogr
2015;28:1 (ASE/EACVI).
"""

import numpy as np

from echoingecg.simulator.echo import apical, beating_heart, screen
from echoingecg.simulator.echo.view import Valves, View, annulus_depth, annulus_half, draw_curves, image_rows, leaflet
from echoingecg.simulator.population.patient import Heart

_ROOT_MM = 14.0  # radius of the aortic root
_BEHIND_ROOT_MM = 20.0  # from the septal edge of the annulus to the root's posterior wall
_VESSEL_WALL_MM = 3.0  # walls of root and atrium
_OUTFLOW_MM = 23.0  # right ventricular outflow tract
_RIGHT_WALL_MM = 4.0
_CHEST_MM = 15.0  # between transducer and heart
_DESCENDING_MM = 11.0  # radius of the descending aorta
_ATRIUM_SHARE = 0.85  # of the half width in the four-chamber view
_CUSP = np.linspace(0, 1, 6)[:, None]


def place_parasternal(anatomy: beating_heart.Anatomy, height: int, width: int, rng: np.random.Generator) -> View:
    """A probe position left of the sternum: the long axis lies across the sector, the apex beyond its edge."""
    top, bottom = image_rows(height)
    middle = _CHEST_MM + _RIGHT_WALL_MM + _OUTFLOW_MM + anatomy.septum + anatomy.radius + rng.uniform(-3, 5)
    depth = middle + anatomy.radius + anatomy.lateral_wall + rng.uniform(28, 42)
    tilt = np.radians(rng.uniform(80, 94))
    return View(
        height=height,
        width=width,
        top=top,
        bottom=bottom,
        spacing=depth / (bottom - top),
        half_angle=np.radians(rng.uniform(39, 44)),
        apex_x=rng.uniform(2, 14) - anatomy.length * np.sin(tilt),
        apex_y=middle - 0.6 * anatomy.length * np.cos(tilt),
        tilt=tilt,
        mirrored=True,
    )


def render_parasternal(
    heart: Heart, anatomy: beating_heart.Anatomy, view: View, course: beating_heart.Course, rng: np.random.Generator
) -> np.ndarray:
    """Renders one clip. For arguments and result see `apical.render_clip`."""
    sector = view.sector()

    def valves(tissue: np.ndarray, now: Valves) -> None:
        _draw_valves(tissue, anatomy, sector, now)

    scene = apical.Scene("PLAX", _end_diastole(anatomy, sector, rng), valves)
    return apical.render_scene(scene, heart, anatomy, view, course, screen.sample_console(rng), rng)


def _end_diastole(anatomy: beating_heart.Anatomy, view: View, rng: np.random.Generator) -> np.ndarray:
    depth, side = view.of_ventricle()
    base = depth > anatomy.length
    half = float(beating_heart.half_width(anatomy, np.array(anatomy.length)))
    inner = beating_heart.half_width(anatomy, depth)
    thin = np.clip((depth / anatomy.length - 0.72) / 0.28, 0, 1)  # the septum ends in the root's wall
    front = 2 * _ROOT_MM + _VESSEL_WALL_MM - _BEHIND_ROOT_MM
    septal = -np.where(base, half + front, inner + anatomy.septum + thin * (front - anatomy.septum))
    right = np.where(depth > 0, _OUTFLOW_MM * np.sqrt(np.clip((depth / anatomy.length - 0.1) / 0.4, 0, 1)), 0)

    across_root = np.abs(side - (_BEHIND_ROOT_MM - half - _ROOT_MM))
    atrium = _from_atrium(anatomy, depth, side, half)
    behind = np.hypot(depth - anatomy.length - 14, side - half - anatomy.lateral_wall - 2 * _DESCENDING_MM - 6)
    blood = (
        beating_heart.left_ventricle(anatomy, depth, side)
        | (base & (across_root < _ROOT_MM))
        | (atrium < 0)
        | ((side < septal) & (side > septal - right))
        | (behind < _DESCENDING_MM)
    )
    wall = (
        ((depth > -anatomy.lateral_wall) & ~base & (side <= 0) & (side >= septal))
        | ((depth > -anatomy.lateral_wall) & (depth < anatomy.length + 3) & (side > 0)
           & (side < inner + anatomy.lateral_wall))
        | (base & (across_root < _ROOT_MM + _VESSEL_WALL_MM))
        | (atrium < _VESSEL_WALL_MM)
        | ((right > 0) & (side <= septal) & (side > septal - right - _RIGHT_WALL_MM))
    )  # fmt: skip
    return apical.tissue_of(~(wall | blood), blood, np.where(side > 0, 1.0, 0.35).astype(np.float32), view.spacing, rng)


def _from_atrium(
    anatomy: beating_heart.Anatomy, depth: beating_heart.Field, side: beating_heart.Field, half: float
) -> beating_heart.Field:
    """Approximate distance from the edge of the left atrium, mm, negative inside."""
    radius = _ATRIUM_SHARE * anatomy.left_atrium
    length = 0.5 * anatomy.atrial_depth
    along = (depth - anatomy.length - length) / length
    across = (side - (_BEHIND_ROOT_MM - half + _VESSEL_WALL_MM + radius)) / radius
    return np.where(depth > anatomy.length, radius * ((along**4 + across**4) ** 0.25 - 1), np.inf)


def _draw_valves(image: np.ndarray, anatomy: beating_heart.Anatomy, view: View, now: Valves) -> None:
    depth = annulus_depth(anatomy, now.contraction)
    half = annulus_half(anatomy, now.contraction)
    squeeze = 1 - now.contraction * anatomy.radial
    anterior = -half + _BEHIND_ROOT_MM * squeeze
    centre = anterior - _ROOT_MM * squeeze
    open_share = min(1.0, 2 * now.ejection)
    curves = [
        leaflet(depth, anterior, half, 0.85, now.opening),
        leaflet(depth, half, anterior, 0.45, now.opening),
    ]
    for wall in (-1, 1):
        hinge = np.array([depth + 1, centre + wall * _ROOT_MM * squeeze])
        tip = np.array([depth + 10, centre + wall * _ROOT_MM * squeeze * 0.8 * open_share])
        belly = np.array([0.0, -3.5 * wall * (1 - open_share)]) * np.sin(np.pi * _CUSP)
        curves.append(hinge + _CUSP * (tip - hinge) + belly)
    draw_curves(image, view, curves, now.drift)
