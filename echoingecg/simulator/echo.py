"""An apical four-chamber clip: the end-diastolic picture of a heart, moved through its beats.

Speckle belongs to the tissue and moves with it: each frame looks up, for every pixel, where its tissue
stood at end diastole. The scanner's attenuation, noise and screen stay where they are.
"""

from typing import Final

import cv2
import numpy as np

from echoingecg.recipe.sections import SimulatorSettings
from echoingecg.simulator.anatomy import Anatomy, Field, cavities, heart_wall, material
from echoingecg.simulator.cycle import contraction_at, opening_at
from echoingecg.simulator.patient import Heart
from echoingecg.simulator.rhythm import beat_times
from echoingecg.simulator.screen import draw_cursor, overlay
from echoingecg.simulator.texture import attenuation, noise_frames, speckle
from echoingecg.simulator.valves import draw_leaflets
from echoingecg.simulator.view import View

# Grey levels after log compression.
_BLOOD: Final = 2.0
_MUSCLE: Final = 82.0
_SURROUNDINGS: Final = 52.0
_PERICARDIUM: Final = 62.0  # above its surroundings
_SWAY: Final = 1.5  # mm, respiration and the sonographer's hand


def render_clip(
    heart: Heart, anatomy: Anatomy, view: View, settings: SimulatorSettings, rng: np.random.Generator
) -> np.ndarray:
    """One clip, triggered by an R peak.

    Args:
        heart: rate, rhythm, conduction and image quality are read.
        anatomy: sizes and shortening.
        view: probe position.
        settings: frames and frame_rate are read.
        rng: beats, speckle, noise, sway.

    Returns:
        uint8 (frame, height, width, 3), RGB.
    """
    time = np.arange(settings.frames) / settings.frame_rate
    duration = settings.frames / settings.frame_rate
    beats = beat_times(heart, duration + 2, rng)
    beats -= beats[beats >= 0][0]
    contraction, opening = contraction_at(heart, beats, time), opening_at(heart, beats, time)

    picture = end_diastole(anatomy, view, rng)
    rest_x, rest_y, move_x, move_y = motion(anatomy, view)
    sway = _SWAY / view.spacing * np.sin(2 * np.pi * (0.25 * time + rng.random()))
    lost = attenuation(view, heart.image_quality, rng)
    noise = noise_frames(view, heart.image_quality, rng)
    screen = overlay(view, heart, beats, duration, settings.frame_rate, rng)

    frames = np.empty((settings.frames, view.height, view.width, 3), np.uint8)
    for index, frame in enumerate(frames):
        amount, drift = float(contraction[index]), float(sway[index])
        x = cv2.scaleAdd(move_x, amount, rest_x)
        y = cv2.add(cv2.scaleAdd(move_y, amount, rest_y), drift)
        grey = cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        draw_leaflets(grey, anatomy, view, amount, float(opening[index]), -drift)
        grey = cv2.add(cv2.subtract(grey, lost), noise[index % len(noise)])
        cv2.add(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), screen, dst=frame)
        draw_cursor(frame, view, time[index] / duration)
    return frames


def end_diastole(anatomy: Anatomy, view: View, rng: np.random.Generator) -> np.ndarray:
    """Tissue at end diastole before attenuation, uint8 (height, width)."""
    depth, side = view.of_ventricle()
    outside = ~heart_wall(anatomy, depth, side)
    blood = cavities(anatomy, depth, side)
    rim = cv2.GaussianBlur(outside.astype(np.float32), (0, 0), 2.0 / view.spacing)
    tissue = np.where(outside, np.float32(_SURROUNDINGS), np.float32(_MUSCLE))
    tissue += np.float32(4 * _PERICARDIUM) * rim * (1 - rim) * np.clip(depth / anatomy.length, 0.15, 1)
    sharp = np.where(blood, np.float32(_BLOOD), tissue)
    grain = speckle(view, rng)
    blurred = cv2.GaussianBlur(sharp, (0, 0), 0.7 / view.spacing)
    return np.clip(blurred + grain * np.clip(blurred / _MUSCLE, 0.25, 1), 0, 255).astype(np.uint8)


def motion(anatomy: Anatomy, view: View) -> tuple[Field, Field, Field, Field]:
    """Column and row of every pixel, and how far away its tissue stood at end diastole when it is end systole.

    Returns:
        four float32 (height, width), px. At contraction c, `rest + c * move` is where to look.
    """
    rest_x, rest_y = np.meshgrid(np.arange(view.width, dtype=np.float32), np.arange(view.height, dtype=np.float32))
    x, y = view.to_pixels(*material(anatomy, *view.of_ventricle()))
    return rest_x, rest_y, (x - rest_x).astype(np.float32), (y - rest_y).astype(np.float32)
