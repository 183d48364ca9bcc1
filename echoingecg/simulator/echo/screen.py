"""The scanner's settings, which change grey levels, and what it prints around the sector: text, scale, ECG trace."""

from dataclasses import dataclass

import cv2
import numpy as np

from echoingecg.ecg.electrodes import DOWER, INDEPENDENT
from echoingecg.simulator.ecg.heart_vector import Beats, sum_waves
from echoingecg.simulator.echo.beating_heart import Course
from echoingecg.simulator.echo.view import View
from echoingecg.simulator.population.patient import Heart

_PROBES = ("S5-1", "X5-1", "M5Sc", "P4-2", "5V1")
_GREYS = 255
_USUAL_RANGE_DB = 60
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_GREY = (170, 170, 170)
_DIM = (120, 120, 120)
_GREEN = (60, 200, 90)
_SUBPIXEL = 4  # fractional bits of OpenCV's drawing
_LETTER_PX = 21.0  # height of a capital of _FONT at scale 1


@dataclass(frozen=True)
class Console:
    """Settings of one clip.

    Attributes:
        probe: model of the transducer.
        mechanical_index, thermal_index: as printed.
        gain: dB relative to the gain that suits the patient.
        dynamic_range: dB from black to white.
        number: printed in place of a patient's id.
    """

    probe: str
    mechanical_index: float
    thermal_index: float
    gain: float
    dynamic_range: float
    number: int

    @property
    def grey_per_db(self) -> float:
        return _GREYS / self.dynamic_range

    @property
    def contrast(self) -> float:
        """Grey levels per grey level at the usual dynamic range."""
        return _USUAL_RANGE_DB / self.dynamic_range


def sample_console(rng: np.random.Generator) -> Console:
    """Draws the choice of one sonographer on one machine."""
    return Console(
        probe=str(rng.choice(_PROBES)),
        mechanical_index=float(rng.uniform(0.8, 1.6)),
        thermal_index=float(rng.uniform(0.3, 1.4)),
        gain=float(rng.normal(0, 2.2)),
        dynamic_range=float(rng.uniform(50, 76)),
        number=int(rng.integers(1_000_000)),
    )


def overlay(
    view: View, title: str, console: Console, heart: Heart, course: Course, rng: np.random.Generator
) -> np.ndarray:
    """Draws text, scale and trace on black, uint8 RGB (height, width, 3); nothing lies inside the sector's box.

    In place of the patient's name, which scanners burn in, stands FAKE-ID and a number.
    """
    image = np.zeros((view.height, view.width, 3), np.uint8)
    line = view.top / 2
    scale = 0.62 * line / _LETTER_PX
    _write(image, f"FAKE-ID {console.number:06d}", (3, round(line) - 1), scale, _GREY)
    indices = f"MI {console.mechanical_index:.1f} TI {console.thermal_index:.1f}"
    _write(image, indices, (round(0.66 * view.width), round(line) - 1), scale, _DIM)
    settings = f"{title} {console.probe} {course.frame_rate:.0f}Hz {view.depth / 10:.0f}cm"
    _write(image, settings, (3, view.top - 2), scale, _DIM)
    gain = f"G {60 + console.gain:.0f} C {console.dynamic_range:.0f}"
    _write(image, gain, (round(0.66 * view.width), view.top - 2), scale, _DIM)
    _draw_depth_scale(image, view, scale)

    trace = _trace(view, heart, course, rng)
    cv2.polylines(image, [trace], False, _GREEN, 1, cv2.LINE_AA, _SUBPIXEL)
    _write(
        image,
        f"HR {heart.heart_rate:.0f}",
        (round(0.82 * view.width), view.bottom + 3 + round(scale * _LETTER_PX)),
        scale,
        _GREEN,
    )
    left, top, right, bottom = view.region
    image[top : bottom + 1, left : right + 1] = 0
    return image


def draw_cursor(image: np.ndarray, view: View, share: float) -> None:
    """Marks on the trace how much of the clip has passed. Changes `image`."""
    column = round(share * (view.width - 1))
    image[view.bottom + 3 : view.height - 2, column] = _GREY


def _draw_depth_scale(image: np.ndarray, view: View, scale: float) -> None:
    """Draws a tick for every centimetre to the right of the box; every fifth is longer and numbered."""
    edge = view.region[2] + 3
    for centimetres in range(int(view.depth / 10) + 1):
        row = round(view.top + 10 * centimetres / view.spacing)
        fifth = centimetres % 5 == 0
        image[row, edge : edge + (5 if fifth else 2)] = _GREY if fifth else _DIM
        if fifth and centimetres:
            _write(image, str(centimetres), (edge + 7, row + 3), scale, _DIM)


def _write(image: np.ndarray, text: str, corner: tuple[int, int], scale: float, colour: tuple[int, int, int]) -> None:
    cv2.putText(image, text, corner, _FONT, scale, colour, 1, cv2.LINE_AA)


def _trace(view: View, heart: Heart, course: Course, rng: np.random.Generator) -> np.ndarray:
    """Lead II over the clip, across the image: int32 (point, 1, 2), in 1/16 px."""
    time = np.linspace(0, course.duration, view.width)
    beats = Beats(course.beats, np.zeros(len(course.beats), bool))
    lead = DOWER[INDEPENDENT.index("II")] @ sum_waves(heart, beats, time, rng)
    low, high = view.bottom + 5, view.height - 4
    rows = high - (lead - lead.min()) / max(float(np.ptp(lead)), 0.3) * (high - low)
    points = np.stack([np.arange(view.width), rows], axis=1)
    return np.round(points * (1 << _SUBPIXEL)).astype(np.int32)[:, None]
