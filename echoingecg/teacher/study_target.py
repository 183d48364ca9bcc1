"""The Gaussian that the student learns of a study, from its embeddings: the published estimator and two others.

Symbols: dim = embedding width, d = deviation of a vector from the study's mean, N = number of vectors of the study.
All variances are per dimension, and population variances unless said otherwise.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

_WINDOW_IN_TAU = 5  # lags summed, as a multiple of tau (Sokal 1997: 4 to 10)

Moments = tuple[np.ndarray, np.ndarray]  # mean and variance, float64 (dim,) each


def study_target(
    clips: Sequence[np.ndarray], estimator: Literal["frames", "clips", "autocorrelation"], epsilon: float
) -> Moments:
    """Estimates the mean and log-variance of a study.

    Args:
        clips: float16 (vector, dim) each, in the order of the frames, unit length; at least one vector in all.
        estimator: teacher.target of the recipe.
        epsilon: added to the variance before the logarithm.

    Returns:
        mean: float32 (dim,), re-normalised to unit length.
        log_var: float32 (dim,), log(variance + epsilon).
    """
    mean, variance = _ESTIMATORS[estimator]([clip.astype(np.float64) for clip in clips])
    return (mean / np.linalg.norm(mean)).astype(np.float32), np.log(variance + epsilon).astype(np.float32)


def with_median_variance(log_var: np.ndarray, epsilon: float) -> np.ndarray:
    """Gives studies whose vectors are all alike the median log-variance of the others, dimension by dimension.

    One vector shows no variance; a point of certainty would weigh more in the student's loss than any study that was
    seen well. Where no study has a variance, nothing changes.

    Args:
        log_var: float32 (study, dim), as `study_target` gives it with this epsilon.
        epsilon: as there.

    Returns:
        float32 (study, dim).
    """
    still = (log_var <= np.log(2 * epsilon)).all(axis=1)
    if still.all() or not still.any():
        return log_var
    filled = log_var.copy()
    filled[still] = np.median(log_var[~still], axis=0)
    return filled


def _over_frames(clips: Sequence[np.ndarray]) -> Moments:
    """Mean and variance over all vectors, taken as independent: the published estimator (docs/method.md)."""
    vectors = np.concatenate(clips)
    return vectors.mean(axis=0), vectors.var(axis=0)


def _over_clips(clips: Sequence[np.ndarray]) -> Moments:
    """Mean and variance of the mixture in which every clip has the same weight, whatever its length.

    With m_c and v_c of clip c, the mean is E[m_c] and, by the law of total variance, the variance is
    E[v_c] + Var[m_c]: how much a view moves, and how much views differ. For clips of one length both are
    those over frames.
    """
    means = np.stack([clip.mean(axis=0) for clip in clips])
    variances = np.stack([clip.var(axis=0) for clip in clips])
    return means.mean(axis=0), variances.mean(axis=0) + means.var(axis=0)


def _corrected_for_correlation(clips: Sequence[np.ndarray]) -> Moments:
    """Mean over all vectors, and the variance corrected for the bias that their correlation causes.

    Vectors of one clip are a stationary process with autocovariance g_k and variance g_0; clips are
    independent. With s2 the variance over all vectors, and v = Var(mean) = (1/N^2) sum over pairs (t, u)
    within clips of g_|t-u|,

        E[s2] = g_0 - v = g_0 (1 - tau / N),    tau = N v / g_0,

    where tau is the integrated autocorrelation time: N / tau independent vectors would determine the mean
    equally well. s2 is too small by the variance of the mean. Returned is s2 + v = s2 N / (N - tau).

    v comes from the pairs at most K apart, beyond which g is taken for 0. Let Q be the sum of d_t d_u over
    these pairs, P their number. Each product is too small by about v, like s2, so E[Q] = N^2 v - P v and
    v = Q / (N^2 - P). For K = 0 this is Bessel's correction, v = s2 / (N - 1). For all pairs and C clips of
    one length it is the variance of C independent clip means, divided by C: clips that differ only in
    their views count as one vector each, whatever their length.

    K is the smallest with K >= 5 tau (Sokal, Monte Carlo Methods in Statistical Mechanics, 1997), else the
    largest whose pairs are at most N^2 / 2: with more pairs, Q of a single clip goes to 0, since it is the
    square of the sum of its deviations. tau is one number for a study, from Q and s2 summed over dimensions.
    A clip that is short compared with its correlation time cannot show it, and is corrected too little.
    """
    mean, variance = _over_frames(clips)
    count = sum(len(clip) for clip in clips)
    total = variance.sum()
    if count < 2 or not total:
        return mean, variance
    products, pairs = _pair_sums([clip - mean for clip in clips])
    allowed = pairs <= count**2 / 2
    products, pairs = products[allowed], pairs[allowed]
    mean_variance = np.maximum(products / (count**2 - pairs), 0)
    taus = count * mean_variance / (total + mean_variance)
    enough = np.flatnonzero(np.arange(len(taus)) >= _WINDOW_IN_TAU * taus)
    chosen = enough[0] if len(enough) else -1
    return mean, variance * (1 + mean_variance[chosen] / total)


def _pair_sums(deviations: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Sums d_t d_u over the pairs at most K apart within a clip, and counts these pairs, for K = 0, 1, ...

    Both orders of a pair count. Products are summed over dimensions too. All lags come from one Fourier transform.

    Returns:
        products and pairs, float64 (vectors of the longest clip,) each.
    """
    longest = max(map(len, deviations))
    products, pairs = np.zeros(longest), np.zeros(longest)
    for clip in deviations:
        length = len(clip)
        spectrum = np.abs(np.fft.rfft(clip, 2 * length, axis=0)) ** 2
        products[:length] += np.fft.irfft(spectrum.sum(axis=1), 2 * length)[:length]
        pairs[:length] += length - np.arange(length)
    both = np.where(np.arange(longest), 2, 1)
    return np.cumsum(both * products), np.cumsum(both * pairs)


_ESTIMATORS = {"frames": _over_frames, "clips": _over_clips, "autocorrelation": _corrected_for_correlation}
