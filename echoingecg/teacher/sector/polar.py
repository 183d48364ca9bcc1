"""Measures fans about many apexes at once: the weight of each, sampled by angle and radius."""

from functools import lru_cache

import cv2
import numpy as np


def reach_of(corners: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Returns the distance of the farthest corner from each place, and a little more: float64 (place,)."""
    return 1.03 * np.hypot(*(corners[None] - places[:, None]).T).max(axis=0)


def best_fans(
    weight: np.ndarray, places: np.ndarray, reach: np.ndarray, downwards: bool, grid: tuple[int, int], rounds: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Finds the best fan about each place.

    Returns:
        float64 (place,), its weight; (place, 2), first and last angle, rad; (place, 2), inner and outer radius, px.
    """
    angles, radii = grid
    turn = np.pi / angles
    directions, order_of_angles, order_of_radii = _polar_grid(angles, radii, downwards)
    radius = (reach / radii)[:, None].astype(np.float32) * (order_of_radii + np.float32(0.5))
    x, y = (
        (places[:, axis, None, None].astype(np.float32) + directions[axis] * radius[:, None]).reshape(-1, radii)
        for axis in (0, 1)
    )
    sampled = cv2.remap(weight, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    areas = radius * (reach * (turn / radii))[:, None].astype(np.float32)
    sampled = sampled.reshape(-1, angles, radii) * areas[:, None]
    of_angles = sampled.sum(axis=2)
    for _ in range(rounds):
        first, last, _ = intervals(of_angles)
        between = (order_of_angles >= first[:, None]) & (order_of_angles < last[:, None])
        inner, outer, gains = intervals(np.matmul(between[:, None].astype(np.float32), sampled)[:, 0])
        between = (order_of_radii >= inner[:, None]) & (order_of_radii < outer[:, None])
        of_angles = np.matmul(sampled, between[..., None].astype(np.float32))[..., 0]
    sides = np.stack([first, last], axis=1) * turn - (0 if downwards else np.pi)
    return gains, sides, np.stack([inner, outer], axis=1) * reach[:, None] / radii


@lru_cache(maxsize=8)
def _polar_grid(angles: int, radii: int, downwards: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns cosine and sine of the angles, float32 (2, angle, 1), and the numbers of angles and radii."""
    angle = (np.arange(angles) + 0.5) * np.pi / angles - (0 if downwards else np.pi)
    directions = np.stack([np.cos(angle), np.sin(angle)]).astype(np.float32)[..., None]
    return directions, np.arange(angles), np.arange(radii, dtype=np.float32)


def intervals(gains: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Finds in each row the stretch with the largest sum: its first place, the place after its last, and its sum."""
    sums = np.concatenate([np.zeros((len(gains), 1)), gains.cumsum(axis=1, dtype=float)], axis=1)
    lowest = np.minimum.accumulate(sums, axis=1)
    last = (sums - lowest).argmax(axis=1)
    row = np.arange(len(gains))
    first = (sums == lowest[row, last][:, None]).argmax(axis=1)
    return first, last, (sums - lowest)[row, last]
