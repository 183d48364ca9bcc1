"""Which frames and which region."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoingecg.common import Refusal
from echoingecg.recipe.stages import TeacherSettings
from echoingecg.teacher.decode.clip import Clip, Region
from echoingecg.teacher.frames import frame_indices, timed_indices
from echoingecg.teacher.regions import Box, teacher_region

counts = st.integers(1, 300)


@given(counts, st.integers(1, 20))
def test_a_stride_takes_every_nth_frame(frames: int, stride: int) -> None:
    assert frame_indices(frames, stride, 0) == [index for index in range(frames) if index % stride == 0]


@given(counts, st.integers(1, 20), st.integers(1, 40))
def test_a_limit_spreads_evenly_over_the_strided_frames(frames: int, stride: int, limit: int) -> None:
    strided = frame_indices(frames, stride, 0)
    taken = frame_indices(frames, stride, limit)
    assert len(taken) == min(limit, len(strided))
    assert set(taken) <= set(strided)
    if limit >= 2:
        assert (taken[0], taken[-1]) == (strided[0], strided[-1])
    steps = np.diff(taken) // stride
    assert steps.size == 0 or (steps.min() >= 1 and steps.max() - steps.min() <= 1)


@given(st.integers(1, 40), st.integers(1, 60), st.integers(1, 60))
def test_frames_by_the_second_are_the_nearest_in_time(frames: int, rate: int, wanted: int) -> None:
    """Against a search over all frames, in whole numbers: of two that are as near, the later counts."""
    nearest = [
        min(range(frames), key=lambda frame: (abs(frame * wanted - moment * rate), -frame))
        for moment in range(frames * wanted // rate + 2)
        if 2 * moment * rate < (2 * frames - 1) * wanted  # nearer to the last frame than to one that would follow
    ]
    assert timed_indices(frames, rate, wanted) == sorted(set(nearest))


def clip_with(*regions: tuple[int, ...]) -> Clip:
    return Clip(2, 100, 200, tuple(Region(*one) for one in regions), None)


FIRST = TeacherSettings(region="first")


def largest(clip: Clip) -> Box:
    return teacher_region(clip, TeacherSettings())


@pytest.mark.parametrize(
    ("regions", "box"),
    [
        ([(1, 10, 20, 109, 79)], (20, 80, 10, 110)),  # right and bottom belong to the region
        ([(3, 0, 80, 199, 89), (1, 10, 20, 59, 79)], (20, 80, 10, 60)),  # a small strip does not count
        ([(1, 0, 0, 199, 14), (1, 10, 20, 59, 69)], (20, 70, 10, 60)),  # nor does what is too narrow for a heart
        ([(1, 0, 0, 49, 49), (1, 50, 0, 149, 59), (1, 0, 60, 49, 99)], (0, 60, 50, 150)),  # the largest
        ([(1, 0, 0, 49, 49), (1, 50, 0, 99, 49)], (0, 50, 0, 50)),  # the first of equals
        ([(1, 10, 20, 200, 100)], (20, 100, 10, 200)),  # right and bottom counted as not belonging
        ([(4, 0, 90, 400, 300), (1, 10, 20, 109, 79)], (20, 80, 10, 110)),  # the region of a trace does not decide
    ],
)
def test_the_region(regions: list[tuple[int, ...]], box: tuple[int, int, int, int]) -> None:
    rows, columns = largest(clip_with(*regions))
    assert (rows.start, rows.stop, columns.start, columns.stop) == box


def test_the_first_region_is_the_published_choice() -> None:
    rows, columns = teacher_region(clip_with((3, 0, 80, 199, 99), (1, 10, 20, 59, 79)), FIRST)
    assert (rows.start, rows.stop, columns.start, columns.stop) == (80, 100, 0, 200)
    for regions in ((), ((1, 0, 0, 9, 79), (1, 0, 0, 199, 99))):
        with pytest.raises(Refusal, match="no_region"):
            teacher_region(clip_with(*regions), FIRST)


@pytest.mark.parametrize(
    "regions",
    [
        [(1, 150, 60, 399, 299), (1, 0, 0, 79, 79)],
        [(1, 84, 31, 595, 414)],
        [(1, -5, -5, 60, 60)],
        [(1, 0, 0, 79, 79), (3, 0, 80, 399, 199)],
    ],
)
def test_a_region_beyond_the_picture_is_refused_never_clipped(regions: list[tuple[int, ...]]) -> None:
    with pytest.raises(Refusal, match="stale_region"):
        largest(clip_with(*regions))


def test_the_first_region_is_not_clipped_either() -> None:
    with pytest.raises(Refusal, match="stale_region"):
        teacher_region(clip_with((1, 84, 31, 595, 414), (1, 0, 0, 79, 79)), FIRST)


@pytest.mark.parametrize(
    ("regions", "box"),
    [
        ([(1, 84, 31, 399, 199)], (16, 100, 42, 200)),  # of a picture of 400 x 200
        ([(1, 30, 0, 569, 299), (3, 0, 200, 599, 299)], (0, 100, 10, 190)),  # all regions are divided, by three
        ([(1, 10, 20, 109, 79)], (20, 80, 10, 110)),  # within the picture
    ],
)
def test_a_region_of_a_larger_picture_is_divided_where_the_recipe_says_so(
    regions: list[tuple[int, ...]], box: tuple[int, int, int, int]
) -> None:
    rows, columns = teacher_region(clip_with(*regions), TeacherSettings(stale_region="rescale"))
    assert (rows.start, rows.stop, columns.start, columns.stop) == box


def test_what_no_division_mends_is_refused() -> None:
    for regions in ([(1, -5, -5, 60, 60)], [(1, 0, 0, 1999, 60)]):
        with pytest.raises(Refusal, match="stale_region"):
            teacher_region(clip_with(*regions), TeacherSettings(stale_region="rescale"))


@pytest.mark.parametrize("strip", [2, 3])
def test_a_strip_larger_than_the_picture_is_no_cine(strip: int) -> None:
    """The two-dimensional picture beside an M-mode or a spectrum is an inset that shows where the beam lies."""
    with pytest.raises(Refusal, match="not_a_cine"):
        largest(clip_with((1, 60, 0, 139, 39), (strip, 0, 40, 199, 99)))
