"""A contact sheet of simulated echo frames, for docs/simulator.md."""

from dataclasses import replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from echoingecg.recipe.stages import SimulatorSettings
from echoingecg.simulator.cycle import course_of
from echoingecg.simulator.echo.apical import render_clip, ventricle_masks
from echoingecg.simulator.echo.beating_heart import anatomy_of
from echoingecg.simulator.echo.colour_doppler import render_colour
from echoingecg.simulator.echo.parasternal import place_parasternal, render_parasternal
from echoingecg.simulator.echo.view import place
from echoingecg.simulator.population.patient import Heart, sample_heart

_SETTINGS: Final = SimulatorSettings()
_OUTLINE: Final = (255, 210, 0)
_CAPTION: Final = (235, 235, 235)
_STRIP: Final = 20  # px above each pair: its caption
_GAP: Final = 6  # px
_COLUMNS: Final = 2

Pair = tuple[str, np.ndarray, np.ndarray]


def draw_echo(folder: Path) -> Path:
    """Draws two frames each of six clips, the ventricle's mask outlined in the four-chamber views.

    Args:
        folder: receives simulated_echo.png; it exists.

    Returns:
        path of the picture.

    Raises:
        OSError: it cannot be written.
    """
    cells = [_cell(*pair) for pair in _pairs()]
    rows = [np.concatenate(cells[start : start + _COLUMNS], axis=1) for start in range(0, len(cells), _COLUMNS)]
    encoded, content = cv2.imencode(
        ".png", cv2.cvtColor(np.concatenate(rows), cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 9]
    )
    assert encoded
    path = folder / "simulated_echo.png"
    path.write_bytes(content.tobytes())
    return path


def _pairs() -> list[Pair]:
    normal = replace(sample_heart(np.random.default_rng(1)), rhythm="sinus rhythm", conduction="normal", lvef=62.0,
                     lv_end_diastolic_diameter=47.0, lv_length=84.0, septal_wall_thickness=9.0, heart_rate=66.0,
                     image_quality=0.85)  # fmt: skip
    failing = replace(normal, lvef=24.0, lv_end_diastolic_diameter=67.0, lv_length=99.0, septal_wall_thickness=8.5)
    thick = replace(normal, lvef=68.0, lv_end_diastolic_diameter=42.0, lv_length=80.0, septal_wall_thickness=19.0)
    poor = replace(normal, image_quality=0.15)
    return [
        _apical("normal heart, LVEF 62 %", normal, 5),
        _apical("dilated, LVEF 24 %", failing, 2),
        _apical("septum 19 mm, LVEF 68 %", thick, 3),
        _apical("normal heart, poor window", poor, 7),
        _parasternal("parasternal long axis", normal, 6),
        _colour("colour Doppler: ejection, early filling", normal, 5),
    ]


def _apical(caption: str, heart: Heart, seed: int) -> Pair:
    """End diastole and end systole."""
    rng = np.random.default_rng(seed)
    anatomy = anatomy_of(heart, rng)
    view = place(anatomy, _SETTINGS.frame_height, _SETTINGS.frame_width, rng)
    course = course_of(heart, _SETTINGS, rng)
    frames = render_clip(heart, anatomy, view, course, rng)
    for frame, mask in zip(frames, ventricle_masks(anatomy, view, course), strict=True):
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.polylines(frame, contours, True, _OUTLINE, 1)
    return caption, frames[0], frames[course.contraction.argmax()]


def _parasternal(caption: str, heart: Heart, seed: int) -> Pair:
    """End diastole and end systole."""
    rng = np.random.default_rng(seed)
    anatomy = anatomy_of(heart, rng)
    view = place_parasternal(anatomy, _SETTINGS.frame_height, _SETTINGS.frame_width, rng)
    course = course_of(heart, _SETTINGS, rng)
    frames = render_parasternal(heart, anatomy, view, course, rng)
    return caption, frames[0], frames[course.contraction.argmax()]


def _colour(caption: str, heart: Heart, seed: int) -> Pair:
    """The fastest outflow and the fastest inflow."""
    rng = np.random.default_rng(seed)
    anatomy = anatomy_of(heart, rng)
    view = place(anatomy, _SETTINGS.frame_height, _SETTINGS.frame_width, rng)
    course = course_of(heart, _SETTINGS, rng)
    frames, _ = render_colour(heart, anatomy, view, course, rng)
    return caption, frames[course.ejection.argmax()], frames[course.opening.argmax()]


def _cell(caption: str, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Both frames side by side under their caption."""
    pair = cv2.copyMakeBorder(np.concatenate([left, right], axis=1), _STRIP, _GAP, 0, _GAP, cv2.BORDER_CONSTANT)
    cv2.putText(pair, caption, (4, _STRIP - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.45, _CAPTION, 1, cv2.LINE_AA)
    return pair
