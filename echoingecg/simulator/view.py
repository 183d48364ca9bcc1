"""Where the ultrasound sector lies in the image, and where the heart lies in the sector."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from echoingecg.simulator.anatomy import Anatomy, Field

_HEADER: Final = 0.08  # share of the image height above the sector: text
_FOOTER: Final = 0.14  # share below it: the ECG trace
_DEEPER: Final = 12.0  # mm shown behind the atria


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

    @property
    def depth(self) -> float:
        """mm."""
        return (self.bottom - self.top) * self.spacing

    @property
    def region(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom of the sector's box, px, all of them belonging to it."""
        half = int(np.ceil((self.bottom - self.top) * np.sin(self.half_angle)))
        centre = self.width // 2
        return max(centre - half, 0), self.top, min(centre + half, self.width - 1), self.bottom

    def polar(self) -> tuple[Field, Field]:
        """Distance from the transducer (mm) and angle to the right (radians) of every pixel, (height, width)."""
        x, y = self._millimetres()
        return np.hypot(x, y), np.arctan2(x, np.maximum(y, 1e-3))

    def of_ventricle(self) -> tuple[Field, Field]:
        """Depth and side (mm, see anatomy) of every pixel, float32 (height, width)."""
        x, y = self._millimetres()
        x, y = x - np.float32(self.apex_x), y - np.float32(self.apex_y)
        cos, sin = np.float32(np.cos(self.tilt)), np.float32(np.sin(self.tilt))
        return y * cos + x * sin, x * cos - y * sin

    def to_pixels(self, depth: np.ndarray, side: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Column and row (px, fractional) of a place of the ventricle: the inverse of `of_ventricle`."""
        cos, sin = np.float32(np.cos(self.tilt)), np.float32(np.sin(self.tilt))
        x = self.apex_x + depth * sin + side * cos
        y = self.apex_y + depth * cos - side * sin
        return x / self.spacing + self.width // 2, y / self.spacing + self.top

    def _millimetres(self) -> tuple[Field, Field]:
        x = (np.arange(self.width, dtype=np.float32) - self.width // 2) * np.float32(self.spacing)
        y = (np.arange(self.height, dtype=np.float32) - self.top) * np.float32(self.spacing)
        return np.broadcast_to(x, (self.height, self.width)), np.broadcast_to(y[:, None], (self.height, self.width))


def place(anatomy: Anatomy, height: int, width: int, rng: np.random.Generator) -> View:
    """A probe position that shows the whole heart, as a sonographer would choose the depth."""
    top, bottom = round(_HEADER * height), height - 1 - round(_FOOTER * height)
    apex_y = rng.uniform(19, 27)
    depth = apex_y + anatomy.total_depth + _DEEPER + rng.uniform(0, 10)
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
