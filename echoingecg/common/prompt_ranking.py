"""Predicts a number by ranking prompts that differ only in the number they state.

Method of ECHO-CLIP (Christensen et al., Nature Medicine 2024).

Shape legend: n = embeddings, prompt = sentences, D = shared embedding width.
"""

import numpy as np

BEST_SHARE = 0.2  # of the ranked prompts


def values_by_rank(embeddings: np.ndarray, prompts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns, for each embedding, the prompts' numbers ordered by cosine similarity, most similar first.

    Equally similar prompts keep their order.

    Args:
        embeddings: (n, D) of unit length.
        prompts: (prompt, D) of unit length, at least one.
        values: (prompt,) the number that each prompt states.

    Returns:
        (n, prompt).
    """
    return values[np.argsort(-(embeddings.astype(np.float32) @ prompts.T), axis=1, kind="stable")]


def best_median(ranked: np.ndarray) -> np.ndarray:
    """Returns the median of the best fifth of the ranked numbers, at least one: (..., prompt) to (...).

    The fifth is rounded down, and of an even count the lower middle number is taken, as by ECHO-CLIP's code.
    """
    best = max(int(BEST_SHARE * ranked.shape[-1]), 1)
    return np.asarray(np.sort(ranked[..., :best], axis=-1)[..., (best - 1) // 2])
