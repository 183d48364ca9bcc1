"""Zero-shot probability from prompts alone: no label is read."""

import numpy as np

from echoingecg.evaluation.gaussians import Gaussians
from echoingecg.evaluation.line import Line


def zero_shot_line(positive: Gaussians, negative: Gaussians, scale: float) -> Line:
    """Probability that an ECG matches the positive prompts rather than the negative ones.

    A class's logit is the mean over its prompts of the student's match logit, -scale * d + shift, with d
    the closed-form sampled distance (Chun, ICLR 2024). The score is the softmax of the two classes, which
    is sigmoid(positive - negative). In that difference the shift, the ECG's own variance and the square of its mean
    cancel: what is left is linear in its mean.

    Args:
        positive: prompts that say label 1, at least one.
        negative: prompts that say label 0, at least one.
        scale: the student's learned scale.
    """
    (mean_p, own_p), (mean_n, own_n) = (_middle(one) for one in (positive, negative))
    return Line(2 * scale * (mean_p - mean_n), scale * (own_n - own_p))


def zero_shot_scores(ecgs: Gaussians, positive: Gaussians, negative: Gaussians, scale: float) -> np.ndarray:
    """The same for n ECGs: (n,) float64 in [0, 1]."""
    return zero_shot_line(positive, negative, scale).scores(ecgs.mean)


def _middle(prompts: Gaussians) -> tuple[np.ndarray, float]:
    """Mean of the prompts' means, and of what each adds to a distance by itself."""
    mean = prompts.mean.astype(np.float64)
    return mean.mean(axis=0), float(((mean**2).sum(axis=1) + prompts.total_variance).mean())
