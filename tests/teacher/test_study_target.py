"""Study targets against plain sums, and against processes whose correlation is known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoingecg.teacher.study_target import study_target, with_median_variance

TINY = 1e-30  # epsilon that no variance here comes near


def slow_target(rows: list[list[float]], epsilon: float) -> tuple[list[float], list[float]]:
    count, dim = len(rows), len(rows[0])
    mean = [math.fsum(row[d] for row in rows) / count for d in range(dim)]
    variance = [math.fsum((row[d] - mean[d]) ** 2 for row in rows) / count for d in range(dim)]
    length = math.sqrt(math.fsum(value**2 for value in mean))
    return [value / length for value in mean], [math.log(value + epsilon) for value in variance]


def drawn(lengths: list[int], dim: int, seed: int) -> list[np.ndarray]:
    """Unit-length float16 vectors, clips of these lengths around means of their own."""
    random = np.random.default_rng(seed)
    clips = [1 + random.normal(0, 0.3, dim) + random.normal(0, 0.5, (length, dim)) for length in lengths]
    return [(clip / np.linalg.norm(clip, axis=1, keepdims=True)).astype(np.float16) for clip in clips]


def ar1(clips: int, length: int, phi: float, processes: int, seed: int) -> list[np.ndarray]:
    """Independent stationary AR(1) processes of variance 1 beside one another: x_t = phi x_(t-1) + noise."""
    noise = np.random.default_rng(seed).standard_normal((clips, length, processes))
    noise[:, 1:] *= math.sqrt(1 - phi**2)
    for at in range(1, length):
        noise[:, at] += phi * noise[:, at - 1]
    return list(noise)


def mean_variance(clips: list[np.ndarray], estimator: str) -> float:
    """Over the processes."""
    return float(np.exp(study_target(clips, estimator, TINY)[1]).mean())


@given(st.lists(st.integers(1, 12), min_size=1, max_size=4), st.integers(2, 12), st.integers(0, 2**32 - 1))
def test_frames_are_plain_sums(lengths: list[int], dim: int, seed: int) -> None:
    clips = drawn(lengths, dim, seed)
    mean, log_var = study_target(clips, "frames", 1e-8)
    slow_mean, slow_log_var = slow_target(np.concatenate(clips).astype(float).tolist(), 1e-8)
    assert (mean.dtype, log_var.dtype) == (np.float32, np.float32)
    np.testing.assert_allclose(mean, slow_mean, atol=1e-6)
    np.testing.assert_allclose(log_var, slow_log_var, rtol=1e-5)
    assert np.linalg.norm(mean) == pytest.approx(1, abs=1e-6)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(2, 8), st.integers(0, 2**32 - 1))
def test_clips_are_frames_of_clips_drawn_out_to_one_length(lengths: list[int], dim: int, seed: int) -> None:
    clips = drawn(lengths, dim, seed)
    together = math.lcm(*lengths)
    repeated = [np.repeat(clip, together // len(clip), axis=0) for clip in clips]
    for found, expected in zip(study_target(clips, "clips", 1e-8), study_target(repeated, "frames", 1e-8), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("estimator", ["frames", "clips", "autocorrelation"])
def test_one_frame_has_the_smallest_variance(estimator: str) -> None:
    _, log_var = study_target([np.array([[0.6, 0.8]], np.float16)], estimator, 1e-8)
    np.testing.assert_allclose(log_var, math.log(1e-8), rtol=1e-6)


@pytest.mark.parametrize("estimator", ["frames", "clips", "autocorrelation"])
@pytest.mark.parametrize("epsilon", [1e-8, 1e-3])
def test_one_vector_or_equal_vectors_get_the_median_variance_of_the_others(estimator: str, epsilon: float) -> None:
    one, other = (drawn([3, 4], 5, seed) for seed in (1, 2))
    still = [[one[0][:1]], [np.repeat(one[0][:1], 3, axis=0)]]
    log_var = np.stack([study_target(clips, estimator, epsilon)[1] for clips in (one, *still, other)])
    filled = with_median_variance(log_var, epsilon)
    np.testing.assert_array_equal(filled[[0, 3]], log_var[[0, 3]])
    for row in (1, 2):
        np.testing.assert_allclose(filled[row], (log_var[0] + log_var[3]) / 2, rtol=1e-6)
    np.testing.assert_array_equal(with_median_variance(log_var[1:3], epsilon), log_var[1:3])


@pytest.mark.parametrize("estimator", ["frames", "clips", "autocorrelation"])
def test_sums_do_not_stay_in_float16(estimator: str) -> None:
    mean, _ = study_target([np.full((100_000, 1), 1.0, np.float16)], estimator, 1e-8)  # a float16 sum stops at 2048
    assert mean.tolist() == [1.0]


@pytest.mark.parametrize(
    ("clips", "length", "phi"), [(1, 400, 0.9), (4, 60, 0.9), (12, 20, 0.9), (3, 100, 0.5), (2, 50, 0.0), (4, 60, -0.5)]
)
def test_variance_of_an_ar1_process_is_found_without_bias(clips: int, length: int, phi: float) -> None:
    """True variance 1. The published estimate falls short by tau / N, tau = 1 + 2 sum_k (1 - k/n) phi^k."""
    lags = np.arange(1, length)
    tau = 1 + 2 * float(np.sum((1 - lags / length) * phi**lags))
    process = ar1(clips, length, phi, 20_000, seed=3)
    assert mean_variance(process, "frames") == pytest.approx(1 - tau / (clips * length), abs=0.003)
    assert mean_variance(process, "autocorrelation") == pytest.approx(1, abs=0.007)


def slow_factor(clips: list[np.ndarray]) -> float:
    """Corrected over plain variance, pair by pair: lags up to the first K of at least 5 tau, else half of all pairs."""
    vectors = np.concatenate(clips)
    count, deviations = len(vectors), [clip - vectors.mean(axis=0) for clip in clips]
    plain = vectors.var(axis=0).sum()
    factor = math.nan
    for reach in range(max(map(len, clips))):
        near = [np.abs(np.subtract.outer(range(len(clip)), range(len(clip)))) <= reach for clip in clips]
        pairs = sum(np.count_nonzero(chosen) for chosen in near)
        if pairs > count**2 / 2:
            break
        product = sum(((clip @ clip.T)[chosen]).sum() for clip, chosen in zip(deviations, near, strict=True))
        of_mean = max(product / (count**2 - pairs), 0)
        factor = 1 + of_mean / plain
        if reach >= 5 * (count * of_mean / (plain + of_mean)):
            break
    return factor


@pytest.mark.parametrize(("clips", "length", "phi"), [(1, 300, 0.8), (3, 150, 0.7), (1, 30, 0.98), (2, 40, 0.9)])
def test_lags_are_summed_over_five_correlation_times(clips: int, length: int, phi: float) -> None:
    """The last two cases are too short for it: half of all pairs end the sum. Another window gives other sums."""
    for seed in range(8):
        process = ar1(clips, length, phi, 3, seed)
        (_, corrected), (_, plain) = (study_target(process, name, TINY) for name in ("autocorrelation", "frames"))
        np.testing.assert_allclose(np.exp(corrected - plain), slow_factor(process), rtol=2e-5)


@pytest.mark.parametrize(("clips", "length"), [(2, 7), (5, 40)])
def test_clips_that_stand_still_count_as_one_frame_each(clips: int, length: int) -> None:
    stills = np.random.default_rng(5).standard_normal((clips, 1, 30))
    _, log_var = study_target(list(np.repeat(stills, length, axis=1)), "autocorrelation", TINY)
    np.testing.assert_allclose(np.exp(log_var), stills[:, 0].var(axis=0, ddof=1), rtol=1e-5)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), st.integers(0, 2**32 - 1))
def test_correlation_only_adds_and_knows_no_order_of_clips(lengths: list[int], seed: int) -> None:
    clips = drawn(lengths, 6, seed)
    mean, log_var = study_target(clips, "autocorrelation", TINY)
    plain_mean, plain_log_var = study_target(clips, "frames", TINY)
    np.testing.assert_array_equal(mean, plain_mean)
    assert (log_var >= plain_log_var).all()
    if sum(lengths) > 1:
        assert np.ptp(log_var - plain_log_var) < 1e-4, "one factor for all dimensions"
    backwards = study_target([clip[::-1] for clip in reversed(clips)], "autocorrelation", TINY)
    np.testing.assert_allclose(backwards[1], log_var, atol=1e-4)


@pytest.mark.parametrize("lengths", [[2], [1, 1]])
def test_two_frames_have_bessels_correction(lengths: list[int]) -> None:
    clips = drawn(lengths, 6, 5)
    _, log_var = study_target(clips, "autocorrelation", TINY)
    expected = np.concatenate(clips).astype(float).var(axis=0, ddof=1)
    np.testing.assert_allclose(np.exp(log_var), expected, rtol=1e-5)
