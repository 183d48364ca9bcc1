"""Clips of known sectors, and what scanners print beside them, drawn at will."""

from dataclasses import replace
from typing import Literal

import cv2
import numpy as np

from echoingecg.recipe.execution import SimulatorSettings
from echoingecg.simulator.echo.apical import render_clip
from echoingecg.simulator.echo.beating_heart import anatomy_of, course_of
from echoingecg.simulator.echo.colour_doppler import render_colour
from echoingecg.simulator.echo.parasternal import place_parasternal, render_parasternal
from echoingecg.simulator.echo.view import place
from echoingecg.simulator.population.patient import sample_heart

Kind = Literal["apical", "parasternal", "colour"]
KINDS: tuple[Kind, ...] = ("apical", "parasternal", "colour")
_SETTINGS = SimulatorSettings(frame_rate=20.0)


def simulated(kind: Kind, seed: int, image_quality: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """A clip as drawn, uint8 (frame, height, width, 3), and its sector, bool (height, width)."""
    heart = sample_heart(np.random.default_rng(seed))
    heart = heart if image_quality is None else replace(heart, image_quality=image_quality)
    rng = np.random.default_rng(seed + 1)
    anatomy = anatomy_of(heart, rng)
    view = (place_parasternal if kind == "parasternal" else place)(anatomy, 240, 320, rng)
    course = course_of(heart, _SETTINGS, rng)
    if kind == "colour":
        return render_colour(heart, anatomy, view, course, rng)[0], view.within()
    render = render_parasternal if kind == "parasternal" else render_clip
    return render(heart, anatomy, view, course, rng), view.within()


def printed_on(frames: np.ndarray, free: np.ndarray, seed: int) -> np.ndarray:
    """The clip with other text, scale and traces, moving ones among them, where `free` (height, width) allows it."""
    rng = np.random.default_rng(seed)
    height, width = free.shape
    still = [_text(rng, height, width) for _ in range(12)]
    numbers = [_text(rng, height, width) for _ in range(6)]
    rows, colour = rng.uniform(0.05, 0.95, 3) * height, [_colour(rng) for _ in range(3)]
    beats = np.exp(-0.5 * ((np.arange(2 * width) % 60 - 30) / 2.0) ** 2) * 0.1 * height
    printed = frames.copy()
    for at, frame in enumerate(printed):
        drawn = frame.copy()
        for corner, scale, shade, letters in still:
            cv2.putText(drawn, letters, corner, cv2.FONT_HERSHEY_SIMPLEX, scale, shade, 1, cv2.LINE_AA)
        for corner, scale, shade, _ in numbers:
            counted = str(rng.integers(10**6))
            cv2.putText(drawn, counted, corner, cv2.FONT_HERSHEY_SIMPLEX, scale, shade, 1, cv2.LINE_AA)
        swept = (at * 11) % width  # an eraser sweeps over a trace that stands still; the other trace rolls
        standing = np.stack([np.arange(width), rows[0] - beats[:width]], axis=1)
        rolling = np.stack([np.arange(width), rows[1] - beats[at * 4 % width :][:width]], axis=1)
        for trace, shade in ((standing, colour[0]), (rolling, colour[1])):
            cv2.polylines(drawn, [np.round(trace).astype(np.int32)[:, None]], False, shade, 1, cv2.LINE_AA)
        drawn[:, swept : swept + 6] = 0
        cv2.line(drawn, (swept, round(rows[2])), (swept, height), colour[2], 2)
        frame[free] = drawn[free]
    return printed


def _text(rng: np.random.Generator, height: int, width: int) -> tuple[tuple[int, int], float, tuple[int, ...], str]:
    letters = "".join(rng.choice(list("ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789"), rng.integers(3, 14)))
    corner = int(rng.integers(-20, width)), int(rng.integers(5, height + 5))
    return corner, float(rng.uniform(0.3, 0.9)), _colour(rng), letters


def _colour(rng: np.random.Generator) -> tuple[int, ...]:
    return tuple(int(one) for one in rng.integers(60, 256, 3))
