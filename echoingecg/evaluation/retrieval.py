"""Retrieval: is the echo study of an ECG among the nearest ones? Exact, in chunks."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from echoingecg.evaluation.gaussians import Gaussians, sampled_distances

KS: Final = (1, 5, 10)
_ELEMENTS: Final = 4_000_000  # distances held at once: 32 MB


@dataclass(frozen=True)
class Retrieval:
    """Recall at each of KS over `queries` ECGs and `gallery` studies, and what chance would give."""

    queries: int
    gallery: int
    recall: tuple[float, ...]
    chance: tuple[float, ...]


def retrieve(
    ecgs: Gaussians, studies: Gaussians, query: np.ndarray, match: np.ndarray, elements: int = _ELEMENTS
) -> Retrieval:
    """Recall@k from ECG to echo study by the closed-form sampled distance.

    A study stands in the gallery once, however many ECGs it is paired with; an ECG paired with several
    studies is found when any of them is. Equal distances count against the match, so that collapsed
    embeddings score no better than they should. Chance is 1 - C(N - m, k) / C(N, k) for m matches of N
    studies, averaged over ECGs.

    Args:
        ecgs: q ECGs, each with at least one match.
        studies: N studies, N >= 1.
        query: (p,) int64 into the ECGs, one entry a pair.
        match: (p,) int64 into the studies.
        elements: distances held in memory at once.
    """
    order = np.argsort(query, kind="stable")
    query, match = query[order], match[order]
    chunk = max(1, elements // len(studies))
    ahead, matches = np.empty(len(ecgs), np.int64), np.empty(len(ecgs), np.int64)
    for start in range(0, len(ecgs), chunk):
        stop = min(start + chunk, len(ecgs))
        distance = sampled_distances(ecgs[start:stop], studies)
        first, last = np.searchsorted(query, [start, stop])
        own = np.zeros(distance.shape, dtype=bool)
        own[query[first:last] - start, match[first:last]] = True
        nearest = np.where(own, distance, np.inf).min(axis=1)
        ahead[start:stop] = ((distance <= nearest[:, None]) & ~own).sum(axis=1)
        matches[start:stop] = own.sum(axis=1)
    return Retrieval(
        queries=len(ecgs),
        gallery=len(studies),
        recall=tuple(float((ahead < k).mean()) for k in KS),
        chance=tuple(_chance(matches, len(studies), k) for k in KS),
    )


def _chance(matches: np.ndarray, gallery: int, k: int) -> float:
    missed = np.ones(len(matches))
    for taken in range(min(k, gallery)):
        missed *= np.maximum(gallery - matches - taken, 0) / (gallery - taken)
    return float(1.0 - missed.mean())
