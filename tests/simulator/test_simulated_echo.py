"""The four-chamber phantom: its geometry keeps the known LVEF, and its pictures show it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from echoingecg.recipe.sections import SimulatorSettings
from echoingecg.simulator.anatomy import Anatomy, anatomy_of, half_width, left_ventricle, material, shortening_of
from echoingecg.simulator.cycle import contraction_at, opening_at
from echoingecg.simulator.echo import motion, render_clip
from echoingecg.simulator.patient import Heart, sample_heart
from echoingecg.simulator.valves import annulus_depth
from echoingecg.simulator.view import View, place

SETTINGS = SimulatorSettings(frames=12, frame_rate=30.0, frame_height=120, frame_width=160)
SPACING = 0.25  # mm


def heart_with(lvef: float, seed: int = 0) -> Heart:
    return replace(sample_heart(np.random.default_rng(seed)), lvef=lvef, heart_rate=60.0, rhythm="sinus rhythm",
                   left_bundle_branch_block=False, image_quality=0.8)  # fmt: skip


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
    anatomy = anatomy_of(heart_with(60), np.random.default_rng(0))
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
    peaks = np.flatnonzero((np.diff(opening[:-1]) > 0) & (np.diff(opening[1:]) <= 0))
    assert len(peaks) == 2, "an early and an atrial wave"
    fibrillating = opening_at(replace(heart, rhythm="atrial fibrillation"), beats, time)
    assert len(np.flatnonzero((np.diff(fibrillating[:-1]) > 0) & (np.diff(fibrillating[1:]) <= 0))) == 1


def clip_of(heart: Heart, seed: int) -> tuple[np.ndarray, Anatomy, View]:
    rng = np.random.default_rng(seed)
    anatomy = anatomy_of(heart, rng)
    view = place(anatomy, SETTINGS.frame_height, SETTINGS.frame_width, rng)
    return render_clip(heart, anatomy, view, SETTINGS, rng), anatomy, view


def test_the_pictures_show_the_lvef() -> None:
    """Muscle moves into what was cavity: the more, the higher the LVEF."""
    lvefs, filled = np.linspace(15, 75, 16), []
    for seed, lvef in enumerate(lvefs):
        frames, anatomy, view = clip_of(heart_with(float(lvef), seed), seed)
        inside = left_ventricle(anatomy, *view.of_ventricle())
        systole = 11  # 0.367 s at 60 beats a minute
        filled.append(frames[systole][inside].mean() - frames[0][inside].mean())
    assert spearmanr(lvefs, filled).statistic > 0.85


def test_a_clip_has_cavity_walls_and_a_black_surround() -> None:
    frames, anatomy, view = clip_of(heart_with(60), 3)
    assert frames.shape == (12, 120, 160, 3)
    assert frames.dtype == np.uint8
    first = frames[0].mean(axis=-1)
    depth, side = view.of_ventricle()
    core = left_ventricle(anatomy, depth, side * 1.3) & (depth > 15) & (depth < anatomy.length - 15)
    septum = (np.abs(depth - 0.6 * anatomy.length) < 10) & (
        np.abs(side + anatomy.radius + anatomy.septum / 2) < anatomy.septum / 4
    )
    assert first[core].mean() < 20
    assert first[septum].mean() > first[core].mean() + 25
    left, top, right, bottom = view.region
    assert not frames[:, top : bottom + 1, : max(left - 1, 0)].any()
    assert not frames[:, top : bottom + 1, right + 2 :].any()


def test_speckle_moves_with_the_tissue() -> None:
    """A patch of the septum is found again where the motion field says, better than where it was."""
    frames, anatomy, view = clip_of(heart_with(65), 5)
    still, moved, tissue = _septum_at_both_times(frames, anatomy, view)
    assert np.corrcoef(moved, tissue)[0, 1] > np.corrcoef(still, tissue)[0, 1] + 0.2


def _septum_at_both_times(frames: np.ndarray, anatomy: Anatomy, view: View) -> tuple[np.ndarray, ...]:
    """End-systolic grey of septal pixels; and end-diastolic grey at the same place, and where the tissue was."""
    heart = heart_with(65)
    beats = np.array([-1.0, 0.0, 1.0])
    amount = contraction_at(heart, beats, np.array([10 / 30]))[0]
    rest_x, rest_y, move_x, move_y = motion(anatomy, view)
    old_x = np.clip(np.round(rest_x + amount * move_x).astype(int), 0, 159)
    old_y = np.clip(np.round(rest_y + amount * move_y).astype(int), 0, 119)
    depth, side = view.of_ventricle()
    patch = (np.abs(depth - 0.45 * anatomy.length) < 20) & (side < -5) & (side > -35)
    first, last = frames[0].mean(axis=-1), frames[10].mean(axis=-1)
    return first[patch], first[old_y, old_x][patch], last[patch]


def test_small_and_slow_clips_render() -> None:
    settings = SimulatorSettings(frames=2, frame_rate=5.0, frame_height=64, frame_width=64)
    rng = np.random.default_rng(0)
    heart = replace(heart_with(40), rhythm="atrial fibrillation", heart_rate=145.0)
    anatomy = anatomy_of(heart, rng)
    view = place(anatomy, 64, 64, rng)
    assert render_clip(heart, anatomy, view, settings, rng).any(axis=(1, 2, 3)).all()
