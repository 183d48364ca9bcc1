"""What the teacher itself says of a study, by prompts alone (ECHO-CLIP, Christensen et al., Nature Medicine 2024)."""

from typing import Final

import numpy as np

LVEF_PROMPT: Final = "LV ejection fraction is {} %."
BEST_SHARE: Final = 0.2  # of the ranked prompts


def finding_score(frames: np.ndarray, prompts: np.ndarray) -> float:
    """How well a finding's prompts fit a study: mean cosine similarity over frames and prompts.

    Args:
        frames: (frame, dim) unit-length embeddings of all frames of a study.
        prompts: (prompt, dim) unit-length embeddings of a finding's sentences.
    """
    return float((frames.astype(np.float32) @ prompts.T).mean())


def ranked_value(frames: np.ndarray, prompts: np.ndarray, values: np.ndarray) -> float:
    """A number by ranking: prompts that differ in it alone are ranked for every frame.

    The value found at each rank is averaged over the frames; the median of the best-ranked fifth is the answer.

    Args:
        frames: (frame, dim) unit-length embeddings of all frames of a study, at least one.
        prompts: (prompt, dim) unit-length embeddings, at least one.
        values: (prompt,) the number that each prompt states.
    """
    order = np.argsort(-(frames.astype(np.float32) @ prompts.T), axis=1, kind="stable")
    at_rank = values[order].mean(axis=0)
    best = max(round(BEST_SHARE * len(values)), 1)
    return float(np.median(at_rank[:best]))
