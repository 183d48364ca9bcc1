"""Renders a four-chamber clip with a colour Doppler box: mitral inflow in diastole, outflow tract in systole.

Flow toward the transducer is red, away from it blue; beyond the Nyquist velocity the colour wraps around.
Peak velocities: Nagueh et al., J Am Soc Echocardiogr 2016;29:277 (inflow), Baumgartner et al., J Am Soc
Echocardiogr 2009;22:1 (outflow tract).
"""

import cv2
import numpy as np

from echoingecg.simulator.echo import apical, beating_heart
from echoingecg.simulator.echo.view import View
from echoingecg.simulator.population.patient import Heart

_INFLOW = 0.75  # m/s
_OUTFLOW = 0.85  # m/s
_WALL_FILTER_SHARE = 0.12  # of the Nyquist velocity: the wall filter
_TISSUE_GREY = 70  # grey level from which the picture covers the flow
_TURBULENCE_SHARE = 0.16  # of the velocity
_BAR_WIDTH_PX = 8
_OUTLINE = (150, 150, 150)

Box = tuple[int, int, int, int]


def render_colour(
    heart: Heart, anatomy: beating_heart.Anatomy, view: View, course: beating_heart.Course, rng: np.random.Generator
) -> tuple[np.ndarray, Box]:
    """Renders one clip, and returns it with its colour box.

    Args:
        heart, anatomy, view, course, rng: see `apical.render_clip`.

    Returns:
        uint8 (frame, height, width, 3), RGB; left, top, right, bottom of the colour box, px, all belonging to it.
    """
    frames = apical.render_clip(heart, anatomy, view, course, rng, "A4C CF")
    sector = view.sector()
    nyquist = rng.uniform(0.55, 0.7)
    box, outline = _box(anatomy, sector)
    inflow, outflow = _jets(anatomy, sector)
    palette = _palette()
    left, top, right, bottom = view.region
    for index, frame in enumerate(frames):
        picture = frame[top : bottom + 1, left : right + 1]
        turbulence = rng.standard_normal(inflow.shape, dtype=np.float32)
        stir = 1 + _TURBULENCE_SHARE * cv2.GaussianBlur(turbulence, (0, 0), 1.0) / np.float32(0.28)
        velocity = (course.opening[index] * inflow - course.ejection[index] * outflow) * stir / nyquist
        grey = cv2.GaussianBlur(picture[..., 0], (5, 5), 0)
        shown = box & (np.abs(velocity) > _WALL_FILTER_SHARE) & (grey < _TISSUE_GREY)
        wrapped = np.round((velocity + 1) % 2 * 127.5).astype(np.uint8)
        picture[shown] = palette[wrapped[shown]]
        cv2.polylines(frame, [outline + np.array((left, top), np.int32)], True, _OUTLINE, 1, cv2.LINE_AA)
        _draw_bar(frame, view, palette)
    corner, far = outline[:, 0].min(axis=0), outline[:, 0].max(axis=0)
    return frames, (int(corner[0] + left), int(corner[1] + top), int(far[0] + left), int(far[1] + top))


def _box(anatomy: beating_heart.Anatomy, view: View) -> tuple[np.ndarray, np.ndarray]:
    """The box between two ranges and two beams about the mitral valve: bool (height, width), int32 (point, 1, 2)."""
    columns, rows = view.to_pixels(np.array([0.35, 1.35]) * anatomy.length, np.zeros(2))
    x = (columns - view.width // 2) * view.spacing
    near, far = np.hypot(x, (rows - view.top) * view.spacing)
    far = min(far, 0.97 * view.depth)
    middle = float(np.arctan2(x.mean(), (near + far) / 2))
    half = min(float(np.arctan(1.25 * anatomy.radius / ((near + far) / 2))), view.half_angle - 0.05 - abs(middle))
    distance, angle = view.polar()
    inside = (distance > near) & (distance < far) & (np.abs(angle - middle) < half)
    sweep = np.linspace(middle - half, middle + half, 12)
    ranges = np.concatenate([np.full(12, near), np.full(12, far)])
    angles = np.concatenate([sweep, sweep[::-1]])
    points = np.stack([ranges * np.sin(angles), ranges * np.cos(angles)], axis=1) / view.spacing
    return inside, np.round(points + np.array((view.width // 2, view.top))).astype(np.int32)[:, None]


def _jets(anatomy: beating_heart.Anatomy, view: View) -> tuple[beating_heart.Field, beating_heart.Field]:
    """Speeds along the beam of inflow (toward the transducer) and outflow (away), m/s, float32 (height, width)."""
    depth, side = view.of_ventricle()
    along = depth / np.float32(anatomy.length)
    half = float(beating_heart.half_width(anatomy, np.array(anatomy.length)))
    aligned = np.cos(view.polar()[1])
    spread = 0.34 * half * (1 + 0.6 * np.clip(1 - along, 0, 1))
    inflow = np.exp(-0.5 * ((side - 0.12 * half) / spread) ** 2) * _plateau(along, 0.42, 1.12)
    course = -0.62 * half * np.clip((along - 0.45) / 0.5, 0, 1)  # toward the septum, where the aorta leaves
    outflow = np.exp(-0.5 * ((side - course) / (0.26 * half)) ** 2) * _plateau(along, 0.62, 1.06)
    return (_INFLOW * inflow * aligned).astype(np.float32), (_OUTFLOW * outflow * aligned).astype(np.float32)


def _plateau(along: beating_heart.Field, first: float, last: float) -> beating_heart.Field:
    """1 between two shares of the long axis, falling off smoothly about both."""
    return 1 / ((1 + np.exp(-(along - first) / 0.05)) * (1 + np.exp((along - last) / 0.04)))


def _palette() -> np.ndarray:
    """uint8 (256, 3): blue to cyan for negative velocities, red to yellow for positive ones; black between."""
    speed = np.linspace(-1, 1, 256)
    fast, strong = np.clip(2 * np.abs(speed) - 1, 0, 1), np.clip(0.35 + 1.3 * np.abs(speed), 0, 1)
    positive = np.stack([strong, 0.85 * fast, np.zeros(256)], axis=1)
    negative = np.stack([np.zeros(256), 0.85 * fast, strong], axis=1)
    return np.round(255 * np.where(speed[:, None] > 0, positive, negative)).astype(np.uint8)


def _draw_bar(frame: np.ndarray, view: View, palette: np.ndarray) -> None:
    """The colour bar, left of the sector's box where there is room."""
    if view.region[0] > _BAR_WIDTH_PX + 4:
        height = (view.bottom - view.top) // 3
        rows = np.linspace(255, 0, height).astype(int)
        frame[view.top + 4 : view.top + 4 + height, 3 : 3 + _BAR_WIDTH_PX] = palette[rows][:, None]
