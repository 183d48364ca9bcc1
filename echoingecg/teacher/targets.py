"""Frame embeddings of a study to the Gaussian that the student learns (EchoingECG; METHOD's teacher target)."""

import numpy as np


def study_target(embeddings: np.ndarray, epsilon: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and log-variance over all frames of a study; frames count as independent, as published.

    Args:
        embeddings: float16 (frame, dim), unit length, at least one frame.
        epsilon: added to the population variance before the logarithm.

    Returns:
        mean: float32 (dim,), re-normalised to unit length.
        log_var: float32 (dim,), log(variance + epsilon).
    """
    mean = embeddings.mean(axis=0, dtype=np.float64)
    variance = embeddings.var(axis=0, dtype=np.float64)
    return (mean / np.linalg.norm(mean)).astype(np.float32), np.log(variance + epsilon).astype(np.float32)
