"""Other pictures made of a real clip: sizes, gains, cuts, and print that has grown onto its sector."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from echoingecg.recipe.stages import TeacherSettings
from echoingecg.teacher.decode import decode_frames, read_header
from echoingecg.teacher.frames import frame_indices
from echoingecg.teacher.regions import teacher_region
from echoingecg.teacher.sector import find

Variant = Callable[[np.ndarray], np.ndarray]


def compared_frames(path: Path, whole: bool = False) -> np.ndarray:
    """The frames of a clip's region, or of its whole picture, that show the sector: uint8 (frame, height, width, 3)."""
    clip = read_header(path)
    rows, columns = teacher_region(clip, TeacherSettings(stale_region="rescale"))
    box = (slice(None), slice(None)) if whole else (rows, columns)
    return np.stack([frame[box] for frame in decode_frames(clip, frame_indices(clip.frames, 1, find.COMPARED_FRAMES))])


def sector_of(frames: np.ndarray) -> find.Sector:
    looks = frames[frame_indices(len(frames), 1, find.COMPARED_FRAMES)]
    return find.find_sector([find.reduced(np.ascontiguousarray(frame)) for frame in looks], frames.shape[1:3])


def as_jpeg(frames: np.ndarray, quality: int = 75) -> np.ndarray:
    coded = [cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])[1] for frame in frames]
    return np.stack([cv2.imdecode(stream, cv2.IMREAD_COLOR) for stream in coded])


def resized(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in frames])


def masked_112(frames: np.ndarray) -> np.ndarray:
    """Makes a clip like EchoNet-Dynamic's: grey, black beside the sector, a square of 112 px, coded as JPEG."""
    mask = sector_of(frames).mask
    left = int(np.flatnonzero(mask.any(axis=0)).mean()) - mask.shape[0] // 2
    left = max(min(left, mask.shape[1] - mask.shape[0]), 0)
    square = (frames * mask[..., None])[:, :, left : left + mask.shape[0]]
    grey = resized(square, 112, 112).mean(axis=-1, keepdims=True).astype(np.uint8)
    return as_jpeg(np.repeat(grey, 3, axis=-1), 90)


def darker(frames: np.ndarray) -> np.ndarray:
    return as_jpeg((frames * 0.4).astype(np.uint8))


def cropped(frames: np.ndarray) -> np.ndarray:
    """The middle of the picture, so that the sector reaches its border on most sides."""
    height, width = frames.shape[1:3]
    return frames[:, int(height * 0.15) : int(height * 0.8), int(width * 0.2) : int(width * 0.75)]


def on_a_screen(frames: np.ndarray) -> np.ndarray:
    """A part of a larger black screen with a bar above and below."""
    height, width = frames.shape[1:3]
    screen = np.zeros((len(frames), int(height * 1.5), int(width * 1.7), 3), np.uint8)
    screen[:, : height // 12] = (40, 40, 60)
    screen[:, -height // 12 :] = (30, 50, 70)
    screen[:, height // 4 : height // 4 + height, width // 3 : width // 3 + width] = frames
    return screen


def as_linear(frames: np.ndarray) -> np.ndarray:
    """A rectangle of the body, as a linear transducer draws it, on black."""
    mask = sector_of(frames).mask
    rows = np.flatnonzero(mask.any(axis=1))
    top, bottom = (int(rows[0] + share * (rows[-1] - rows[0])) for share in (0.45, 0.85))
    columns = np.flatnonzero(mask[top])
    shown = np.zeros_like(frames)
    here = np.s_[:, top:bottom, columns[0] + 4 : columns[-1] - 4]
    shown[here] = frames[here]
    return as_jpeg(shown)


VARIANTS: dict[str, Variant] = {
    "half": lambda frames: resized(frames, frames.shape[1] // 2, frames.shape[2] // 2),
    "larger": lambda frames: resized(frames, int(frames.shape[1] * 1.6), int(frames.shape[2] * 1.6)),
    "wide": lambda frames: resized(frames, frames.shape[1], int(frames.shape[2] * 1.3)),
    "narrow": lambda frames: resized(frames, frames.shape[1], int(frames.shape[2] * 0.75)),
    "mirrored": lambda frames: frames[:, :, ::-1],
    "upside down": lambda frames: frames[:, ::-1],
    "112 px": masked_112,
    "darker": darker,
    "cropped": cropped,
    "screen": on_a_screen,
    "linear": as_linear,
}


def with_trace(
    frames: np.ndarray, row: float, colour: tuple[int, int, int], sweeps: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Draws an ECG over the whole width: a sweeping one with its cursor, or one that rolls.

    Args:
        row: of the baseline, as a share of the height.
        colour: RGB.

    Returns:
        the frames; bool (height, width), where anything was drawn.
    """
    count, height, width = frames.shape[:3]
    columns = np.arange(width)
    beat, size = width // 3, 0.06 * height
    phase = columns % beat - beat / 2
    wave = size * (np.exp(-0.5 * (phase / (0.008 * width)) ** 2) + 0.25 * np.exp(-0.5 * (phase / (0.03 * width)) ** 2))
    drawn, anywhere = frames.copy(), np.zeros((height, width), bool)
    for number in range(count):
        layer = np.zeros((height, width, 3), np.uint8)
        cursor = int(width * ((number * 0.13) % 1))
        shown = wave if sweeps else np.roll(wave, -7 * number)
        points = np.stack([columns, row * height - shown], axis=1)
        parts = [points[:cursor], points[cursor + width // 40 :]] if sweeps else [points]
        for part in parts:
            if len(part) > 1:
                cv2.polylines(layer, [np.round(part * 8).astype(np.int32)[:, None]], False, colour, 1, cv2.LINE_AA, 3)
        if sweeps:
            ends = int(row * height - 1.2 * size), int(row * height + 0.8 * size)
            cv2.line(layer, (cursor, ends[0]), (cursor, ends[1]), colour, 2)
        strength = layer.max(axis=-1, keepdims=True) / max(colour)
        drawn[number] = np.round(drawn[number] * (1 - strength) + np.array(colour) * strength)
        anywhere |= strength[..., 0] > 0.3
    return drawn, anywhere
