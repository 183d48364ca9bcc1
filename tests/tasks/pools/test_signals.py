"""Signals of an artefact: what the pool holds, in any order, with flat memory; damage is mended or told."""

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_contracts.ecg import CONTRACT_VERSION, RECORDS
from data_contracts.manifest import POOL_CONTENT
from echoingecg.common import StoreError, hash_array, key_rows
from helpers.cases.republished import republish
from tasks.base.workspace import Workspace
from tasks.ecg import LAYOUT
from tasks.pools import Pool, PoolArray, PoolSignals, write_pool_content
from tasks.pools import signals as signal_cache
from tasks.store import Artefact, ArtefactStore, Built, Plan

COMMIT = 700  # rows; neither a divisor nor a multiple of a shard


def signals_of(pool_rows: range) -> np.ndarray:
    return np.stack([np.random.default_rng(row).normal(size=(12, 1000)).astype(np.float32) for row in pool_rows])


def publish(workspace: Workspace, held: int, listed: list[int], layout: tuple[PoolArray, ...] = LAYOUT) -> Artefact:
    """A pool of `held` signals and an artefact of some of its rows, in the order given; a row may repeat."""
    pool = Pool(workspace, "ecg/test", layout)
    digests: list[str] = []
    with pool.writing():
        for first in range(0, held, COMMIT):
            rows = range(first, min(held, first + COMMIT))
            signal = signals_of(rows)
            digests += [hash_array(one) for one in signal]
            pool.append(
                {
                    "key": key_rows([f"{row:064x}" for row in rows]),
                    "signal": signal,
                    "quality": np.zeros((len(rows), 12), np.uint8),
                    "sha256": key_rows(digests[first:]),
                },
                {},
            )
        snapshot = pool.snapshot()
    store = ArtefactStore(workspace)
    plan = Plan("ecg", CONTRACT_VERSION, 1, {"held": held, "listed": len(listed)}, {}, {})
    rows_of_table = [
        {
            "record_id": f"r{at}",
            "patient_id": "p",
            "content_hash": f"{row:064x}",
            "flagged_leads": 0,
            "lead_findings": 0,
            "record_findings": 0,
            "recording_id": f"r{at}",
            "use": "keep",
        }
        for at, row in enumerate(listed)
    ]
    with store.locked(plan), store.building(plan) as folder:
        RECORDS.write(RECORDS.build(rows_of_table), folder)
        write_pool_content(folder, Pool.read(workspace, snapshot), np.array(listed))
        return store.publish(plan, folder, Built({"records": len(listed)}, snapshot), time.monotonic())


LISTED = [7, 3, 39, 3, 0, 21, 38]  # a subset in no order; one content under two records


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Artefact]:
    workspace = Workspace(tmp_path_factory.mktemp("signals"))
    shards_of_16 = tuple(PoolArray(one.contract, one.tail, 8, 16) for one in LAYOUT)
    return workspace, publish(workspace, 40, LISTED, shards_of_16)


@pytest.fixture
def case(published: tuple[Workspace, Artefact], tmp_path: Path) -> tuple[Workspace, Artefact, Path]:
    """A workspace of its own, the artefact, and where the file of signals goes."""
    shutil.copytree(published[0].root, tmp_path / "workspace", ignore=shutil.ignore_patterns("scratch"))
    workspace = Workspace(tmp_path / "workspace")
    artefact = ArtefactStore(workspace).get(str(published[1]))
    return workspace, artefact, workspace.scratch("ecg", artefact.version) / "signals.f32"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.integers(0, len(LISTED) - 1), max_size=20))
def test_any_rows_in_any_order(published: tuple[Workspace, Artefact], rows: list[int]) -> None:
    reader = PoolSignals(*published)
    found = reader.read(np.array(rows, np.int64))
    expected = [signals_of(range(LISTED[row], LISTED[row] + 1))[0] for row in rows]
    assert found.dtype == np.float32
    assert found.shape == (len(rows), 12, 1000)
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, two)
    assert len(reader) == len(reader.record_ids) == len(LISTED)


def test_the_file_is_made_once_and_again_after_deletion(case: tuple[Workspace, Artefact, Path]) -> None:
    workspace, artefact, path = case
    everything = np.arange(len(LISTED))
    first = PoolSignals(workspace, artefact).read(everything)
    assert path.stat().st_size == len(set(LISTED)) * 48_000
    made = path.stat().st_mtime_ns
    PoolSignals(workspace, artefact).read(everything)
    assert path.stat().st_mtime_ns == made
    reader = PoolSignals(workspace, artefact)
    reader.read(everything[:1])
    shutil.rmtree(path.parent)
    np.testing.assert_array_equal(reader.read(everything), first)  # an open file outlives its name
    np.testing.assert_array_equal(PoolSignals(workspace, artefact).read(everything), first)
    assert not path.with_suffix(".part").exists()


def _flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[100_001] ^= 1
    path.write_bytes(content)


def _zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))  # what a power cut can leave


def _halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("damage", [_flip_a_bit, _zero, _halve])
@pytest.mark.parametrize("open_already", [False, True])
def test_a_damaged_file_is_made_again(
    case: tuple[Workspace, Artefact, Path], damage: Callable[[Path], None], open_already: bool
) -> None:
    workspace, artefact, path = case
    everything = np.arange(len(LISTED))
    sound = PoolSignals(workspace, artefact).read(everything)
    reader = PoolSignals(workspace, artefact)
    if open_already:
        reader.read(everything[4:5])  # a record that stays whole: one that was checked is not checked again
    damage(path)
    np.testing.assert_array_equal(reader.read(everything), sound)
    np.testing.assert_array_equal(PoolSignals(workspace, artefact).read(everything), sound)


def test_a_file_cut_short_under_a_reader_that_has_checked_it(case: tuple[Workspace, Artefact, Path]) -> None:
    workspace, artefact, path = case
    reader = PoolSignals(workspace, artefact)
    sound = reader.read(np.arange(len(LISTED)))
    _halve(path)
    np.testing.assert_array_equal(reader.read(np.arange(len(LISTED))), sound)


def test_what_the_pool_no_longer_holds_is_one_line(case: tuple[Workspace, Artefact, Path]) -> None:
    workspace, artefact, _ = case
    table, content = RECORDS.read(artefact.folder).to_pylist(), artefact.folder / POOL_CONTENT
    sound = content.read_text()
    content.write_text("0" * 64 + "\n")
    republish(artefact.folder)
    with pytest.raises(StoreError, match="no longer holds") as fault:
        PoolSignals(workspace, artefact)
    assert "\n" not in str(fault.value)
    content.write_text(sound)
    RECORDS.write(RECORDS.build([{**row, "content_hash": "f" * 64} for row in table]), artefact.folder)
    republish(artefact.folder)
    with pytest.raises(StoreError, match="lacks 7 contents"):
        PoolSignals(workspace, artefact)


def test_one_digest_of_all_content_in_whatever_order(published: tuple[Workspace, Artefact], tmp_path: Path) -> None:
    workspace, artefact = published
    assert artefact.manifest.run.pool is not None
    group = Pool.read(workspace, artefact.manifest.run.pool)
    pairs = sorted((f"{row:064x}", hash_array(signals_of(range(row, row + 1))[0])) for row in set(LISTED))
    slowly = hashlib.sha256(b"".join(bytes.fromhex(part) for pair in pairs for part in pair)).hexdigest()
    for order in (LISTED, LISTED[::-1]):
        write_pool_content(tmp_path, group, np.array(order))
        assert (tmp_path / POOL_CONTENT).read_text() == f"{slowly}\n"
    write_pool_content(tmp_path, group, np.array(LISTED[1:]))
    assert (tmp_path / POOL_CONTENT).read_text() != f"{slowly}\n"


def test_a_full_disk_is_one_line_and_leaves_nothing(
    case: tuple[Workspace, Artefact, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, artefact, path = case

    def full(descriptor: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(signal_cache.os, "posix_fallocate", full)
    with pytest.raises(StoreError, match="disk is full"):
        PoolSignals(workspace, artefact).read(np.array([0]))
    assert [one.suffix for one in path.parent.iterdir()] == [".lock"]


def test_a_writer_that_was_killed_leaves_no_file(case: tuple[Workspace, Artefact, Path]) -> None:
    workspace, artefact, path = case
    code = f"""
import os, signal
import numpy as np
from pathlib import Path
from tasks.pools import signals
from tasks.store import ArtefactStore
from tasks.base.workspace import Workspace

def deadly(array, rows):
    yield np.zeros((1, 12, 1000), np.float32)
    os.kill(os.getpid(), signal.SIGKILL)

signals.pool_blocks = deadly
workspace = Workspace(Path({str(workspace.root)!r}))
signals.PoolSignals(workspace, ArtefactStore(workspace).get({str(artefact)!r})).read(np.array([0]))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert not path.exists()
    assert PoolSignals(workspace, artefact).read(np.array([4]))[0, 0, 0] == signals_of(range(1))[0, 0, 0]
    assert sorted(one.name for one in path.parent.iterdir()) == ["signals.f32", "signals.lock"]


def test_threads_that_find_the_same_damage(case: tuple[Workspace, Artefact, Path]) -> None:
    workspace, artefact, path = case
    everything = np.arange(len(LISTED))
    sound = PoolSignals(workspace, artefact).read(everything)
    reader = PoolSignals(workspace, artefact)
    _zero(path)
    found: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: found.append(reader.read(everything))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for one in found:
        np.testing.assert_array_equal(one, sound)


_EPOCH = """
from pathlib import Path
import numpy as np
from tasks.base.workspace import Workspace
from tasks.pools import PoolSignals
from tasks.store import ArtefactStore
workspace = Workspace(Path({root!r}))
reader = PoolSignals(workspace, ArtefactStore(workspace).get({artefact!r}))
for batch in np.array_split(np.random.default_rng(0).permutation(len(reader)), len(reader) // 100):
    reader.read(batch)
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM:")).split()[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_memory_is_flat(tmp_path: Path) -> None:
    """The copy from the pool and an epoch of shuffled batches: 960 MB of signals take no more than 96 MB do."""
    peak = {}
    for records in (2_000, 20_000):
        workspace = Workspace(tmp_path / str(records))
        artefact = publish(workspace, records, list(range(records)))
        code = _EPOCH.format(root=str(workspace.root), artefact=str(artefact))
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        peak[records] = int(done.stdout)
    assert peak[20_000] <= 1.2 * peak[2_000], peak


def test_another_process_opens_the_file_for_itself(published: tuple[Workspace, Artefact]) -> None:
    signals = PoolSignals(*published)
    rows = np.arange(len(signals))
    expected = signals.read(rows)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        assert np.array_equal(processes.submit(signals.read, rows).result(), expected)
