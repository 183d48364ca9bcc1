"""Pools: append-only, transactional, readable in xarray, one committer at a time."""

import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import numpy as np
import pytest
import xarray

from data_contracts.conventions import ContractError
from data_contracts.manifest import PoolSnapshot
from data_contracts.tables import ArrayContract
from echoingecg.common import StoreError
from helpers.paths import TESTS
from helpers.pools.signal_rows import LAYOUT, SIGNAL, key, rows
from tasks.base.workspace import Workspace
from tasks.pools import Pool, rows_by_key, sweep
from tasks.pools.pool import open_repository


@pytest.fixture
def pool(workspace: Workspace) -> Pool:
    return Pool(workspace, "ecg/test", LAYOUT)


def test_batches_grow_across_shards_and_old_snapshots_stay(pool: Pool, workspace: Workspace) -> None:
    with pool.writing():
        pool.append(rows(1, 2, 3), {key(9): ("truncated", "short")})
        old = pool.snapshot()
        pool.append(rows(*range(10, 17)), {key(8): ("nan", "a gap")})
        new = pool.snapshot()
    before, after = Pool.read(workspace, old), Pool.read(workspace, new)
    assert rows_by_key(before) == {key(1): 0, key(2): 1, key(3): 2}
    assert list(rows_by_key(after)) == [key(n) for n in (1, 2, 3, *range(10, 17))]
    assert np.asarray(after["signal"][:, 0, 0]).tolist() == [1, 2, 3, *range(10, 17)]
    assert pool.refused() == {key(9): ("truncated", "short"), key(8): ("nan", "a gap")}


def test_opens_in_xarray_with_names_and_units(pool: Pool, workspace: Workspace) -> None:
    with pool.writing():
        pool.append(rows(1, 2), {})
    group = Pool.read(workspace, pool.snapshot())
    dataset = xarray.open_zarr(group.store, consolidated=False, chunks=None)
    assert dict(dataset.sizes) == {"record": 2, "lead": 12, "time": 5, "byte": 32}
    assert dataset.signal.attrs["units"] == "mV"
    SIGNAL.check(group["signal"])
    for wrong in (
        ArrayContract("signal", ("record", "time", "lead"), "float32", "mV", ""),
        ArrayContract("signal", ("record", "lead", "time"), "float64", "mV", ""),
        ArrayContract("signal", ("record", "lead", "time"), "float32", "uV", ""),
        ArrayContract("signal", ("record", "lead", "time"), "float32", "mV", "", (("lead", 8),)),
    ):
        with pytest.raises(ContractError, match="signal"):
            wrong.check(group["signal"])


def test_killed_between_two_commits_the_last_one_is_whole(pool: Pool, workspace: Workspace) -> None:
    code = f"""
import os, signal, sys
sys.path.insert(0, {str(TESTS)!r})
from pathlib import Path
import zarr
from helpers.pools.signal_rows import LAYOUT, rows
from tasks.base.workspace import Workspace
from tasks.pools import Pool
pool = Pool(Workspace(Path({str(workspace.root)!r})), "ecg/test", LAYOUT)
with pool.writing():
    pool.append(rows(1, 2), {{}})
    session = pool._repository.writable_session("main")
    group = zarr.open_group(session.store, mode="a")
    group["key"].resize((7, 32))
    group["signal"].resize((7, 12, 5))
    group["signal"][2:] = 5
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", code], check=False, stderr=subprocess.PIPE)
    assert killed.returncode == -9, killed.stderr
    with pool.writing():  # the dead process's lock is free
        assert rows_by_key(Pool.read(workspace, pool.snapshot())) == {key(1): 0, key(2): 1}
        pool.append(rows(3), {})
    assert np.asarray(Pool.read(workspace, pool.snapshot())["signal"][:, 0, 0]).tolist() == [1, 2, 3]


def test_the_second_writer_says_that_it_waits(
    pool: Pool, workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    def second() -> None:
        with Pool(workspace, "ecg/test", LAYOUT).writing() as waited:
            waited.append(rows(2), {})

    with ThreadPoolExecutor(1) as thread:
        with pool.writing():
            waiting = thread.submit(second)
            while "another run writes to this pool: waiting for it" not in caplog.text:
                time.sleep(0.01)
            pool.append(rows(1), {})
        waiting.result(timeout=60)
    assert list(rows_by_key(Pool.read(workspace, pool.snapshot()))) == [key(1), key(2)]


def test_a_missing_pool_is_one_line(workspace: Workspace) -> None:
    with pytest.raises(StoreError, match="is gone") as fault:
        Pool.read(workspace, PoolSnapshot(path="pools/ecg/none", snapshot="1X8TRYPR83E05C4C5CZG"))
    assert "\n" not in str(fault.value)
    assert not (workspace.root / "pools").exists()


def test_a_clock_that_has_gone_back_is_one_line_or_a_short_wait(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    with pool.writing():
        pool.append(rows(1), {})
    real, slept = time.time, []
    monkeypatch.setattr("tasks.pools.pool.time.time", lambda: real() - 7200)
    with (
        pytest.raises(StoreError, match=r"newest commit is of 20.* UTC, later than .*: set the clock"),
        pool.writing(),
    ):
        raise AssertionError
    monkeypatch.setattr("tasks.pools.pool.time.time", lambda: real() - 20)
    monkeypatch.setattr("tasks.pools.pool.time.sleep", slept.append)
    with pool.writing():
        pool.append(rows(2), {})
    assert 15 < slept[0] <= 20


@pytest.mark.parametrize("lost", ["refs", "snapshots", "*"])
def test_a_pool_whose_making_was_killed_is_made_again(lost: str, workspace: Workspace) -> None:
    open_repository(workspace.root, "pools/ecg/test", create=True)
    for folder in (workspace.pools / "ecg" / "test").glob(lost):
        shutil.rmtree(folder)
    if lost != "snapshots":  # the branch is written last
        assert sweep(workspace, "pools/ecg/test", datetime.now(UTC), delete=True) == 0
    pool = Pool(workspace, "ecg/test", LAYOUT)
    with pool.writing():
        pool.append(rows(1), {})
    assert rows_by_key(Pool.read(workspace, pool.snapshot())) == {key(1): 0}
