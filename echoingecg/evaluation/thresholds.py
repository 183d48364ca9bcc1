"""The decision threshold, chosen on the validation split alone."""

from dataclasses import dataclass
from typing import Final

import numpy as np

DEFAULT: Final = 0.5


@dataclass(frozen=True)
class Threshold:
    """A score that reaches `value` is called positive; `says` tells the reader where it comes from."""

    value: float
    says: str


def choose_threshold(label: np.ndarray, score: np.ndarray) -> Threshold:
    """The threshold of highest balanced accuracy; of equals the nearest to 0.5, then the lower.

    Candidates are 0.5 and the midpoints between neighbouring distinct scores.

    Args:
        label: (n,) 0 or 1, of the validation ECGs.
        score: (n,) in [0, 1], of the same ECGs.
    """
    positives, negatives = int((label == 1).sum()), int((label == 0).sum())
    if positives == 0 or negatives == 0:
        lacks = "positive" if positives == 0 else "negative"
        return Threshold(DEFAULT, f"0.5 by default: no {lacks} among {len(label)} validation ECGs")
    distinct = np.unique(score)
    candidates = np.unique(np.append((distinct[:-1] + distinct[1:]) / 2, DEFAULT))
    hits = positives - np.searchsorted(np.sort(score[label == 1]), candidates, side="left")
    rejections = np.searchsorted(np.sort(score[label == 0]), candidates, side="left")
    # Whole numbers, so that equal balanced accuracies compare as equal: 2 * positives * negatives * balanced accuracy.
    merit = hits * negatives + rejections * positives
    best = candidates[merit == merit.max()]
    chosen = best[np.argmin(np.abs(best - DEFAULT))]
    return Threshold(float(chosen), f"chosen on {len(label)} validation ECGs, {positives} positive")


def threshold_at_specificity(label: np.ndarray, score: np.ndarray, specificity: float) -> float | None:
    """The lowest threshold that keeps the wanted share of label 0 below it; None without a record of label 0.

    Candidates are the midpoints between neighbouring distinct scores, and a place above them all.

    Args:
        label: (n,) 0 or 1, of the validation ECGs.
        score: (n,) in [0, 1], of the same ECGs.
        specificity: in (0, 1).
    """
    negative = np.sort(score[label == 0])
    if len(negative) == 0:
        return None
    distinct = np.unique(score)
    candidates = np.append((distinct[:-1] + distinct[1:]) / 2, np.nextafter(distinct[-1], np.inf))
    rejected = np.searchsorted(negative, candidates, side="left")
    return float(candidates[np.argmax(rejected >= specificity * len(negative) - 1e-9)])
