"""A number by ranking prompts that differ in it alone (ECHO-CLIP, Christensen et al., Nature Medicine 2024).

Shape legend: n = embeddings, prompt = sentences, D = shared embedding width.
"""

import numpy as np

BEST_SHARE = 0.2  # of the ranked prompts


def values_by_rank(embeddings: np.ndarray, prompts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The number at each rank, best first, by cosine similarity; equals in the prompts' order.

    Args:
        embeddings: (n, D) of unit length.
        prompts: (prompt, D) of unit length, at least one.
        values: (prompt,) the number that each prompt states.

    Returns:
        (n, prompt).
    """
    return values[np.argsort(-(embeddings.astype(np.float32) @ prompts.T), axis=1, kind="stable")]


def best_median(ranked: np.ndarray) -> np.ndarray:
    """Median of the best-ranked fifth, of at least one: (..., prompt) to (...)."""
    best = max(round(BEST_SHARE * ranked.shape[-1]), 1)
    return np.asarray(np.median(ranked[..., :best], axis=-1))
