"""What the scanner makes of tissue: speckle, attenuation, dropout, noise; in grey levels after log compression."""

from typing import Final

import cv2
import numpy as np

from echoingecg.simulator.echo.beating_heart import Anatomy, Field
from echoingecg.simulator.echo.view import View

_RANGE_SAMPLES: Final = 224
_BEAMS: Final = 144
_FIELDS: Final = 4  # real and imaginary parts of two independent echoes
_SCATTER: Final = 0.065  # rad a mm of tissue motion
_MOST: Final = 1.35  # rad, tissue that moved furthest is all but new
_DRIFT: Final = 0.35  # rad/s, the slice itself wanders
_JUMP: Final = 12  # px, noise fields are cut at random places of a larger one


class Speckle:
    """Fully developed speckle that belongs to tissue and changes as the tissue moves.

    The echo of a cell is a complex Gaussian, its magnitude Rayleigh distributed (Burckhardt, IEEE Trans Sonics
    Ultrason 1978;25:1). It is the blend cos(a) A + sin(a) B of two independent fields, hence of the same
    statistics at every angle a, and correlates by cos(a) with itself at rest; `a` grows with the distance that
    the tissue has gone, since scatterers leave the slice and deformation reorders them (Meunier and Bertrand,
    IEEE Trans Med Imaging 1995;14:293).
    """

    def __init__(self, view: View, travel: Field, rng: np.random.Generator) -> None:
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
        self._angle = np.minimum(_SCATTER * travel, _MOST).astype(np.float32)
        self._ones = np.ones_like(self._angle)

    def at(self, x: Field, y: Field, contraction: float, time: float) -> Field:
        """Natural logarithm of the echo's power, float32 (height, width), of tissue that stood at (x, y) px."""
        angle = cv2.addWeighted(self._angle, contraction, self._ones, _DRIFT * time, 0)
        cos, sin = cv2.polarToCart(self._ones, angle)
        old, old_, new, new_ = cv2.split(cv2.remap(self._parts, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT))
        real = cv2.add(cv2.multiply(old, cos), cv2.multiply(new, sin))
        imaginary = cv2.add(cv2.multiply(old_, cos), cv2.multiply(new_, sin))
        power = cv2.add(cv2.multiply(real, real), cv2.multiply(imaginary, imaginary))
        return cv2.log(cv2.max(power, 0.004))


def attenuation(view: View, quality: float, rng: np.random.Generator) -> Field:
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


def dropout(anatomy: Anatomy, view: View, quality: float, rng: np.random.Generator) -> Field:
    """Grey levels that the lateral wall lacks, float32 (height, width): beams run along it, and lungs cover it."""
    depth, side = view.of_ventricle()
    strength = 135 * max(1 - quality - 0.15, 0) * rng.uniform(0.4, 1)
    centre = rng.uniform(0.25, 0.8) * anatomy.length
    along = (depth - np.float32(centre)) / np.float32(0.24 * anatomy.length)
    across = (side - np.float32(anatomy.radius + 4)) / np.float32(14)
    return np.float32(strength) * np.exp(-0.5 * (along**2 + across**2))


class Noise:
    """The receiver's noise, which rises with the gain over depth, and the near field's haze: new in every frame."""

    def __init__(self, view: View, quality: float, rng: np.random.Generator) -> None:
        distance, _ = view.polar()
        share = distance / np.float32(view.depth)
        poor = 1 - quality
        self._level = ((18 + 24 * poor) * np.exp(-share / np.float32(0.10)) + (4 + 16 * poor) * share).astype(
            np.float32
        )
        size = view.height + _JUMP, view.width + _JUMP
        grain = cv2.GaussianBlur(rng.standard_normal(size, dtype=np.float32), (5, 5), 0.8)
        self._grain = np.abs(grain) / np.float32(np.abs(grain).mean())
        self._rng = rng

    def frame(self) -> Field:
        """Grey levels below which nothing is seen, float32 (height, width)."""
        height, width = self._level.shape
        top, left = self._rng.integers(0, _JUMP, 2)
        return cv2.multiply(self._level, np.ascontiguousarray(self._grain[top : top + height, left : left + width]))
