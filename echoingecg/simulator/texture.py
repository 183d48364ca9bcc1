"""What the scanner makes of tissue: speckle, attenuation, shadows, noise; in grey levels after log compression."""

from typing import Final

import cv2
import numpy as np

from echoingecg.simulator.anatomy import Field
from echoingecg.simulator.view import View

_GREY_PER_DB: Final = 4.2  # 60 dB over 255 grey levels
_RANGE_SAMPLES: Final = 224
_BEAMS: Final = 144
_NOISE_FRAMES: Final = 5
_GRAIN: Final = 0.8  # px, standard deviation of the receiver noise's cells


def speckle(view: View, rng: np.random.Generator) -> Field:
    """Fully developed speckle in grey levels about 0, float32 (height, width).

    The magnitude of filtered complex Gaussian noise, Rayleigh distributed (Burckhardt, IEEE Trans Sonics
    Ultrason 1978;25:1), made in beam coordinates: cells are fine along the beam and widen with depth.
    """
    parts = rng.standard_normal((_RANGE_SAMPLES, _BEAMS, 2), dtype=np.float32)
    parts = cv2.GaussianBlur(parts, (0, 0), sigmaX=0.9, sigmaY=0.75)
    magnitude = np.hypot(parts[..., 0], parts[..., 1])
    decibel = 20 * np.log10(np.maximum(magnitude / magnitude.mean(), 0.05))
    distance, angle = view.polar()
    beams = (angle / np.float32(view.half_angle) * 0.5 + 0.5) * np.float32(_BEAMS - 1)
    ranges = distance * np.float32((_RANGE_SAMPLES - 1) / view.depth)
    return _GREY_PER_DB * cv2.remap(decibel, beams, ranges, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def attenuation(view: View, quality: float, rng: np.random.Generator) -> np.ndarray:
    """Grey levels lost on the way, uint8 (height, width); 255 outside the sector.

    Depth costs what time-gain compensation leaves over; sector edges and rib shadows cost more where the
    acoustic window is poor.
    """
    distance, angle = view.polar()
    share = distance / np.float32(view.depth)
    bearing = angle / np.float32(view.half_angle)
    poor = 1 - quality
    lost = (8 + 26 * poor) * share + (14 + 40 * poor) * np.abs(bearing) ** 3
    for _ in range(rng.poisson(1.6 * poor)):
        centre, width = rng.uniform(-1, 1), rng.uniform(0.05, 0.14)
        lost += rng.uniform(20, 90) * poor * np.exp(-0.5 * ((bearing - np.float32(centre)) / np.float32(width)) ** 2)
    lost[(share > 1) | (np.abs(bearing) > 1) | (distance < 0.02 * view.depth)] = 255
    lost[: view.top] = 255
    return np.clip(lost, 0, 255).astype(np.uint8)


def noise_frames(view: View, quality: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Receiver noise and near-field haze to add, a few uint8 (height, width) frames to cycle through."""
    distance, angle = view.polar()
    share = distance / np.float32(view.depth)
    inside = (share <= 1) & (np.abs(angle) <= view.half_angle) & (distance >= 0.02 * view.depth)
    inside[: view.top] = False
    haze = (18 + 24 * (1 - quality)) * np.exp(-share / np.float32(0.10))
    receiver = (3 + 9 * (1 - quality)) * share
    grain = np.abs(rng.standard_normal((_NOISE_FRAMES, *share.shape), dtype=np.float32))
    level = (haze + receiver) * inside
    return [(level * cv2.GaussianBlur(one, (5, 5), _GRAIN)).astype(np.uint8) for one in grain]
