"""Retrieval: how often the true match is among the nearest rows; exact, in chunks."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from echoingecg.evaluation.data.embed import GaussianTable, sampled_distances

ECG_TO_ECHO = "ecg_to_echo"
ECHO_TO_ECG = "echo_to_ecg"
RECALL_AT = (1, 5, 10)
_ELEMENTS = 8_000_000  # distances held at once: 64 MB
_TILE = 4096  # gallery rows turned into float64 at once: 16 MB at 512 dimensions
_TIE = 1 + 1e-12  # distances this close count as equal: their sums may be rounded in another order


@dataclass(frozen=True)
class Retrieval:
    """Ranks of the true matches of `queries` rows among `gallery` rows, nearest first.

    Attributes:
        recall: at each k of RECALL_AT.
        chance: recall of a random order, at each k of RECALL_AT.
        median_rank: median over queries of the rank of the nearest true match, 1 is best.
    """

    queries: int
    gallery: int
    recall: tuple[float, ...]
    chance: tuple[float, ...]
    median_rank: float

    def rows(self, direction: str) -> Iterator[dict[str, Any]]:
        """Rows of evaluation_details.RETRIEVAL."""
        for k, recall, chance in zip(RECALL_AT, self.recall, self.chance, strict=True):
            yield {
                "direction": direction,
                "queries": self.queries,
                "gallery": self.gallery,
                "k": k,
                "recall": recall,
                "chance": chance,
                "median_rank": self.median_rank,
            }


def retrieve(
    queries: GaussianTable, gallery: GaussianTable, query: np.ndarray, match: np.ndarray, elements: int = _ELEMENTS
) -> Retrieval:
    """Recall@k and median rank by the closed-form sampled distance: from ECG to echo study, or the other way.

    A row is in the gallery once, however many queries it is paired with; a query with several matches is found when any
    of them is. Equal distances count against the match, so that collapsed embeddings do not score too well. Chance is
    1 - C(N - m, k) / C(N, k) for m matches of N rows, averaged over queries.

    Args:
        queries: q Gaussians, each with at least one match.
        gallery: N Gaussians, N >= 1.
        query: (p,) int64 into the queries, one entry for each pair; a pair may occur twice.
        match: (p,) int64 into the gallery.
        elements: distances held in memory at once, but at least one query's.
    """
    query, match = np.unique(np.stack([query, match]), axis=1)
    chunk = max(1, elements // len(gallery))
    ahead = np.empty(len(queries), np.int64)
    for start in range(0, len(queries), chunk):
        stop = min(start + chunk, len(queries))
        distance = np.empty((stop - start, len(gallery)))
        for tile in range(0, len(gallery), _TILE):
            place = slice(tile, tile + _TILE)
            distance[:, place] = sampled_distances(queries[start:stop], gallery[place])
        first, last = np.searchsorted(query, [start, stop])
        own = distance[query[first:last] - start, match[first:last]]
        begins = np.searchsorted(query[first:last], np.arange(start, stop))
        limit = np.minimum.reduceat(own, begins) * _TIE
        own_within = np.add.reduceat(own <= limit[query[first:last] - start], begins, dtype=np.int64)
        ahead[start:stop] = np.count_nonzero(distance <= limit[:, None], axis=1) - own_within
    matches = np.bincount(query, minlength=len(queries))
    return Retrieval(
        queries=len(queries),
        gallery=len(gallery),
        recall=tuple(float((ahead < k).mean()) for k in RECALL_AT),
        chance=tuple(_chance(matches, len(gallery), k) for k in RECALL_AT),
        median_rank=float(np.median(ahead + 1)),
    )


def _chance(matches: np.ndarray, gallery: int, k: int) -> float:
    missed = np.ones(len(matches))
    for taken in range(min(k, gallery)):
        missed *= np.maximum(gallery - matches - taken, 0) / (gallery - taken)
    return float(1.0 - missed.mean())
