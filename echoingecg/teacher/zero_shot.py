"""What the teacher itself says of a study, by prompts alone (ECHO-CLIP, Christensen et al., Nature Medicine 2024)."""

from typing import Final

import numpy as np

from echoingecg.common.prompt_ranking import best_median, values_by_rank

LVEF_PROMPT: Final = "LV ejection fraction is {} %."


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
    return float(best_median(values_by_rank(frames, prompts, values).mean(axis=0)))
