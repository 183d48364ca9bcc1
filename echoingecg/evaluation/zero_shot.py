"""Zero-shot probability from prompts alone: no label is read."""

import numpy as np
from scipy.special import expit

from echoingecg.evaluation.gaussians import Gaussians, sampled_distances


def zero_shot_scores(ecgs: Gaussians, positive: Gaussians, negative: Gaussians, scale: float) -> np.ndarray:
    """Probability that an ECG matches the positive prompts rather than the negative ones.

    A class's logit is the mean over its prompts of the student's match logit, -scale * d + shift, with d
    the closed-form sampled distance (Chun, ICLR 2024). The score is the softmax of the two classes, which
    is sigmoid(positive - negative). In that difference the shift and the ECG's own variance cancel; they
    are left out, so that a large variance cannot swallow the digits that matter.

    Args:
        ecgs: n ECGs.
        positive: prompts that say label 1, at least one.
        negative: prompts that say label 0, at least one.
        scale: the student's learned scale.

    Returns:
        (n,) float64 in [0, 1].
    """
    certain = Gaussians.certain(ecgs.mean)
    nearer = sampled_distances(certain, negative).mean(axis=1) - sampled_distances(certain, positive).mean(axis=1)
    return expit(scale * nearer)
