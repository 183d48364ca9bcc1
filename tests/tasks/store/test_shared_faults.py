"""Kills, full disks, garbage and goodbyes around the shared store: all recover, nothing is lost."""

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from echoingecg.common import StoreError
from helpers.servers.shared_machines import bytes_of, keys, machine, publish
from tasks.base.workspace import Workspace
from tasks.operations import verify_and_collect as collecting
from tasks.operations.verify_and_collect import garbage_collect, garbage_collect_shared, shared_faults
from tasks.store import ArtefactStore, Plan, SharedStore, joined, leave, sharing

KILLED = """
import os, signal, sys, time
from pathlib import Path
from tasks.store import ArtefactStore, Built, Plan
from tasks.base.workspace import Bucket
from tasks.base.workspace import Workspace
store, plan = ArtefactStore(Workspace(Path(sys.argv[1]))), Plan(**{plan!r})
left = int(sys.argv[3])
real = getattr(Bucket, sys.argv[2])
def deadly(self, *given):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    return real(self, *given)
setattr(Bucket, sys.argv[2], deadly)
store.find("pairs", plan.version)
"""


def killed(store: ArtefactStore, plan: Plan, call: str, after: int) -> None:
    """The same look in another process, which kills itself instead of a call to S3 after so many of them."""
    code = KILLED.format(plan=dataclasses.asdict(plan))
    done = subprocess.run([sys.executable, "-c", code, str(store.workspace.root), call, str(after)], check=False)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("call", "after"),
    [("write", 2), *(pytest.param("write", n, marks=pytest.mark.slow) for n in (0, 1)), ("write_new", 0)],
)
def test_a_killed_upload_is_made_good(tmp_path: Path, address: str, plan: Plan, call: str, after: int) -> None:
    alone = ArtefactStore(Workspace(tmp_path / "a"))
    made = publish(alone, plan)
    alone.workspace.shared_store.write_text(address)
    killed(alone, plan, call, after)
    a, b = ArtefactStore(alone.workspace), machine(tmp_path / "b", address)
    assert len(keys(address)) == (3 if call == "write_new" else after)
    assert b.find("pairs", plan.version) is None
    assert b.published() == []
    assert a.find("pairs", plan.version) == made
    assert len(keys(address)) == 4
    assert bytes_of(b.get(str(made))) == bytes_of(made)


@pytest.mark.parametrize("after", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_a_killed_download_leaves_nothing_but_what_gc_knows(
    tmp_path: Path, address: str, plan: Plan, after: int
) -> None:
    a, b = machine(tmp_path / "a", address), machine(tmp_path / "b", address)
    made = publish(a, plan)
    killed(b, plan, "blocks", after)
    [left] = b.folder("pairs", "").iterdir()
    assert left.name.startswith(f".fetching-{plan.version}-")
    assert not b.folder("pairs", plan.version).exists()
    assert list(garbage_collect(b, delete=True)) == [], "it may be young"
    os.utime(left, (1, 1))
    assert list(garbage_collect(b, delete=False)) == [f"would delete artefacts/pairs/{left.name}"]
    assert bytes_of(b.get(str(made))) == bytes_of(made)
    assert [path.name for path in b.folder("pairs", "").iterdir()] == [plan.version]


def test_a_full_disk_takes_nothing(tmp_path: Path, address: str, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = machine(tmp_path / "a", address), machine(tmp_path / "b", address)
    publish(a, plan)

    def full(*_: object) -> Iterator[bytes]:
        yield b"c"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SharedStore, "_file", full)
    with pytest.raises(StoreError, match="the disk is full: free some space"):
        b.find("pairs", plan.version)
    assert list(b.folder("pairs", "").iterdir()) == []


def test_a_damaged_artefact_is_not_shared(tmp_path: Path, address: str, plan: Plan) -> None:
    alone = ArtefactStore(Workspace(tmp_path / "a"))
    made = publish(alone, plan)
    (made.folder / "deep/file.txt").write_text("CONTENT")
    alone.workspace.shared_store.write_text(address)
    with pytest.raises(StoreError, match=r"deep/file\.txt has changed, so it is not shared: run again from 'pairs'"):
        ArtefactStore(alone.workspace).find("pairs", plan.version)
    assert keys(address) == set()


def test_gc_takes_from_the_shared_store_only_when_told(
    tmp_path: Path, address: str, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = machine(tmp_path / "a", address), machine(tmp_path / "b", address)
    old, named = (publish(a, dataclasses.replace(plan, code_version=number)) for number in (1, 2))
    newest = publish(b, Plan("evaluation", 1, 1, {}, {}, {}))
    a.set_alias("kept", named)
    a.shared.bucket.write("files/pairs/ab/cd/left of a killed upload", b"x")
    before = keys(address)
    assert list(garbage_collect(a, delete=True, force=True)) == [f"deleted artefacts/pairs/{old.version}"]
    assert keys(address) == before
    assert list(garbage_collect_shared(a, delete=True)) == [], "all of it may be young"
    monkeypatch.setattr(collecting, "_SHARED_AGE_SECONDS", -60.0)
    of_old = f"pairs/{old.version}"
    files = f"files/{of_old}/{old.manifest.content[:16]}"
    gone = [f"{address}/{name}" for name in (f"manifests/{of_old}.json", files, "files/pairs/ab/cd")]
    assert sorted(garbage_collect_shared(a, delete=False)) == sorted(f"would delete {one}" for one in gone)
    assert keys(address) == before
    assert sorted(garbage_collect_shared(a, delete=True)) == sorted(f"deleted {one}" for one in gone)
    assert not [key for key in keys(address) if old.version in key or "killed" in key]
    assert [str(one) for one in b.published()] == [str(named), str(newest)]
    assert dict(shared_faults(a, [])) == {str(named): [], str(newest): []}
    for call in (garbage_collect_shared, shared_faults):
        with pytest.raises(StoreError, match="shares no artefacts: 'artefacts share' joins a store"):
            list(call(ArtefactStore(Workspace(tmp_path / "alone")), []))


def test_leaving_needs_no_network(tmp_path: Path, address: str, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    store = machine(tmp_path / "a", address)
    made = publish(store, plan)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert list(leave(store.workspace)) == [f"left {address}"]
    assert list(leave(store.workspace)) == [f"{tmp_path / 'a'} shares artefacts with no other"]
    assert joined(store.workspace) is None
    assert ArtefactStore(store.workspace).published() == [made]
    assert sharing(store.workspace) == "in this workspace alone"
    store.workspace.shared_store.write_text("nonsense")
    with pytest.raises(StoreError, match="names no store on S3: 'artefacts share' writes it anew"):
        joined(store.workspace)
