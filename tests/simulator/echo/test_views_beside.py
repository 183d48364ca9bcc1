"""Parasternal and colour Doppler clips: recognisable, moving, and readable by the teacher."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from docs_reference.simulator_pictures import draw_echo
from echoingecg.recipe.execution import SimulatorSettings
from echoingecg.recipe.stages import TeacherSettings
from echoingecg.simulator.echo.beating_heart import Anatomy, Course, anatomy_of, course_of, half_width
from echoingecg.simulator.echo.colour_doppler import Box, render_colour
from echoingecg.simulator.echo.parasternal import place_parasternal, render_parasternal
from echoingecg.simulator.echo.study import EchoStreams, Visit, write_clips
from echoingecg.simulator.echo.view import View, place
from echoingecg.simulator.population.patient import Heart, sample_heart
from echoingecg.simulator.population.tables import Rows
from echoingecg.teacher.frames import read_clip

SETTINGS = SimulatorSettings(parasternal_share=1.0, colour_share=1.0)


@pytest.fixture(scope="module")
def heart() -> Heart:
    return replace(
        sample_heart(np.random.default_rng(1)), lvef=62.0, rhythm="sinus rhythm", conduction="normal",
        lv_end_diastolic_diameter=48.0, lv_length=84.0, septal_wall_thickness=10.0, image_quality=0.9,
    )  # fmt: skip


@pytest.fixture(scope="module")
def anatomy(heart: Heart) -> Anatomy:
    return anatomy_of(heart, np.random.default_rng(0))


@pytest.fixture(scope="module")
def colour(heart: Heart, anatomy: Anatomy) -> tuple[np.ndarray, Box, Course]:
    rng = np.random.default_rng(0)
    course = course_of(heart, SETTINGS, rng)
    return *render_colour(heart, anatomy, place(anatomy, 240, 320, rng), course, rng), course


def _parasternal(heart: Heart, anatomy: Anatomy) -> tuple[np.ndarray, View, Course]:
    rng = np.random.default_rng(0)
    view = place_parasternal(anatomy, 240, 320, rng)
    course = course_of(heart, SETTINGS, rng)
    return render_parasternal(heart, anatomy, view, course, rng), view, course


def _grey_along(frame: np.ndarray, view: View, depth: np.ndarray, side: np.ndarray) -> float:
    columns, rows = (np.round(one).astype(int) for one in view.to_pixels(depth, side))
    return float(frame[rows, columns].mean())


def test_a_parasternal_view_stacks_its_chambers(heart: Heart, anatomy: Anatomy) -> None:
    """From the transducer down: right ventricle, septum, left ventricle, posterior wall."""
    frames, view, course = _parasternal(heart, anatomy)
    assert frames.shape == (len(course.time), 240, 320, 3)
    depth = np.linspace(0.6, 0.7, 30) * anatomy.length
    half = half_width(anatomy, depth)
    sides = {
        "right ventricle": -half - anatomy.septum - 10,
        "septum": -half - anatomy.septum / 2,
        "left ventricle": np.zeros(30),
        "posterior wall": half + anatomy.lateral_wall / 2,
    }
    rows = [view.to_pixels(depth, side)[1].mean() for side in sides.values()]
    assert rows == sorted(rows)
    greys = {name: _grey_along(frames[0], view, depth, side) for name, side in sides.items()}
    assert min(greys["septum"], greys["posterior wall"]) > 25 + max(greys["right ventricle"], greys["left ventricle"])


def test_a_parasternal_cavity_fills_with_muscle_in_systole(heart: Heart, anatomy: Anatomy) -> None:
    frames, view, course = _parasternal(heart, anatomy)
    depth = np.linspace(0.55, 0.7, 30) * anatomy.length
    edge = half_width(anatomy, depth) - 4
    systole = frames[course.contraction.argmax()]
    for side in (-edge, edge):
        assert _grey_along(systole, view, depth, side) > 25 + _grey_along(frames[0], view, depth, side)


def test_inflow_is_red_and_outflow_is_blue(colour: tuple[np.ndarray, Box, Course]) -> None:
    frames, (left, top, right, bottom), course = colour
    box = frames[:, top : bottom + 1, left : right + 1].astype(int)
    red = ((box[..., 0] - box[..., 2]) > 60).sum(axis=(1, 2))
    blue = ((box[..., 2] - box[..., 0]) > 60).sum(axis=(1, 2))
    assert red[course.opening.argmax()] > max(100, blue[course.opening.argmax()])
    assert blue[course.ejection.argmax()] > max(100, red[course.ejection.argmax()])
    resting = (course.opening == 0) & (course.ejection == 0)
    assert red[resting].max() == blue[resting].max() == 0


def test_colour_stays_in_its_box(colour: tuple[np.ndarray, Box, Course], anatomy: Anatomy) -> None:
    frames, (left, top, right, bottom), _ = colour
    outside = frames.astype(int)
    outside[:, top : bottom + 1, left : right + 1] = 0
    sector = place(anatomy, 240, 320, np.random.default_rng(0)).region
    inside = outside[:, sector[1] : sector[3] + 1, sector[0] : sector[2] + 1]
    assert np.ptp(inside, axis=-1).max() == 0


def test_the_teacher_reads_every_clip(heart: Heart, tmp_path: Path) -> None:
    rows = Rows()
    streams = EchoStreams(*np.random.default_rng(0).spawn(3))
    write_clips(Visit(10_000_032, 90_000_032, datetime(2150, 1, 1), heart), SETTINGS, tmp_path, rows, streams)
    paths = [tmp_path / row["dicom_filepath"] for _, row in rows.rows]
    assert len(paths) >= 3
    colourful = [np.ptp(read_clip(path, TeacherSettings(), 112).astype(int), axis=-1).max() > 100 for path in paths]
    assert colourful == [False] * (len(paths) - 1) + [True]


def test_the_contact_sheet_is_small(tmp_path: Path) -> None:
    assert 50_000 < draw_echo(tmp_path).stat().st_size < 1_000_000
