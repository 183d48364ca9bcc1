"""Study targets against plain sums."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoingecg.teacher.targets import study_target


def slow_target(rows: list[list[float]], epsilon: float) -> tuple[list[float], list[float]]:
    count, dim = len(rows), len(rows[0])
    mean = [math.fsum(row[d] for row in rows) / count for d in range(dim)]
    variance = [math.fsum((row[d] - mean[d]) ** 2 for row in rows) / count for d in range(dim)]
    length = math.sqrt(math.fsum(value**2 for value in mean))
    return [value / length for value in mean], [math.log(value + epsilon) for value in variance]


@given(st.integers(1, 40), st.integers(2, 12), st.integers(0, 2**32 - 1))
def test_target_is_that_of_plain_sums(frames: int, dim: int, seed: int) -> None:
    drawn = np.random.default_rng(seed).normal(1.0, 0.5, (frames, dim))
    embeddings = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float16)
    mean, log_var = study_target(embeddings, 1e-8)
    slow_mean, slow_log_var = slow_target(embeddings.astype(float).tolist(), 1e-8)
    assert (mean.dtype, log_var.dtype) == (np.float32, np.float32)
    np.testing.assert_allclose(mean, slow_mean, atol=1e-6)
    np.testing.assert_allclose(log_var, slow_log_var, rtol=1e-5)
    assert np.linalg.norm(mean) == pytest.approx(1, abs=1e-6)


def test_one_frame_has_the_smallest_variance() -> None:
    _, log_var = study_target(np.array([[0.6, 0.8]], np.float16), 1e-8)
    np.testing.assert_allclose(log_var, math.log(1e-8), rtol=1e-6)


def test_sums_do_not_stay_in_float16() -> None:
    embeddings = np.full((100_000, 1), 1.0, np.float16)  # a float16 sum stops at 2048
    mean, _ = study_target(embeddings, 1e-8)
    assert mean.tolist() == [1.0]
