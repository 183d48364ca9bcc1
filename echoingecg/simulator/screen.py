"""What a scanner prints around the sector: text above it, the patient's ECG trace below it."""

from typing import Final

import cv2
import numpy as np

from echoingecg.simulator.ecg import DOWER, INDEPENDENT, heart_vector
from echoingecg.simulator.patient import Heart
from echoingecg.simulator.view import View

_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
_GREY: Final = (170, 170, 170)
_GREEN: Final = (60, 200, 90)
_SUBPIXEL: Final = 4  # fractional bits of OpenCV's drawing


def overlay(view: View, heart: Heart, beats: np.ndarray, duration: float, frame_rate: float,
            rng: np.random.Generator) -> np.ndarray:  # fmt: skip
    """Text and trace on black, uint8 RGB (height, width, 3); nothing lies inside the sector's box."""
    image = np.zeros((view.height, view.width, 3), np.uint8)
    scale = view.height / 620
    baseline = max(view.top - 3, 1)
    cv2.putText(image, f"A4C {frame_rate:.0f}Hz {view.depth / 10:.0f}cm", (3, baseline), _FONT, scale, _GREY, 1,
                cv2.LINE_AA)  # fmt: skip
    rate = f"HR {heart.heart_rate:.0f}"
    cv2.putText(image, rate, (round(0.82 * view.width), baseline), _FONT, scale, _GREY, 1, cv2.LINE_AA)
    cv2.polylines(image, [_trace(view, heart, beats, duration, rng)], False, _GREEN, 1, cv2.LINE_AA, _SUBPIXEL)
    image[view.top : view.bottom + 1] = 0
    return image


def draw_cursor(image: np.ndarray, view: View, share: float) -> None:
    """Marks on the trace how much of the clip has passed; `image` is changed."""
    column = round(share * (view.width - 1))
    image[view.bottom + 3 : view.height - 2, column] = _GREY


def _trace(view: View, heart: Heart, beats: np.ndarray, duration: float, rng: np.random.Generator) -> np.ndarray:
    """int32 (point, 1, 2): lead II over the clip, across the image, in 1/16 px."""
    time = np.linspace(0, duration, view.width)
    lead = DOWER[INDEPENDENT.index("II")] @ heart_vector(heart, beats, time, rng)
    low, high = view.bottom + 5, view.height - 4
    rows = high - (lead - lead.min()) / max(float(np.ptp(lead)), 0.3) * (high - low)
    points = np.stack([np.arange(view.width), rows], axis=1)
    return np.round(points * (1 << _SUBPIXEL)).astype(np.int32)[:, None]
