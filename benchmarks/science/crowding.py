"""What the loss makes of the variance: each ECG's expected number of matches becomes one.

The variance of ECG i enters the match logits of its whole row alike, -scale * (d_ij + v_i + v_j) + shift, with v the
sum over D of the variances (Chun, ICLR 2024, eq. 1 and 2). So the derivative of the matching loss by v_i is
scale * sum over j of (m_ij - p_ij): it is zero where the probabilities of a row sum to its matches, one. With small
probabilities v_i is then, up to a constant, log sum exp(-scale * (d_ij + v_j)) / scale: it grows with the studies
that lie near, and says nothing of noise.

Shape legend: n = ECGs, m = studies, D = shared embedding width.
"""

from typing import Final

import numpy as np
from scipy.special import expit, logsumexp

from echoingecg.evaluation.data.embed import Gaussians, sampled_distances

RARE: Final = 1e-12  # probabilities below are the same to a logarithm


def crowding(mean: np.ndarray, studies: np.ndarray, scale: float) -> np.ndarray:
    """How many studies an ECG cannot be told from: log mean exp(-scale * d), d the squared distance of the means.

    Args:
        mean: (n, D) of the ECGs.
        studies: (m, D), means of the training studies.
        scale: the student's.

    Returns:
        (n,) float64, 0 for an ECG on top of all studies.
    """
    distances = sampled_distances(Gaussians.certain(mean), Gaussians.certain(studies))
    return np.asarray(logsumexp(-scale * distances, axis=1)) - np.log(len(studies))


def expected_matches(ecgs: Gaussians, studies: Gaussians, scale: float, shift: float, batch: int) -> dict[str, float]:
    """How many studies of a training batch an ECG is expected to match, by its own variance and by one for all.

    Returns:
        own_mean, own_spread, same_mean, same_spread: mean over ECGs, and standard deviation of the logarithm.
    """
    distances = sampled_distances(ecgs, studies)
    same = distances - ecgs.total_variance[:, None] + ecgs.total_variance.mean()
    found: dict[str, float] = {}
    for name, one in (("own", distances), ("same", same)):
        matches = batch * expit(shift - scale * one).mean(axis=1)
        found[f"{name}_mean"] = float(matches.mean())
        found[f"{name}_spread"] = float(np.log(np.maximum(matches, RARE)).std())
    return found
