"""Which scores are too near the threshold to be relied on, chosen on the validation split alone."""

from math import ceil

import numpy as np

from data_contracts.reading_card import ReferBand
from echoingecg.evaluation.risk_coverage import threshold_nearness


def choose_refer_band(score: np.ndarray, threshold: float, share: float) -> ReferBand:
    """The band that holds a share of the validation ECGs, those whose logit is nearest to the threshold's.

    Args:
        score: (n,) in [0, 1], of the validation ECGs; no label is read.
        threshold: chosen on the same ECGs.
        share: of them to refer, rounded up.
    """
    if len(score) == 0:
        return ReferBand(low=0.0, high=1.0, says="everything: there is no validation ECG to choose it on")
    count = ceil(share * len(score))
    if count == 0:
        return ReferBand(low=1.0, high=0.0, says="nothing: the recipe's share is 0")
    near = score[np.argsort(-threshold_nearness(score, threshold), kind="stable")[:count]]
    says = f"the {count} of {len(score)} validation ECGs nearest to the threshold"
    return ReferBand(low=min(near.min(), threshold), high=max(near.max(), threshold), says=says)
