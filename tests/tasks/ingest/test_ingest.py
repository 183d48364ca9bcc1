"""The ecg stage in blocks: the same bytes however they are cut and whoever makes them; growth; faults; death."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import dask.config
import distributed
import numpy as np
import pyarrow as pa
import pytest

from benchmarks.ecg_export import ecg_job, write_export
from data_contracts.quarantine import QUARANTINE
from echoingecg.common import StoreError, key_rows, no_progress
from helpers.cases.stage_runs import Run, run_stages
from helpers.paths import ROOT
from tasks.base.progress import Reporter
from tasks.base.workspace import Workspace
from tasks.ecg import LAYOUT
from tasks.ingest.blocks import Block, SourceFile
from tasks.ingest.ingest import BlockWriter, SourceFiles, ingest_blocks
from tasks.pools import Draft, Pool, rows_by_key

RECORDS = 60
DAMAGED = (3, 20, 21)


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ecgs")
    write_export(folder, RECORDS)
    files = sorted(folder.rglob("*.dat"))
    for number in DAMAGED:
        files[number].write_bytes(files[number].read_bytes()[:60_000])
    return folder


@pytest.fixture(scope="module")
def usual(export: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_stages(ecg_job(export, tmp_path_factory.mktemp("usual"), commit_every=2000), "catalog", "ecg")


def test_every_file_is_a_row_or_refused(usual: Run) -> None:
    counts = usual.artefacts["ecg"].manifest.counts
    assert (counts["records"], counts["refused"]) == (RECORDS - len(DAMAGED), len(DAMAGED))
    reasons = QUARANTINE.read(usual.artefacts["ecg"].folder)["reason"].to_pylist()
    assert reasons == ["truncated"] * len(DAMAGED)


@pytest.mark.parametrize("commit_every", [1, 7, 60])
def test_cut_otherwise(export: Path, usual: Run, tmp_path: Path, commit_every: int) -> None:
    run = run_stages(ecg_job(export, tmp_path, commit_every=commit_every), "catalog", "ecg")
    assert run.content == usual.content


def test_a_grown_export_adds_what_is_new_and_no_more(tmp_path: Path) -> None:
    write_export(tmp_path / "export", 30)
    first = run_stages(ecg_job(tmp_path / "export", tmp_path / "workspace"), "catalog", "ecg")
    write_export(tmp_path / "export", 33, before=30)
    grown = run_stages(ecg_job(tmp_path / "export", tmp_path / "workspace"), "catalog", "ecg")
    assert (first.artefacts["ecg"].manifest.run.new_keys, grown.artefacts["ecg"].manifest.run.new_keys) == (30, 3)
    fresh = run_stages(ecg_job(tmp_path / "export", tmp_path / "fresh"), "catalog", "ecg")
    assert fresh.content == grown.content
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "workspace" / "pools").rglob("*")}
    again = run_stages(ecg_job(tmp_path / "export", tmp_path / "workspace"), "catalog", "ecg")
    assert again.cached["ecg"]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "workspace" / "pools").rglob("*")} == before


def block(first: int, count: int) -> Block:
    signal = np.broadcast_to(np.arange(first, first + count, dtype=np.float32)[:, None, None], (count, 12, 1000))
    keys = key_rows([f"{number:064x}" for number in range(first, first + count)])
    rows = {"key": keys, "signal": signal, "quality": np.zeros((count, 12), np.uint8), "sha256": keys}
    return Block(count + 1, rows, {f"{1_000_000 + first:064x}": ("nan", "a gap")})


def test_shards_are_written_whole_and_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(Workspace(tmp_path), "ecg/test", LAYOUT)
    sizes: list[int] = []
    add = Draft.add

    def counted(draft: Draft, rows: Mapping[str, np.ndarray]) -> None:
        sizes.append(len(rows["key"]))
        add(draft, rows)

    with pool.writing():
        writer = BlockWriter(pool, 1500)
        monkeypatch.setattr(Draft, "add", counted)
        for first in range(0, 2400, 300):
            writer.write(block(first, 300))
        writer.finish()
        assert sizes == [1024, 1024, 352]
        group = Pool.read(pool.workspace, pool.snapshot())
    assert list(rows_by_key(group)) == [f"{number:064x}" for number in range(2400)]
    np.testing.assert_array_equal(group["signal"][:, 5, 7], np.arange(2400))
    assert len(pool.refused()) == 8


def _files(count: int) -> SourceFiles:
    keys = [f"{number:064x}" for number in range(count)]
    return SourceFiles(Path("export"), pa.table({"content_hash": keys, "sha256": keys, "path": ["x"] * count}))


def test_after_a_fault_earlier_commits_stand(tmp_path: Path) -> None:
    pool = Pool(Workspace(tmp_path), "ecg/test", LAYOUT)

    def blocks(groups: Iterable[Sequence[SourceFile]]) -> Iterator[Block]:
        yield block(0, 60)
        while len(rows_by_key(Pool.read(pool.workspace, pool.snapshot()))) < 60:
            time.sleep(0.01)
        yield block(60, 20)
        raise ZeroDivisionError

    with pool.writing():
        with pytest.raises(ZeroDivisionError):
            ingest_blocks(pool, _files(80), blocks, 60, 50, no_progress)
        assert len(rows_by_key(Pool.read(pool.workspace, pool.snapshot()))) == 60
        assert len(pool.refused()) == 1


def test_a_fault_of_the_writing_thread_is_raised_and_nothing_is_written_after_it(tmp_path: Path) -> None:
    pool = Pool(Workspace(tmp_path), "ecg/test", LAYOUT)
    wrong = Block(2, {"key": key_rows(["0" * 64]), "unheard": np.zeros(1)}, {})
    with pool.writing():
        before = pool.snapshot()
        with pytest.raises(KeyError):
            ingest_blocks(pool, _files(3), lambda groups: iter([wrong, block(0, 1), block(1, 1)]), 1, 1, no_progress)
        writer = BlockWriter(pool, 1)
        with pytest.raises(KeyError):
            writer.write(wrong)
        assert writer.write(block(0, 1)) == 0
        assert pool.snapshot() == before, "half a block would have been committed"


def test_no_scheduler_is_one_line(export: Path, tmp_path: Path) -> None:
    job = ecg_job(export, tmp_path, dask="tcp://127.0.0.1:9")
    quick = dask.config.set({"distributed.comm.timeouts.connect": "1s"})
    with quick, pytest.raises(StoreError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9") as fault:
        run_stages(job, "catalog", "ecg")
    assert "\n" not in str(fault.value)


@pytest.mark.slow
def test_a_local_cluster(export: Path, usual: Run, tmp_path: Path) -> None:
    run = run_stages(ecg_job(export, tmp_path, workers=2, commit_every=6), "catalog", "ecg")
    assert run.content == usual.content


@contextmanager
def _process(*arguments: str) -> Iterator[subprocess.Popen]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "DASK_LOGGING__DISTRIBUTED": "error"}
    with subprocess.Popen([sys.executable, "-m", "dask", *arguments], env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_a_worker_killed_on_the_way_changes_nothing(
    export: Path, usual: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scheduler and two worker processes; one is killed with SIGKILL when a third of the files are done."""
    place = ["--scheduler-file", str(tmp_path / "scheduler.json")]
    worker = ["worker", *place, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(tmp_path)]
    with (
        _process("scheduler", *place, "--port", "0", "--no-dashboard", "--host", "127.0.0.1"),
        _process(*worker) as victim,
        _process(*worker),
    ):
        deadline = time.monotonic() + 300
        while not (tmp_path / "scheduler.json").is_file() and time.monotonic() < deadline:
            time.sleep(0.1)
        with distributed.Client(scheduler_file=str(tmp_path / "scheduler.json"), timeout=300) as client:
            client.wait_for_workers(2, timeout=300)
            address = client.scheduler.address
            living = []

            def deadly(self: Reporter, done: int, total: int, note: str = "") -> None:
                if self.stage == "ecg" and done >= RECORDS // 3 and victim.poll() is None:
                    victim.send_signal(signal.SIGKILL)
                    victim.wait()
                if self.stage == "ecg" and done == total:
                    living.append(len(client.scheduler_info()["workers"]))

            monkeypatch.setattr(Reporter, "__call__", deadly)
            run = run_stages(ecg_job(export, tmp_path / "workspace", dask=address, commit_every=4), "catalog", "ecg")
    assert victim.returncode == -signal.SIGKILL
    assert living == [1]
    assert run.content == usual.content
