"""Draws the pictures of docs/simulator.md: `python -m docs_reference.simulator_pictures docs/images`."""

import argparse
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from data_contracts.conventions import LEADS
from echoingecg.recipe.execution import SimulatorSettings
from echoingecg.simulator.ecg import electrodes, heart_vector, record
from echoingecg.simulator.echo import apical, beating_heart, colour_doppler, parasternal
from echoingecg.simulator.echo.view import place
from echoingecg.simulator.population.patient import Heart, sample_heart

_SETTINGS = SimulatorSettings()
_OUTLINE = (255, 210, 0)
_CAPTION = (235, 235, 235)
_STRIP = 20  # px above each pair: its caption
_GAP = 6  # px
_COLUMNS = 2

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
    anatomy = beating_heart.anatomy_of(heart, rng)
    view = place(anatomy, _SETTINGS.frame_height, _SETTINGS.frame_width, rng)
    course = beating_heart.course_of(heart, _SETTINGS, rng)
    frames = apical.render_clip(heart, anatomy, view, course, rng)
    for frame, mask in zip(frames, apical.ventricle_masks(anatomy, view, course), strict=True):
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.polylines(frame, contours, True, _OUTLINE, 1)
    return caption, frames[0], frames[course.contraction.argmax()]


def _parasternal(caption: str, heart: Heart, seed: int) -> Pair:
    """End diastole and end systole."""
    rng = np.random.default_rng(seed)
    anatomy = beating_heart.anatomy_of(heart, rng)
    view = parasternal.place_parasternal(anatomy, _SETTINGS.frame_height, _SETTINGS.frame_width, rng)
    course = beating_heart.course_of(heart, _SETTINGS, rng)
    frames = parasternal.render_parasternal(heart, anatomy, view, course, rng)
    return caption, frames[0], frames[course.contraction.argmax()]


def _colour(caption: str, heart: Heart, seed: int) -> Pair:
    """The fastest outflow and the fastest inflow."""
    rng = np.random.default_rng(seed)
    anatomy = beating_heart.anatomy_of(heart, rng)
    view = place(anatomy, _SETTINGS.frame_height, _SETTINGS.frame_width, rng)
    course = beating_heart.course_of(heart, _SETTINGS, rng)
    frames, _ = colour_doppler.render_colour(heart, anatomy, view, course, rng)
    return caption, frames[course.ejection.argmax()], frames[course.opening.argmax()]


def _cell(caption: str, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Both frames side by side under their caption."""
    pair = cv2.copyMakeBorder(np.concatenate([left, right], axis=1), _STRIP, _GAP, 0, _GAP, cv2.BORDER_CONSTANT)
    cv2.putText(pair, caption, (4, _STRIP - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.45, _CAPTION, 1, cv2.LINE_AA)
    return pair


_PAPER = 25.0  # mm/s
_GAIN = 10.0  # mm/mV
_ROW = 30.0  # mm between baselines
_HEIGHT = 4 * _ROW
_MM = 1 / 25.4  # in
_DPI = 110
_SEED = 40  # of all recordings: shows an ectopic beat in every column of a page
_ROWS = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"), ("II",))


def main(arguments: list[str] | None = None) -> None:
    """Draws every picture into a folder, which is made if need be. Raises OSError."""
    parser = argparse.ArgumentParser(description="Draws the documentation's pictures of simulated recordings.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(arguments).folder
    folder.mkdir(parents=True, exist_ok=True)
    for draw in PICTURES:
        draw(folder)


def draw_ecgs(folder: Path) -> None:
    """`simulated_ecgs.png`: a 12-lead page for each of eight hearts, on paper of 25 mm/s and 10 mm/mV."""
    examples = _examples()
    columns, rows = 2, (len(examples) + 1) // 2
    width, height = record.DURATION * _PAPER + 8, _HEIGHT + 10  # mm of a page with its margin
    figure = Figure(figsize=(columns * width * _MM, rows * height * _MM), dpi=_DPI)
    for number, (title, heart, fault) in enumerate(examples):
        column, row = number % columns, number // columns
        axes = figure.add_axes((
            (column + 4 / width) / columns,
            1 - (row + 1 - 2 / height) / rows,
            (record.DURATION * _PAPER) / width / columns,
            _HEIGHT / height / rows,
        ))  # fmt: skip
        rng = np.random.default_rng(_SEED)
        _page(axes, record.simulate_ecg(heart, heart_vector.draw_beats(heart, record.DURATION, rng), rng, fault), title)
    _save(figure, folder / "simulated_ecgs.png")


# What `main` draws.
PICTURES: tuple[Callable[[Path], object], ...] = (draw_ecgs, draw_echo)


def _examples() -> tuple[tuple[str, Heart, electrodes.Fault | None], ...]:
    normal = replace(
        sample_heart(np.random.default_rng(0)), sex="F", lvef=62.0, septal_wall_thickness=9.0, heart_rate=68.0,
        rhythm="sinus rhythm", ectopic_share=0.0, conduction="normal", pr_interval=158.0, qrs_duration=88.0,
        qt_corrected=412.0, qrs_axis=48.0, qrs_voltage=1.2, t_amplitude=0.34, st_depression=0.0, ecg_noise=0.01,
    )  # fmt: skip
    left = replace(
        normal, lvef=24.0, heart_rate=82.0, conduction="left bundle branch block", pr_interval=186.0,
        qrs_duration=162.0, qt_corrected=466.0, qrs_axis=5.0, t_amplitude=0.05, qrs_voltage=1.1,
    )  # fmt: skip
    right = replace(normal, conduction="right bundle branch block", qrs_duration=142.0, qrs_axis=30.0)
    fibrillating = replace(normal, rhythm="atrial fibrillation", heart_rate=92.0, t_amplitude=0.15)
    thick = replace(
        normal, septal_wall_thickness=18.0, qrs_voltage=1.9, qrs_axis=5.0, t_amplitude=-0.32, st_depression=0.13,
        qrs_duration=102.0,
    )  # fmt: skip
    ectopic = replace(normal, lvef=38.0, ectopic_share=0.25, t_amplitude=0.12, qrs_duration=104.0)
    return (
        ("normal", normal, None),
        ("left bundle branch block, LVEF 24 %", left, None),
        ("right bundle branch block", right, None),
        ("atrial fibrillation", fibrillating, None),
        ("hypertrophy with strain, septum 18 mm", thick, None),
        ("ventricular ectopic beats, LVEF 38 %", ectopic, None),
        ("fault: right arm electrode off", normal, electrodes.Fault("electrode off", "RA", 5)),
        ("fault: arm electrodes swapped", normal, electrodes.Fault("arm electrodes swapped", "RA", 5)),
    )


def _page(axes: Axes, signal: np.ndarray, title: str) -> None:
    """Three rows of four leads, 2.5 s each, and lead II below; one unit of either axis is 1 mm."""
    length = record.DURATION * _PAPER
    for step, line in ((1, 0.25), (5, 0.7)):
        axes.vlines(np.arange(0, length + 1, step), 0, _HEIGHT, colors="#f3b6b6", linewidth=line)
        axes.hlines(np.arange(0, _HEIGHT + 1, step), 0, length, colors="#f3b6b6", linewidth=line)
    time = np.arange(signal.shape[1]) / record.SAMPLING_FREQUENCY
    for row, names in enumerate(_ROWS):
        baseline = _HEIGHT - (row + 0.62) * _ROW
        span = record.DURATION / len(names)
        for column, name in enumerate(names):
            shown = (time >= column * span) & (time < (column + 1) * span)
            lead = signal[LEADS.index(name), shown]
            axes.plot(time[shown] * _PAPER, baseline + _GAIN * lead, color="#101030", linewidth=0.7)
            axes.text(column * span * _PAPER + 1, baseline + 0.4 * _ROW, name, fontsize=8)
    axes.set(xlim=(0, length), ylim=(0, _HEIGHT))
    axes.set_axis_off()
    axes.set_title(title, fontsize=10, loc="left", pad=3)


def _save(figure: Figure, path: Path) -> None:
    """With a palette of 32 colours: a third of the bytes, and lines and grid look the same."""
    raw = BytesIO()
    figure.savefig(raw, format="png")
    Image.open(raw).convert("RGB").quantize(32).save(path, optimize=True)


if __name__ == "__main__":
    main()
