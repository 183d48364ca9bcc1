"""Renders apical four-chamber clips: the end-diastolic picture of a heart, moved through its beats.

For every pixel of a frame, the tissue is looked up where it was at end diastole. Speckle moves with the tissue and
changes gradually. Attenuation, dropout, noise and the screen of the scanner stay in place. All values are grey levels
after log compression.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from echoingecg.simulator.echo import beating_heart, screen
from echoingecg.simulator.echo.view import Valves, View, draw_leaflets
from echoingecg.simulator.population.patient import Heart

_RANGE_SAMPLES = 224
_BEAMS = 144
_FIELDS = 4  # real and imaginary parts of two independent echoes
_SPECKLE_TURN_PER_MM = 0.065  # rad
_MAX_SPECKLE_TURN = 1.35  # rad; the speckle of tissue that moved furthest is almost entirely new
_SPECKLE_TURN_PER_SECOND = 0.35  # rad; the slice itself moves slowly
_NOISE_MARGIN_PX = 12  # noise of a frame is cut from a random place of a larger field


class Speckle:
    """Fully developed speckle that belongs to tissue and changes as the tissue moves.

    The echo of a cell is a complex Gaussian, its magnitude Rayleigh distributed (Burckhardt, IEEE Trans Sonics
    Ultrason 1978;25:1). It is the blend cos(a) A + sin(a) B of two independent fields, hence of the same
    statistics at every angle a, and correlates by cos(a) with itself at rest; `a` grows with the distance that
    the tissue has gone, since scatterers leave the slice and deformation reorders them (Meunier and Bertrand,
    IEEE Trans Med Imaging 1995;14:293).
    """

    def __init__(self, view: View, travel: beating_heart.Field, rng: np.random.Generator) -> None:
        """Draws both fields in beam coordinates: cells are fine along the beam and widen with depth.

        Args:
            view: of the sector.
            travel: (height, width) mm that tissue now at a pixel has moved at full contraction.
            rng: of the scatterers.
        """
        parts = rng.standard_normal((_RANGE_SAMPLES, _BEAMS, _FIELDS), dtype=np.float32)
        parts = cv2.GaussianBlur(parts, (0, 0), sigmaX=1.25, sigmaY=0.9)
        distance, angle = view.polar()
        beams = (angle / np.float32(view.half_angle) * 0.5 + 0.5) * np.float32(_BEAMS - 1)
        ranges = distance * np.float32((_RANGE_SAMPLES - 1) / view.depth)
        parts = cv2.remap(parts, beams, ranges, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        self._parts = parts / np.float32(np.sqrt(2) * parts.std())
        self._angle = np.minimum(_SPECKLE_TURN_PER_MM * travel, _MAX_SPECKLE_TURN).astype(np.float32)
        self._ones = np.ones_like(self._angle)

    def log_power(
        self, x: beating_heart.Field, y: beating_heart.Field, contraction: float, time: float
    ) -> beating_heart.Field:
        """Natural logarithm of the echo's power, float32 (height, width), of tissue that stood at (x, y) px."""
        angle = cv2.addWeighted(self._angle, contraction, self._ones, _SPECKLE_TURN_PER_SECOND * time, 0)
        cos, sin = cv2.polarToCart(self._ones, angle)
        old, old_, new, new_ = cv2.split(cv2.remap(self._parts, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT))
        real = cv2.add(cv2.multiply(old, cos), cv2.multiply(new, sin))
        imaginary = cv2.add(cv2.multiply(old_, cos), cv2.multiply(new_, sin))
        power = cv2.add(cv2.multiply(real, real), cv2.multiply(imaginary, imaginary))
        return cv2.log(cv2.max(power, 0.004))


def attenuation(view: View, quality: float, rng: np.random.Generator) -> beating_heart.Field:
    """Grey levels lost on the way, float32 (height, width).

    Depth costs what time-gain compensation leaves over; sector edges and rib shadows cost more where the
    acoustic window is poor.
    """
    distance, angle = view.polar()
    share = distance / np.float32(view.depth)
    bearing = angle / np.float32(view.half_angle)
    poor = 1 - quality
    lost = (10 + 22 * poor) * share + (18 + 40 * poor) * np.abs(bearing) ** 3
    for _ in range(rng.poisson(1.6 * poor)):
        centre, width = rng.uniform(-1, 1), rng.uniform(0.05, 0.14)
        lost += rng.uniform(20, 90) * poor * np.exp(-0.5 * ((bearing - np.float32(centre)) / np.float32(width)) ** 2)
    return lost.astype(np.float32)


def dropout(
    anatomy: beating_heart.Anatomy, view: View, quality: float, rng: np.random.Generator
) -> beating_heart.Field:
    """Grey levels that the lateral wall lacks, float32 (height, width): beams run along it, and lungs cover it."""
    depth, side = view.of_ventricle()
    strength = 135 * max(1 - quality - 0.15, 0) * rng.uniform(0.4, 1)
    centre = rng.uniform(0.25, 0.8) * anatomy.length
    along = (depth - np.float32(centre)) / np.float32(0.24 * anatomy.length)
    across = (side - np.float32(anatomy.radius + 4)) / np.float32(14)
    return np.float32(strength) * np.exp(-0.5 * (along**2 + across**2))


class Noise:
    """Noise of the receiver, which rises with the gain over depth, and haze of the near field: new in every frame."""

    def __init__(self, view: View, quality: float, rng: np.random.Generator) -> None:
        distance, _ = view.polar()
        share = distance / np.float32(view.depth)
        poor = 1 - quality
        self._level = ((18 + 24 * poor) * np.exp(-share / np.float32(0.10)) + (4 + 16 * poor) * share).astype(
            np.float32
        )
        size = view.height + _NOISE_MARGIN_PX, view.width + _NOISE_MARGIN_PX
        grain = cv2.GaussianBlur(rng.standard_normal(size, dtype=np.float32), (5, 5), 0.8)
        self._grain = np.abs(grain) / np.float32(np.abs(grain).mean())
        self._rng = rng

    def frame(self) -> beating_heart.Field:
        """Grey levels below which nothing is seen, float32 (height, width)."""
        height, width = self._level.shape
        top, left = self._rng.integers(0, _NOISE_MARGIN_PX, 2)
        return cv2.multiply(self._level, np.ascontiguousarray(self._grain[top : top + height, left : left + width]))


# Grey levels after log compression, at 60 dB and a suitable gain.
FLOOR = -48.0  # what a tissue value of 0 stands for
BLOOD = -34.0
MUSCLE = 108.0
SURROUNDINGS = 74.0
_PERICARDIUM = 80.0  # above its surroundings
_LUNG_DISTANCE_MM = 32.0  # beyond the heart, over which its surroundings darken: lung
_LUNG_GREYS = 44.0  # by which lung is darker
_MOTTLE = 9.0  # standard deviation of tissue brightness over _PATCH_MM
_PATCH_MM = 7.0
_DB_PER_LOG = 10 / np.log(10)  # of a natural logarithm of power
_PIVOT_GREY = 120.0  # the grey level that a change of dynamic range leaves alone


@dataclass(frozen=True)
class Scene:
    """The tissue and valves that a probe position shows.

    Attributes:
        title: the view's name on the screen.
        tissue: uint8 (height, width) of the sector, at end diastole: grey levels above FLOOR.
        valves: draws the leaflets of one frame into its tissue.
    """

    title: str
    tissue: np.ndarray
    valves: Callable[[np.ndarray, Valves], None]


def render_clip(
    heart: Heart,
    anatomy: beating_heart.Anatomy,
    view: View,
    course: beating_heart.Course,
    rng: np.random.Generator,
    title: str = "A4C",
) -> np.ndarray:
    """Renders one apical four-chamber clip.

    Args:
        heart: rate, rhythm, conduction and image quality are read.
        anatomy: sizes and shortening.
        view: probe position.
        course: of the clip's beats.
        rng: scanner, speckle, noise.
        title: the view's name on the screen.

    Returns:
        uint8 (frame, height, width, 3), RGB.
    """
    sector = view.sector()

    def valves(tissue: np.ndarray, now: Valves) -> None:
        draw_leaflets(tissue, anatomy, sector, now)

    scene = Scene(title, end_diastole(anatomy, sector, rng), valves)
    return render_scene(scene, heart, anatomy, view, course, screen.sample_console(rng), rng)


def render_scene(
    scene: Scene, heart: Heart, anatomy: beating_heart.Anatomy, view: View,
    course: beating_heart.Course, console: screen.Console, rng: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    """Renders a clip of any scene: uint8 (frame, height, width, 3), RGB. For the arguments see `render_clip`."""
    sector = view.sector()
    rest_x, rest_y, move_x, move_y = motion(anatomy, sector)
    speckle = Speckle(sector, np.hypot(move_x, move_y) * np.float32(sector.spacing), rng)
    noise = Noise(sector, heart.image_quality, rng)
    inside = sector.within()
    lost = attenuation(sector, heart.image_quality, rng) + dropout(anatomy, sector, heart.image_quality, rng)
    base = np.float32(FLOOR + console.gain * console.grey_per_db) - lost
    base = np.where(inside, _PIVOT_GREY + (base - _PIVOT_GREY) * np.float32(console.contrast), np.float32(-1e4))
    level = inside.astype(np.float32) * np.float32(console.contrast)

    left, top, right, bottom = view.region
    frames = np.empty((len(course.time), view.height, view.width, 3), np.uint8)
    frames[:] = screen.overlay(view, scene.title, console, heart, course, rng)
    for index, frame in enumerate(frames):
        amount, drift = float(course.contraction[index]), float(course.sway[index] / view.spacing)
        x = cv2.scaleAdd(move_x, amount, rest_x)
        y = cv2.add(cv2.scaleAdd(move_y, amount, rest_y), drift)
        tissue = cv2.remap(scene.tissue, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        scene.valves(tissue, Valves(amount, float(course.opening[index]), float(course.ejection[index]), -drift))
        echo = speckle.log_power(x, y, amount, float(course.time[index]))
        grey = cv2.addWeighted(echo, console.grey_per_db * _DB_PER_LOG, tissue.astype(np.float32), console.contrast, 0)
        grey = cv2.max(cv2.add(grey, base), cv2.multiply(noise.frame(), level))
        frame[top : bottom + 1, left : right + 1] = cv2.cvtColor(cv2.convertScaleAbs(grey), cv2.COLOR_GRAY2RGB)
        screen.draw_cursor(frame, view, course.time[index] / course.duration)
    return frames


def end_diastole(anatomy: beating_heart.Anatomy, view: View, rng: np.random.Generator) -> np.ndarray:
    """Tissue at end diastole, uint8 (height, width), grey levels above FLOOR."""
    depth, side = view.of_ventricle()
    outside = ~beating_heart.heart_wall(anatomy, depth, side)
    rim = np.clip(depth / anatomy.length, 0.15, 1)
    return tissue_of(outside, beating_heart.cavities(anatomy, depth, side), rim, view.spacing, rng)


def tissue_of(
    outside: np.ndarray, blood: np.ndarray, rim: beating_heart.Field, spacing: float, rng: np.random.Generator
) -> np.ndarray:
    """Grey levels above FLOOR, uint8 (height, width): blood, muscle, and a bright rim where the heart ends.

    Args:
        outside: bool (height, width), beyond the heart.
        blood: bool (height, width), chambers and vessels.
        rim: (height, width) brightness of the pericardium, 0 to 1.
        spacing: mm a pixel.
        rng: of the tissue's patches.
    """
    edge = cv2.GaussianBlur(outside.astype(np.float32), (0, 0), 2.0 / spacing)
    away = cv2.distanceTransform(outside.astype(np.uint8), cv2.DIST_L2, 3) * np.float32(spacing / _LUNG_DISTANCE_MM)
    tissue = np.where(
        outside,
        np.float32(SURROUNDINGS - _LUNG_GREYS) + np.float32(_LUNG_GREYS) * np.exp(-away),
        np.float32(MUSCLE),
    )
    tissue += np.float32(4 * _PERICARDIUM) * edge * (1 - edge) * rim
    height, width = outside.shape
    patches = rng.standard_normal([round(size * spacing / _PATCH_MM) + 2 for size in outside.shape], dtype=np.float32)
    tissue += np.float32(_MOTTLE) * cv2.resize(patches, (width, height), interpolation=cv2.INTER_CUBIC)
    sharp = np.where(blood, np.float32(BLOOD), tissue)
    return np.clip(cv2.GaussianBlur(sharp, (0, 0), 0.7 / spacing) - FLOOR, 0, 255).astype(np.uint8)


def motion(
    anatomy: beating_heart.Anatomy, view: View
) -> tuple[beating_heart.Field, beating_heart.Field, beating_heart.Field, beating_heart.Field]:
    """Column and row of every pixel, and how far away its tissue stood at end diastole when it is end systole.

    Returns:
        four float32 (height, width), px. At contraction c, `rest + c * move` is where to look.
    """
    rest_x, rest_y = (np.ascontiguousarray(axis) for axis in view.pixels())
    x, y = view.to_pixels(*beating_heart.material(anatomy, *view.of_ventricle()))
    return rest_x, rest_y, (x - rest_x).astype(np.float32), (y - rest_y).astype(np.float32)


def ventricle_masks(anatomy: beating_heart.Anatomy, view: View, course: beating_heart.Course) -> np.ndarray:
    """Marks the cavity of the left ventricle as `render_clip` shows it: bool (frame, height, width)."""
    rest_x, rest_y, move_x, move_y = motion(anatomy, view)
    masks = np.empty((len(course.time), view.height, view.width), bool)
    for mask, amount, sway in zip(masks, course.contraction, course.sway, strict=True):
        x, y = rest_x + amount * move_x, rest_y + amount * move_y + sway / view.spacing
        mask[:] = beating_heart.left_ventricle(anatomy, *view.from_pixels(x, y))
    return masks
