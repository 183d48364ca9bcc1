"""Pools on S3: several machines may write at once, and nothing is lost, doubled or mixed up."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

from data_contracts.manifest import PoolSnapshot
from echoingecg.common import StoreError
from helpers.paths import ROOT, TESTS
from helpers.pools.clip_rows import LAYOUT, on_machine, rows
from helpers.pools.signal_rows import key
from tasks.base.workspace import Workspace
from tasks.pools import Pool, rows_by_key


def held(group: zarr.Group) -> list[int]:
    """Numbers of the clips in the order of the pool, after every vector was found where it should be."""
    starts, counts, vectors = (np.asarray(group[name][:]) for name in ("start", "count", "vector"))
    for start, count in zip(starts, counts, strict=True):
        assert vectors[start : start + count].tolist() == [[count, count]] * count
    assert len(vectors) == counts.sum()
    keys = [bytes(one).hex() for one in np.asarray(group["key"][:])]
    assert keys == [key(count) for count in counts]
    assert len(rows_by_key(group)) == len(keys), "a key stands there twice"
    return [int(count) for count in counts]


def test_two_machines_that_write_at_once_lose_and_double_nothing(tmp_path: Path, bucket: str) -> None:
    first, second = on_machine("a", tmp_path, bucket), on_machine("b", tmp_path, bucket)
    with first.writing() as one, second.writing() as other:
        drafts = one.draft(), other.draft()
        drafts[0].add(rows(1, 2))
        drafts[1].add(rows(2, 3))
        drafts[1].add(rows(4))
        drafts[0].commit({key(9): ("truncated", "short")})
        old = one.snapshot()
        drafts[1].commit({key(8): ("nan", "a gap")})
        other.append(rows(1, 5), {})  # 1 came from the other machine in the meantime
        one.append(rows(6), {})
    assert held(Pool.read(first.workspace, old)) == [1, 2]
    assert held(Pool.read(first.workspace, second.snapshot())) == [1, 2, 3, 4, 5, 6]
    assert first.refused() == {key(9): ("truncated", "short"), key(8): ("nan", "a gap")}
    assert first.snapshot().path.startswith("s3://bucket/")
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_what_s3_says_is_one_line(tmp_path: Path, bucket: str) -> None:
    says = r"pool s3://nowhere/teacher/test: .*NoSuchBucket.*check AWS_ENDPOINT_URL"
    nowhere = Pool(Workspace(tmp_path), "teacher/test", LAYOUT, "s3://nowhere")
    with pytest.raises(StoreError, match=says) as caught, nowhere.writing():
        pass
    assert "\n" not in str(caught.value)
    with pytest.raises(StoreError, match=r"pool s3://bucket/none: .*check AWS_ENDPOINT_URL"):
        Pool.read(Workspace(tmp_path), PoolSnapshot(path=f"{bucket}/none", snapshot="1X8TRYPR83E05C4C5CZG"))


@pytest.mark.slow
def test_two_processes_with_keys_in_common_write_each_once(tmp_path: Path, bucket: str) -> None:
    code = f"""
import sys
from pathlib import Path
sys.path[:0] = {[str(TESTS), str(ROOT)]}
from helpers.pools.clip_rows import on_machine, rows
with on_machine(sys.argv[1], Path({str(tmp_path)!r}), {bucket!r}).writing() as pool:
    for number in map(int, sys.argv[2:]):
        pool.append(rows(number), {{}})
"""
    runs = [
        subprocess.Popen([sys.executable, "-c", code, name, *map(str, numbers)])
        for name, numbers in (("a", range(1, 31)), ("b", range(40, 10, -1)))
    ]
    assert [run.wait(120) for run in runs] == [0, 0]
    pool = on_machine("c", tmp_path, bucket)
    assert sorted(held(Pool.read(pool.workspace, pool.snapshot()))) == [*range(1, 41)]
