"""Nearest Gaussians by the closed-form sampled distance: exact, in chunks, in memory that does not grow."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from echoingecg.evaluation.data.embed import Gaussians, sampled_distances

CHUNK = 8192  # of a gallery: 34 MB as float64 at D 512


@dataclass(frozen=True)
class Nearest:
    """The k nearest of each of q queries, nearest first; of equals the first in the gallery.

    Attributes:
        distance: (q, k) float64.
        row: (q, k) int64, in the gallery.
    """

    distance: np.ndarray
    row: np.ndarray


def nearest(queries: Gaussians, gallery: Iterable[Gaussians], k: int) -> Nearest:
    """Exact search: every pair is measured.

    Args:
        queries: q Gaussians; keep them few, a chunk's (q, m) distances are held at once.
        gallery: in chunks; rows are numbered through them. See `chunks`.
        k: at least 1; fewer are found in a smaller gallery.
    """
    distance, row = np.empty((len(queries), 0)), np.empty((len(queries), 0), np.int64)
    start = 0
    for chunk in gallery:
        at = np.broadcast_to(np.arange(start, start + len(chunk)), (len(queries), len(chunk)))
        distance = np.concatenate([distance, sampled_distances(queries, chunk)], axis=1)
        row = np.concatenate([row, at], axis=1)
        first = np.argsort(distance, axis=1, kind="stable")[:, :k]  # rows ascend among equals, so the first stays first
        distance, row = np.take_along_axis(distance, first, axis=1), np.take_along_axis(row, first, axis=1)
        start += len(chunk)
    return Nearest(distance, row)


def chunks(gallery: Gaussians, size: int = CHUNK) -> Iterator[Gaussians]:
    """A gallery piece by piece; its mean may be a memory map."""
    yield from (gallery[start : start + size] for start in range(0, len(gallery), size))
