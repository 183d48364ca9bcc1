"""Garbage collection: what killed runs leave goes, what a run may need stays, whatever the clocks say."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from data_contracts.manifest import FILENAME
from data_contracts.tables import ArrayContract
from echoingecg.common import key_rows
from helpers.cases.republished import republish
from helpers.paths import ROOT
from tasks.base.workspace import Workspace
from tasks.operations.verify_and_collect import garbage_collect
from tasks.pools import Pool, PoolArray, rows_by_key
from tasks.store import Artefact, ArtefactStore, Built, Plan, leases

A_DAY = 25 * 3600.0
KEY = ArrayContract("key", ("record", "byte"), "uint8", "", "SHA-256 of the file", (("byte", 32),))
NOISE = ArrayContract("noise", ("record", "sample"), "float32", "mV", "too large to stand in the manifest")
LAYOUT = (PoolArray(KEY, (32,), 4, 4), PoolArray(NOISE, (1000,), 1, 4))


def publish(store: ArtefactStore, plan: Plan, number: int) -> Artefact:
    one = dataclasses.replace(plan, source={"export": str(number)})
    with store.locked(one), store.building(one) as folder:
        (folder / "file.txt").write_text(str(number))
        return store.publish(one, folder, Built({"rows": 1}), time.monotonic())


def files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock" and path.suffix != ".lock")


def age(folder: Path, seconds: float) -> None:
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (time.time() - seconds,) * 2)


def rows(*numbers: int) -> dict[str, np.ndarray]:
    noise = np.random.default_rng(numbers).normal(size=(len(numbers), 1000)).astype(np.float32)
    return {"key": key_rows([f"{number:064x}" for number in numbers]), "noise": noise}


@pytest.mark.parametrize(
    ("lock", "leftover"),
    [
        ("artefacts/.locks/student-ab.lock", "artefacts/student/.building-ab-x/file"),
        ("artefacts/.locks/student-ab.lock", "scratch/student/ab/checkpoint"),
        ("artefacts/.locks/fetch-student-ab.lock", "artefacts/student/.fetching-ab-x/file"),
        ("exports/simulated-ef.lock", "exports/simulated-ef.partial/file"),
    ],
)
def test_what_somebody_is_making_stays_for_days(store: ArtefactStore, lock: str, leftover: str) -> None:
    path = store.workspace.root / lock
    path.parent.mkdir(parents=True)
    (store.workspace.root / leftover).parent.mkdir(parents=True, exist_ok=True)
    (store.workspace.root / leftover).touch()
    age(store.workspace.root, 3 * A_DAY)
    with FileLock(path):
        assert list(garbage_collect(store, delete=True)) == []
    assert len(list(garbage_collect(store, delete=True))) == 1
    assert not (store.workspace.root / leftover).exists()


def test_a_pool_that_somebody_writes_to_is_left_alone(store: ArtefactStore, workspace: Workspace) -> None:
    pool = Pool(workspace, "ecg/test", LAYOUT)
    with pool.writing():
        pool.append(rows(1), {})
        pool.draft().add(rows(3, 4, 5))
        age(workspace.root / pool.place, A_DAY)
        assert list(garbage_collect(store, delete=True)) == []
    assert len(list(garbage_collect(store, delete=True))) == 1


def test_nothing_younger_than_a_day_goes_without_force(store: ArtefactStore, plan: Plan) -> None:
    old, new = publish(store, plan, 1), publish(store, plan, 2)
    assert list(garbage_collect(store, delete=True)) == []
    age(old.folder, A_DAY)
    assert list(garbage_collect(store, delete=False)) == [f"would delete artefacts/pairs/{old.version}"]
    publish(store, plan, 3)
    gone = [f"deleted artefacts/pairs/{version}" for version in sorted((old.version, new.version))]
    assert sorted(garbage_collect(store, delete=True, force=True)) == gone


def test_as_many_of_the_newest_as_asked_for_stay(store: ArtefactStore, plan: Plan) -> None:
    made = [publish(store, plan, number) for number in range(4)]
    store.set_alias("production", made[0])
    assert list(garbage_collect(store, delete=True, force=True, keep_last=2)) == [
        f"deleted artefacts/pairs/{made[1].version}"
    ]
    assert list(garbage_collect(store, delete=True, force=True, keep_last=9)) == []
    assert {one.version for one in store.here()} == {made[0].version, made[2].version, made[3].version}


def test_indexes_of_exports_that_nobody_looks_at_any_more_go_where_asked_for(store: ArtefactStore) -> None:
    private = store.workspace.private
    private.mkdir(parents=True)
    for name in ("sources-old.parquet", "sources-old.sha256", "rows-old.parquet", "pseudonym.key", "withdrawn"):
        (private / name).touch()
    age(private, 3 * A_DAY)
    (private / "sources-new.parquet").touch()
    assert list(garbage_collect(store, delete=True)) == []
    assert list(garbage_collect(store, delete=True, unused_days=4)) == []
    assert sorted(garbage_collect(store, delete=True, unused_days=2)) == [
        f"deleted private/{name}" for name in ("rows-old.parquet", "sources-old.parquet", "sources-old.sha256")
    ]
    assert sorted(path.name for path in private.iterdir()) == ["pseudonym.key", "sources-new.parquet", "withdrawn"]


HOLDER = """
import dataclasses, sys, time
from pathlib import Path
from data_contracts.conventions import STAGES
from tasks.base.workspace import Workspace
from tasks.store import ArtefactStore, Built, Plan, leases
store, plan = ArtefactStore(Workspace(Path({root!r}))), Plan(**{plan!r})
with leases.held(store.workspace):
    store.find("pairs", {needed!r})
    with store.locked(plan), store.building(plan) as folder:
        (folder / "file.txt").write_text("made")
        print(store.publish(plan, folder, Built({{}}), time.monotonic()).version, flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("end", ["killed", "ended"])
def test_what_a_live_run_made_and_needs_stays_and_goes_when_it_has_ended(
    store: ArtefactStore, plan: Plan, end: str
) -> None:
    """The run in another process; the kernel frees its lease, however it ends."""
    needed, newest = publish(store, plan, 1), dataclasses.replace(plan, source={"export": "made"})
    code = HOLDER.format(root=str(store.workspace.root), plan=dataclasses.asdict(newest), needed=needed.version)
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as run:
        assert run.stdout is not None
        made = run.stdout.readline().strip()
        surplus, last = publish(store, plan, 2), publish(store, plan, 3)
        assert list(garbage_collect(store, delete=True, force=True)) == [f"deleted artefacts/pairs/{surplus.version}"]
        assert store.find("pairs", needed.version)
        assert store.find("pairs", made)
        if end == "killed":
            run.kill()
        else:
            run.communicate("\n")
    gone = [f"deleted artefacts/pairs/{version}" for version in sorted((needed.version, made))]
    assert sorted(garbage_collect(store, delete=True, force=True)) == gone
    assert [one.version for one in store.here()] == [last.version]
    assert list((store.workspace.root / "leases").glob("[!.]*")) == []


def test_a_run_that_holds_everything_keeps_everything(store: ArtefactStore, plan: Plan) -> None:
    one = publish(store, plan, 1)
    publish(store, plan, 2)
    with leases.held(store.workspace, leases.EVERYTHING):
        assert list(garbage_collect(store, delete=True, force=True)) == []
    assert list(garbage_collect(store, delete=True, force=True)) == [f"deleted artefacts/pairs/{one.version}"]


LEFT = (
    "artefacts/ecg/.building-ab-x/file", "artefacts/ecg/.replaced/ab-1/file", "scratch/student/ab/checkpoint",
    "exports/simulated-ab.partial/file", "private/.sources-ab.parquet-7", "private/.pseudonym.key-7",
    "private/exports/.ab.json-7", "artefacts/aliases/.production-7", "decisions/.ab.json-7",
)  # fmt: skip
KEPT = (
    "private/sources-ab.parquet", "private/pseudonym.key", "private/exports/ab.json", "decisions/ab.json",
    "exports/simulated-ab/file", "artefacts/ecg/ab/file",
)  # fmt: skip


@pytest.mark.parametrize(("seconds", "left"), [(A_DAY, set()), (60, set(LEFT)), (-A_DAY, set(LEFT))])
def test_leftovers_go_once_they_are_a_day_old(store: ArtefactStore, seconds: float, left: set[str]) -> None:
    root = store.workspace.root
    for name in (*LEFT, *KEPT):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    age(root, seconds)
    listed = list(garbage_collect(store, delete=False))
    assert len(listed) == len(LEFT) - len(left)
    assert [line.replace("deleted", "would delete") for line in garbage_collect(store, delete=True)] == listed
    assert {str(path.relative_to(root)) for path in files(root)} == left | set(KEPT)


def test_two_collectors_at_once_remove_everything_and_neither_fails(store: ArtefactStore) -> None:
    root = store.workspace.root
    for number in range(40):
        folder = root / f"artefacts/ecg/.building-{number:016x}-{number}"
        folder.mkdir(parents=True)
        for file in range(40):
            (folder / str(file)).touch()
    age(root, A_DAY)
    with ThreadPoolExecutor(4) as threads:
        lists = list(threads.map(lambda _: list(garbage_collect(ArtefactStore(store.workspace), True)), range(4)))
    assert len({line for lines in lists for line in lines}) == 40
    assert list(files(root)) == []


def test_chunks_of_a_killed_commit_go_and_every_commit_stays(store: ArtefactStore, workspace: Workspace) -> None:
    pool = Pool(workspace, "ecg/test", LAYOUT)
    with pool.writing():
        pool.append(rows(1), {})
        first = pool.snapshot()
        pool.append(rows(2), {})
        sound = set(files(workspace.root / pool.place))
        pool.draft().add(rows(3, 4, 5))
        lost = set(files(workspace.root / pool.place)) - sound
        assert lost
        second = pool.snapshot()
    assert list(garbage_collect(store, delete=True)) == [], "they may be young"
    age(workspace.root / pool.place, A_DAY)
    [listed] = garbage_collect(store, delete=False)
    assert listed.endswith("bytes that no commit holds in pools/ecg/test")
    assert lost <= set(files(workspace.root / pool.place))
    assert len(list(garbage_collect(store, delete=True))) == 1
    assert set(files(workspace.root / pool.place)) & lost == set()
    assert list(garbage_collect(store, delete=True)) == []
    with pool.writing():
        pool.append(rows(6), {})
    for snapshot, count in ((first, 1), (second, 2), (pool.snapshot(), 3)):
        assert len(rows_by_key(Pool.read(workspace, snapshot))) == count


@pytest.mark.parametrize("finished", ["2099-01-01T00:00:00+00:00", "1970-01-01T00:00:00+00:00"])
def test_the_newest_is_kept_though_clocks_jump(store: ArtefactStore, plan: Plan, finished: str) -> None:
    old = publish(store, plan, 1)
    manifest = json.loads((old.folder / FILENAME).read_text())
    manifest["run"]["finished"] = finished
    republish(old.folder, run=manifest["run"])
    new = publish(store, plan, 2)
    assert [one.version for one in store.published("pairs")] == [old.version, new.version]
    assert list(garbage_collect(store, delete=True, force=True)) == [f"deleted artefacts/pairs/{old.version}"]
    assert store.find("pairs", new.version)


def test_versions_of_one_second_keep_their_order(store: ArtefactStore, plan: Plan) -> None:
    made = [publish(store, plan, number).version for number in range(6)]
    assert [one.version for one in store.published("pairs")] == made
