"""The phantom's geometry and motion keep the known LVEF."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoingecg.recipe.execution import SimulatorSettings
from echoingecg.simulator.echo.apical import motion
from echoingecg.simulator.echo.beating_heart import (
    Anatomy,
    anatomy_of,
    contraction_at,
    course_of,
    ejection_at,
    half_width,
    left_ventricle,
    material,
    opening_at,
    shortening_of,
)
from echoingecg.simulator.echo.view import annulus_depth, place
from helpers.echo.echo_hearts import heart_with

SMALL = SimulatorSettings(frame_rate=30.0, frame_height=120, frame_width=160)
USUAL = SimulatorSettings()
SPACING = 0.25  # mm


def cavity(anatomy: Anatomy, contraction: float) -> np.ndarray:
    """bool (depth, side) mask on a fine grid, of the cavity at a contraction."""
    depth, side = np.meshgrid(np.arange(-5, 140, SPACING), np.arange(-60, 60, SPACING), indexing="ij")
    old_depth, old_side = material(anatomy, depth, side)
    return left_ventricle(anatomy, depth + contraction * (old_depth - depth), side + contraction * (old_side - side))


def disks(mask: np.ndarray) -> float:
    """Simpson's volume of a mask, mm^3: a disk for every row."""
    diameters = mask.sum(axis=1) * SPACING
    return float((np.pi / 4 * diameters**2).sum() * SPACING)


@given(st.floats(5, 85))
def test_shortening_gives_the_ejection_fraction(lvef: float) -> None:
    radial, longitudinal = shortening_of(lvef)
    assert 0 < longitudinal < radial < 1
    assert 1 - (1 - radial) ** 2 * (1 - longitudinal) == pytest.approx(lvef / 100, abs=1e-9)


@pytest.mark.parametrize("lvef", [15.0, 30.0, 45.0, 60.0, 75.0])
def test_the_mask_has_the_known_lvef(lvef: float) -> None:
    anatomy = anatomy_of(heart_with(lvef), np.random.default_rng(0))
    measured = 100 * (1 - disks(cavity(anatomy, 1.0)) / disks(cavity(anatomy, 0.0)))
    assert measured == pytest.approx(lvef, abs=1.5)


def test_the_cavity_shrinks_steadily() -> None:
    anatomy = anatomy_of(heart_with(60), np.random.default_rng(0))
    volumes = [disks(cavity(anatomy, share)) for share in np.linspace(0, 1, 9)]
    assert np.all(np.diff(volumes) < 0)


@pytest.mark.parametrize("lvef", [20.0, 78.0])
def test_tissue_never_folds(lvef: float) -> None:
    anatomy = anatomy_of(heart_with(lvef), np.random.default_rng(0))
    side = np.linspace(-150, 150, 2001)
    for depth in (10.0, 40.0, anatomy.length - 1, anatomy.length + 5):
        _, old = material(anatomy, np.full_like(side, depth), side)
        assert np.all(np.diff(old) > 0)
    depth = np.linspace(-20, 170, 2001)
    assert np.all(np.diff(material(anatomy, depth, np.zeros_like(depth))[0]) > 0)


def test_the_walls_thicken() -> None:
    heart = replace(heart_with(60), lv_end_diastolic_diameter=47.0, septal_wall_thickness=9.0)
    anatomy = anatomy_of(heart, np.random.default_rng(0))
    side = np.linspace(-60, 0, 6001)
    depth = np.full_like(side, 0.5 * anatomy.length)
    old_depth, old = material(anatomy, depth, side)
    edge = -float(half_width(anatomy, old_depth[-1]))
    inner, outer = np.interp((edge, edge - anatomy.septum), old, side)
    assert 1.2 < (inner - outer) / anatomy.septum < 1.8


@given(st.floats(0, 1), st.floats(15, 75))
def test_the_annulus_lies_where_its_tissue_moved(contraction: float, lvef: float) -> None:
    anatomy = anatomy_of(heart_with(lvef), np.random.default_rng(0))
    depth = np.array([annulus_depth(anatomy, contraction)])
    old, _ = material(anatomy, depth, np.zeros(1))
    assert (depth + contraction * (old - depth))[0] == pytest.approx(anatomy.length, abs=1e-6)


def test_view_and_ventricle_coordinates_are_inverse() -> None:
    anatomy = anatomy_of(heart_with(60), np.random.default_rng(0))
    view = place(anatomy, 120, 160, np.random.default_rng(1))
    columns, rows = view.to_pixels(*view.of_ventricle())
    np.testing.assert_allclose(columns, np.broadcast_to(np.arange(160), (120, 160)), atol=1e-3)
    np.testing.assert_allclose(rows, np.broadcast_to(np.arange(120)[:, None], (120, 160)), atol=1e-3)


def test_motion_is_nothing_far_from_the_heart() -> None:
    anatomy = anatomy_of(heart_with(60), np.random.default_rng(0))
    view = place(anatomy, 120, 160, np.random.default_rng(1))
    _, _, move_x, move_y = motion(anatomy, view)
    depth, side = view.of_ventricle()
    beyond = (np.abs(side) > 110) | (depth < 0)
    assert np.abs(move_x[beyond]).max() < 0.01
    assert np.abs(move_y[(depth > anatomy.total_depth) | (depth < 0)]).max() < 0.01


def test_the_cycle_follows_the_beats() -> None:
    heart = heart_with(60)
    beats = np.array([-1.0, 0.0, 1.0, 2.0])
    time = np.arange(0, 1, 0.005)
    contraction, opening = contraction_at(heart, beats, time), opening_at(heart, beats, time)
    assert contraction[0] == 0
    assert contraction.max() == pytest.approx(1, abs=1e-3)
    assert 0.3 < time[contraction.argmax()] < 0.42
    assert contraction[-1] < 0.02
    assert np.all(opening[time < 0.3] == 0), "the mitral valve is closed in systole"
    ejection = ejection_at(heart, beats, time)
    assert np.all(ejection[opening > 0] == 0), "never are both valves open"
    assert ejection.max() == pytest.approx(1, abs=0.01)
    peaks = np.flatnonzero((np.diff(opening[:-1]) > 0) & (np.diff(opening[1:]) <= 0))
    assert len(peaks) == 2, "an early and an atrial wave"
    fibrillating = opening_at(replace(heart, rhythm="atrial fibrillation"), beats, time)
    assert len(np.flatnonzero((np.diff(fibrillating[:-1]) > 0) & (np.diff(fibrillating[1:]) <= 0))) == 1


@pytest.mark.parametrize("rhythm", ["sinus rhythm", "atrial fibrillation"])
@pytest.mark.parametrize("beats", [1.0, 2.5])
def test_a_clip_has_whole_beats(beats: float, rhythm: str) -> None:
    """From the triggering R peak to the one that ends the clip: both extremes are in it, at any rate."""
    settings = SimulatorSettings(clip_beats=beats)
    for rate in (42.0, 70.0, 150.0):
        heart = replace(heart_with(55), heart_rate=rate, rhythm=rhythm, ectopic_share=0.2)
        for seed in range(5):
            course = course_of(heart, settings, np.random.default_rng(seed))
            after = course.beats[course.beats >= 0]
            end = np.interp(beats, np.arange(len(after)), after)
            assert after[0] == 0
            assert end <= course.duration < end + 1 / 30 + 1e-9
            assert course.contraction[0] == 0
            assert course.contraction.max() > 0.98
    assert len(course_of(heart, settings.model_copy(update={"frame_rate": 0.5}), np.random.default_rng(0)).time) >= 2


def test_no_beat_of_a_clip_is_ectopic() -> None:
    heart = replace(heart_with(55), ectopic_share=0.3)
    for seed in range(20):
        intervals = np.diff(course_of(heart, USUAL, np.random.default_rng(seed)).beats)
        assert intervals.max() < 1.2 * intervals.min()
