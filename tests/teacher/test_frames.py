"""Which frames and which region."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoingecg.common import Refusal
from echoingecg.teacher.decode.clip import Clip, Region
from echoingecg.teacher.frames import frame_indices, teacher_region, two_dimensional_region

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


def clip_with(*regions: tuple[int, ...]) -> Clip:
    return Clip(2, 100, 200, tuple(Region(*one) for one in regions), None)


@pytest.mark.parametrize(
    ("regions", "box"),
    [
        ([(1, 10, 20, 109, 79)], (20, 80, 10, 110)),  # right and bottom belong to the region
        ([(3, 0, 80, 199, 89), (1, 10, 20, 59, 79)], (20, 80, 10, 60)),  # a small strip does not count
        ([(1, 0, 0, 199, 14), (1, 10, 20, 59, 69)], (20, 70, 10, 60)),  # nor does what is too narrow for a heart
        ([(1, 0, 0, 49, 49), (1, 50, 0, 149, 59), (1, 0, 60, 49, 99)], (0, 60, 50, 150)),  # the largest
        ([(1, 0, 0, 49, 49), (1, 50, 0, 99, 49)], (0, 50, 0, 50)),  # the first of equals
        ([(1, 150, 60, 399, 299), (1, 0, 0, 79, 79)], (0, 80, 0, 80)),  # size within the image counts
        ([(1, 84, 31, 595, 414)], (31, 100, 84, 200)),  # clipped to the image
        ([(1, -5, -5, 60, 60)], (0, 61, 0, 61)),
    ],
)
def test_the_region(regions: list[tuple[int, ...]], box: tuple[int, int, int, int]) -> None:
    rows, columns = two_dimensional_region(clip_with(*regions))
    assert (rows.start, rows.stop, columns.start, columns.stop) == box


def test_the_first_region_is_the_published_choice() -> None:
    rows, columns = teacher_region(clip_with((3, 0, 80, 199, 99), (1, 10, 20, 59, 79)), "first")
    assert (rows.start, rows.stop, columns.start, columns.stop) == (80, 100, 0, 200)
    for regions in ((), ((1, 0, 0, 9, 79), (1, 0, 0, 199, 99)), ((1, 300, 20, 400, 79), (1, 0, 0, 199, 99))):
        with pytest.raises(Refusal, match="no_region"):
            teacher_region(clip_with(*regions), "first")


def test_the_largest_region_is_two_dimensional() -> None:
    regions = (3, 0, 90, 199, 99), (1, 10, 20, 59, 79)
    assert teacher_region(clip_with(*regions), "largest") == two_dimensional_region(clip_with(*regions))


@pytest.mark.parametrize("strip", [2, 3])
def test_a_strip_larger_than_the_picture_is_no_cine(strip: int) -> None:
    """The two-dimensional picture beside an M-mode or a spectrum is an inset that shows where the beam lies."""
    with pytest.raises(Refusal, match="not_a_cine"):
        two_dimensional_region(clip_with((1, 60, 0, 139, 39), (strip, 0, 40, 199, 99)))
