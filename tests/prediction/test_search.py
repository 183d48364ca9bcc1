"""Exact search against the slow way, and what it holds in memory at 100,000 studies."""

import tracemalloc
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from echoingecg.evaluation.data.embed import GaussianTable, find_nearest, split_into_chunks


def gaussians(count: int, dim: int, seed: int) -> tuple[GaussianTable, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    mean = generator.integers(-1, 2, (count, dim)).astype(np.float32)  # few values: many equal distances
    log_var = np.log(generator.integers(1, 3, (count, dim))).astype(np.float32)
    return GaussianTable.from_log_var(mean, log_var), mean.astype(float), np.rint(np.exp(log_var.astype(float)))


@given(st.integers(0, 3), st.integers(0, 40), st.integers(1, 9), st.integers(1, 50), st.integers(0, 99))
def test_against_every_distance_sorted(queries: int, gallery: int, size: int, k: int, seed: int) -> None:
    (a, mean_a, var_a), (b, mean_b, var_b) = gaussians(queries, 3, seed), gaussians(gallery, 3, seed + 100)
    b = replace(b, total_variance=var_b.sum(axis=1))  # whole numbers: equal distances are equal
    found = find_nearest(a, split_into_chunks(b, size), k)
    assert found.row.shape == (queries, min(k, gallery))
    for at in range(queries):
        slow = [((mean_a[at] - m) ** 2).sum() + var_a[at].sum() + v.sum() for m, v in zip(mean_b, var_b, strict=True)]
        order = sorted(range(gallery), key=lambda one: (slow[one], one))[:k]
        assert found.row[at].tolist() == order
        np.testing.assert_allclose(found.distance[at], [slow[one] for one in order], rtol=1e-6)


def test_a_hundred_thousand_studies_in_bounded_memory() -> None:
    generator = np.random.default_rng(7)
    mean = generator.standard_normal((100_000, 512), dtype=np.float32)
    own = generator.uniform(0.5, 2, 100_000)
    gallery, query = GaussianTable(mean, own, own, own), GaussianTable(mean[77_777:77_778], own[:1], own[:1], own[:1])
    tracemalloc.start()
    try:
        found = find_nearest(query, split_into_chunks(gallery), 10)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100e6  # the gallery as float64 would be 410 MB
    direct = ((mean - mean[77_777]) ** 2).sum(axis=1, dtype=np.float64) + own + own[0]
    assert found.row[0].tolist() == np.argsort(direct)[:10].tolist()
    np.testing.assert_allclose(found.distance[0], np.sort(direct)[:10], rtol=1e-5, atol=1e-3)
