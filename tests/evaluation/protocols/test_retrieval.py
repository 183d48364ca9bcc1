"""Retrieval against sorting, with several true matches a row, in bounded memory."""

import tracemalloc
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echoingecg.evaluation.data.embed import GaussianTable, sampled_distances
from echoingecg.evaluation.protocols import retrieval
from echoingecg.evaluation.protocols.retrieval import RECALL_AT, retrieve


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(1, 25), st.integers(1, 60), st.integers(1, 30))
def test_retrieval_against_sorting(seed: int, queries: int, gallery: int, elements: int, tile: int) -> None:
    generator = np.random.default_rng(seed)
    ecgs = GaussianTable.from_log_var(generator.normal(size=(queries, 4)), generator.normal(size=(queries, 4)))
    studies = GaussianTable.from_log_var(generator.normal(size=(gallery, 4)), generator.normal(size=(gallery, 4)))
    query = np.append(np.arange(queries), generator.integers(0, queries, 5))
    match = generator.integers(0, gallery, len(query))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "_TILE", tile)
        found = retrieve(ecgs, studies, query, match, elements)
    distance = sampled_distances(ecgs, studies)
    ranks = []
    for one in range(queries):
        order = np.argsort(distance[one]).tolist()
        ranks.append(1 + min(order.index(own) for own in match[query == one]))
    assert found.median_rank == np.median(ranks)
    for k, recall, chance in zip(RECALL_AT, found.recall, found.chance, strict=True):
        lucky = []
        for one in range(queries):
            own = set(match[query == one].tolist())
            lucky.append(1 - comb(gallery - len(own), min(k, gallery)) / comb(gallery, min(k, gallery)))
        assert recall == pytest.approx(np.mean(np.array(ranks) <= k))
        assert chance == pytest.approx(np.mean(lucky))


def test_recall_at_1_5_and_10_of_planted_ranks() -> None:
    """Gallery rows on a line, all queries at 0: the match in row r has rank r + 1."""
    gallery = GaussianTable.from_points(np.arange(1, 21, dtype=np.float32)[:, None])
    queries = GaussianTable.from_points(np.zeros((5, 1), np.float32))
    found = retrieve(queries, gallery, np.arange(5), np.array([1, 5, 6, 10, 11]) - 1)
    assert found.recall == pytest.approx((0.2, 0.4, 0.8))
    assert found.median_rank == 6
    rows = list(found.rows("ecg_to_echo"))
    assert [(row["k"], row["recall"]) for row in rows] == [(1, 0.2), (5, 0.4), (10, 0.8)]
    assert [row["chance"] for row in rows] == pytest.approx([1 / 20, 5 / 20, 10 / 20])


def test_a_collapsed_embedding_finds_nothing() -> None:
    same = GaussianTable.from_log_var(np.ones((20, 4)), np.zeros((20, 4)))
    found = retrieve(same, same, np.arange(20), np.arange(20))
    assert found.recall == (0.0, 0.0, 0.0)
    assert found.median_rank == 20
    assert found.chance == pytest.approx((0.05, 0.25, 0.5))


def test_memory_does_not_grow_with_the_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The distances of 4,000 x 4,000 are 128 MB; a sixteenth of them at a time is 8 MB."""
    rows = GaussianTable.from_points(np.random.default_rng(0).normal(size=(4000, 8)).astype(np.float32))
    own = np.arange(4000)
    monkeypatch.setattr(retrieval, "_TILE", 400)
    tracemalloc.start()
    found = retrieve(rows, rows, own, own, elements=4000 * 4000 // 16)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found.recall[0], found.median_rank) == (1.0, 1.0)
    assert peak < 20e6
