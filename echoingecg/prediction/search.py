"""Exact search for the nearest Gaussians by the closed-form sampled distance, in chunks of bounded memory."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from echoingecg.evaluation.data.embed import GaussianTable, sampled_distances

ROWS_PER_CHUNK = 8192  # of the gallery: 34 MB as float64 at an embedding width of 512


@dataclass(frozen=True)
class Nearest:
    """The k nearest gallery rows of each of q queries, nearest first; at equal distance the first in the gallery.

    Attributes:
        distance: (q, k) float64.
        row: (q, k) int64, row in the gallery.
    """

    distance: np.ndarray
    row: np.ndarray


def find_nearest(queries: GaussianTable, gallery: Iterable[GaussianTable], k: int) -> Nearest:
    """Finds the nearest gallery rows by measuring every pair.

    Args:
        queries: q Gaussians; a few, since the (q, m) distances to a chunk are held at once.
        gallery: in chunks, see `split_into_chunks`; rows are numbered across chunks.
        k: at least 1; fewer are found in a smaller gallery.
    """
    distance, row = np.empty((len(queries), 0)), np.empty((len(queries), 0), np.int64)
    start = 0
    for chunk in gallery:
        numbers = np.broadcast_to(np.arange(start, start + len(chunk)), (len(queries), len(chunk)))
        distance = np.concatenate([distance, sampled_distances(queries, chunk)], axis=1)
        row = np.concatenate([row, numbers], axis=1)
        first = np.argsort(distance, axis=1, kind="stable")[:, :k]  # rows ascend among equals, so the first stays first
        distance, row = np.take_along_axis(distance, first, axis=1), np.take_along_axis(row, first, axis=1)
        start += len(chunk)
    return Nearest(distance, row)


def split_into_chunks(gallery: GaussianTable, size: int = ROWS_PER_CHUNK) -> Iterator[GaussianTable]:
    """Splits a gallery into chunks; its mean may be a memory map."""
    yield from (gallery[start : start + size] for start in range(0, len(gallery), size))
