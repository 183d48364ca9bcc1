"""The four-chamber phantom: its masks and its pictures show the known heart."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy.stats import spearmanr

from echoingecg.recipe.execution import SimulatorSettings
from echoingecg.simulator.echo.apical import Speckle, motion, render_clip, ventricle_masks
from echoingecg.simulator.echo.beating_heart import Anatomy, Course, anatomy_of, course_of, half_width, left_ventricle
from echoingecg.simulator.echo.screen import draw_cursor, overlay, sample_console
from echoingecg.simulator.echo.view import View, place
from echoingecg.simulator.population.patient import Heart, sample_heart
from helpers.echo.echo_hearts import heart_with

SMALL = SimulatorSettings(frame_rate=30.0, frame_height=120, frame_width=160)
USUAL = SimulatorSettings()
SPACING = 0.25  # mm


def apical(heart: Heart, seed: int, settings: SimulatorSettings) -> tuple[Anatomy, View, Course, np.random.Generator]:
    rng = np.random.default_rng(seed)
    anatomy = anatomy_of(heart, rng)
    view = place(anatomy, settings.frame_height, settings.frame_width, rng)
    return anatomy, view, course_of(heart, settings, rng), rng


def simpson(mask: np.ndarray, spacing: float) -> tuple[float, float]:
    """Single-plane method of disks on pixels: volume (mL) by 20 disks across the principal axis; its length (mm)."""
    rows, columns = np.nonzero(mask)
    points = np.stack([columns, rows], axis=1) * spacing
    points -= points.mean(axis=0)
    along = points @ np.linalg.eigh(points.T @ points)[1][:, -1]
    length = float(np.ptp(along)) + spacing
    disk = np.minimum(((along - along.min() + spacing / 2) / length * 20).astype(int), 19)
    diameters = np.bincount(disk, minlength=20) * spacing**2 / (length / 20)
    return float((np.pi / 4 * diameters**2).sum() * length / 20 / 1000), length


@pytest.mark.parametrize(
    "change",
    [{}, {"heart_rate": 45.0}, {"heart_rate": 150.0}, {"rhythm": "atrial fibrillation", "heart_rate": 110.0}],
)
def test_the_masks_give_the_truth_back(change: dict) -> None:
    errors = []
    for seed in range(40):
        heart = replace(sample_heart(np.random.default_rng((3, seed))), **change)
        anatomy, view, course, _ = apical(heart, seed, USUAL)
        masks = ventricle_masks(anatomy, view, course)
        areas = masks.sum(axis=(1, 2))
        full, length = simpson(masks[areas.argmax()], view.spacing)
        empty, _ = simpson(masks[areas.argmin()], view.spacing)
        errors.append(100 * (1 - empty / full) - heart.lvef)
        assert course.contraction[areas.argmax()] < 0.05
        assert course.contraction[areas.argmin()] > 0.95
        assert full == pytest.approx(heart.lv_end_diastolic_volume, rel=0.05)
        assert length == pytest.approx(heart.lv_length, abs=3 * view.spacing)
    assert np.abs(errors).max() < 5
    assert abs(np.mean(errors)) < 1


def clip_of(heart: Heart, seed: int) -> tuple[np.ndarray, Anatomy, View, Course]:
    anatomy, view, course, rng = apical(heart, seed, SMALL)
    return render_clip(heart, anatomy, view, course, rng), anatomy, view, course


def test_the_pictures_show_the_lvef() -> None:
    """Muscle moves into what was cavity: the more, the higher the LVEF."""
    lvefs, filled = np.linspace(15, 75, 16), []
    for seed, lvef in enumerate(lvefs):
        frames, anatomy, view, course = clip_of(heart_with(float(lvef), seed), seed)
        inside = left_ventricle(anatomy, *view.of_ventricle())
        systole = frames[course.contraction.argmax()]
        filled.append(systole[inside].mean() - frames[0][inside].mean())
    assert spearmanr(lvefs, filled).statistic > 0.85


def test_the_cavity_is_dark_where_its_mask_is() -> None:
    heart = heart_with(60)
    frames, anatomy, view, course = clip_of(heart, 4)
    for frame, mask in zip(frames, ventricle_masks(anatomy, view, course), strict=True):
        ring = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5))).astype(bool) & ~mask
        ring[view.from_pixels(*view.pixels())[0] > 0.7 * anatomy.length] = False  # leaflets
        assert frame[ring].mean() > 2 * frame[mask].mean()


def test_a_clip_has_cavity_walls_and_a_black_surround() -> None:
    frames, anatomy, view, course = clip_of(heart_with(60), 3)
    assert frames.shape == (len(course.time), 120, 160, 3)
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
    assert not frames[:, top : bottom + 1, right + 1 : right + 3].any(), "the depth scale stands apart"


def test_speckle_moves_with_the_tissue_and_changes_on_the_way() -> None:
    """A piece of the septum is found again where it went, less the further it went, better than where it was."""
    heart = replace(heart_with(65), image_quality=1.0, septal_wall_thickness=14.0)
    correlations = []
    for seed in range(4):
        anatomy, view, course, rng = apical(heart, seed, USUAL)
        frames = render_clip(heart, anatomy, view, course, rng)[..., 0]
        systole = course.contraction.argmax()
        correlations.append([_septum_at_both_times(frames, index, anatomy, view, course)
                             for index in range(0, systole + 1, systole // 4)])  # fmt: skip
    still, moved = np.mean(correlations, axis=0).T
    assert moved[0] == still[0] == pytest.approx(1)
    assert np.all(np.diff(moved) < -0.02)
    assert moved[-1] > 0.3
    assert np.all(moved[2:] > still[2:] + 0.2)


def _septum_at_both_times(
    frames: np.ndarray, index: int, anatomy: Anatomy, view: View, course: Course
) -> tuple[float, float]:
    """Correlation of a frame's septal muscle with the first frame, at the same place and where the tissue was."""
    rest_x, rest_y, move_x, move_y = motion(anatomy, view)
    amount, drift = course.contraction[index], (course.sway[index] - course.sway[0]) / view.spacing
    old_x, old_y = rest_x + amount * move_x, rest_y + amount * move_y + drift
    depth, side = view.from_pixels(old_x.astype(np.float32), old_y.astype(np.float32))
    beyond = -side - half_width(anatomy, depth)
    patch = (np.abs(depth / anatomy.length - 0.6) < 0.3) & (beyond > 2) & (beyond < anatomy.septum - 2) & (side < 0)
    moved = cv2.remap(frames[0], old_x.astype(np.float32), old_y.astype(np.float32), cv2.INTER_LINEAR)
    now = frames[index][patch].astype(float)
    return np.corrcoef(now, frames[0][patch])[0, 1], np.corrcoef(now, moved[patch])[0, 1]


def test_speckle_is_fully_developed_at_all_times() -> None:
    """Rayleigh magnitudes: the power's logarithm has a standard deviation of pi / sqrt(6), however far tissue moved."""
    _, view, _, rng = apical(heart_with(60), 0, USUAL)
    sector = view.sector()
    travel = np.full((sector.height, sector.width), 12, np.float32)
    speckle = Speckle(sector, travel, rng)
    x, y = (np.ascontiguousarray(one) for one in sector.pixels())
    first = speckle.log_power(x, y, 0.0, 0.0)
    for contraction, least, most in ((0.0, 0.99, 1.01), (0.5, 0.5, 0.95), (1.0, 0.1, 0.6)):
        now = speckle.log_power(x, y, contraction, 0.0)
        assert now[sector.within()].std() == pytest.approx(np.pi / np.sqrt(6), rel=0.12)
        assert least <= np.corrcoef(first[sector.within()], now[sector.within()])[0, 1] <= most


def test_gain_and_dynamic_range_vary() -> None:
    heart = heart_with(60)
    means = [clip_of(heart, seed)[0].mean() for seed in range(12)]
    assert max(means) > 1.3 * min(means)


def test_a_poor_window_hides_the_lateral_wall() -> None:
    greys = {}
    for quality in (0.1, 0.9):
        found = []
        for seed in range(8):
            frames, anatomy, view, _ = clip_of(replace(heart_with(60), image_quality=quality), seed)
            depth, side = view.of_ventricle()
            beyond = side - half_width(anatomy, depth)
            wall = (beyond > 1) & (beyond < anatomy.lateral_wall - 1) & (np.abs(depth / anatomy.length - 0.5) < 0.3)
            found.append(frames[0][wall].mean())
        greys[quality] = np.mean(found)
    assert greys[0.1] < 0.6 * greys[0.9]


@pytest.mark.parametrize(("height", "width"), [(64, 64), (240, 320), (480, 640)])
def test_nothing_is_printed_inside_the_box(height: int, width: int) -> None:
    heart = heart_with(60)
    _, view, course, rng = apical(heart, 1, SimulatorSettings(frame_height=height, frame_width=width))
    screen = overlay(view, "A4C", sample_console(rng), heart, course, rng)
    left, top, right, bottom = view.region
    assert not screen[top : bottom + 1, left : right + 1].any()
    assert screen[:top].any()
    assert screen[bottom + 1 :].any()
    draw_cursor(screen, view, 0.5)
    assert not screen[top : bottom + 1, left : right + 1].any()


def test_small_and_slow_clips_render() -> None:
    settings = SimulatorSettings(frame_rate=5.0, frame_height=64, frame_width=64)
    heart = replace(heart_with(40), rhythm="atrial fibrillation", heart_rate=145.0)
    anatomy, view, course, rng = apical(heart, 0, settings)
    assert render_clip(heart, anatomy, view, course, rng).any(axis=(1, 2, 3)).all()
