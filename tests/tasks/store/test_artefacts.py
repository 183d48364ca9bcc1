"""The store: versions by content of their causes, whole or not at all, never changed."""

import dataclasses
import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from echoingecg.common import StoreError
from tasks.base.workspace import Workspace, writing_to
from tasks.store import Artefact, ArtefactStore, Built, Plan, differences


def publish(store: ArtefactStore, plan: Plan, text: str = "content") -> Artefact:
    with store.locked(plan), store.building(plan) as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "file.txt").write_text(text)
        (folder / "deep" / "file.txt").chmod(0o600)
        return store.publish(plan, folder, Built({"rows": 1}), time.monotonic())


def test_version_depends_on_every_cause_and_on_nothing_else(plan: Plan) -> None:
    assert plan.version == dataclasses.replace(plan, recipe=dict(plan.recipe)).version
    changes = {
        "stage": "ecg",
        "contract_version": 2,
        "code_version": 2,
        "recipe": {"window_hours": 25.0},
        "source": {"export": "x"},
        "inputs": {**plan.inputs, "ecg": "other"},
    }
    versions = {dataclasses.replace(plan, **{name: value}).version for name, value in changes.items()}
    assert len(versions | {plan.version}) == 1 + len(changes) == 1 + len(dataclasses.fields(plan))


def test_publish_find_and_lineage(store: ArtefactStore, plan: Plan) -> None:
    assert store.find("pairs", plan.version) is None
    made = publish(store, plan)
    found = store.find("pairs", plan.version)
    assert found == made
    assert (found.folder / "deep/file.txt").read_text() == "content"
    assert list(found.manifest.files) == ["deep/file.txt"]
    assert store.lineage(found) == {"catalog": "c", "ecg": "e", "teacher": "t", "pairs": plan.version}
    assert found.faults() == []
    made_on = found.manifest.run.processor
    assert made_on is not None
    assert {"machine", "cpu", "instruction_set"} <= made_on.keys()
    assert all(made_on.values())
    modes = {path.stat().st_mode for path in found.folder.rglob("*") if path.is_file()}
    assert len(modes) == 1, "whoever may read the manifest may read the weights"
    assert not list(found.folder.parent.glob(".building-*"))


def test_a_killed_build_leaves_no_version_and_its_leftover_is_cleared(store: ArtefactStore, plan: Plan) -> None:
    root = str(store.workspace.root)
    code = f"""
import os, signal
from pathlib import Path
from tasks.store import ArtefactStore, Plan
from tasks.base.workspace import Workspace
store, plan = ArtefactStore(Workspace(Path({root!r}))), Plan(**{dataclasses.asdict(plan)!r})
with store.locked(plan), store.building(plan) as folder:
    (folder / "half.txt").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert len(list(store.folder("pairs", "").glob(".building-*"))) == 1
    assert store.find("pairs", plan.version) is None
    assert store.published() == []
    publish(store, plan)
    assert not list(store.folder("pairs", "").glob(".building-*"))


def test_an_equal_rerun_keeps_the_first_copy_a_differing_one_sets_it_aside(store: ArtefactStore, plan: Plan) -> None:
    first = publish(store, plan)
    before = first.folder.stat().st_ino
    assert publish(store, plan) == first
    assert first.folder.stat().st_ino == before
    second = publish(store, plan, "other content")
    assert second.version == first.version
    assert second.manifest.content != first.manifest.content
    (aside,) = (first.folder.parent / ".replaced").iterdir()
    assert (aside / "deep/file.txt").read_text() == "content"
    assert store.published("pairs") == [second]


def test_a_failing_build_publishes_nothing(store: ArtefactStore, plan: Plan) -> None:
    def build() -> None:
        with store.building(plan) as folder:
            (folder / "file").write_text("x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        build()
    assert list(store.folder("pairs", "").iterdir()) == []


def test_damage_is_found(store: ArtefactStore, plan: Plan) -> None:
    made = publish(store, plan)
    (made.folder / "deep/file.txt").write_text("CONTENT")
    assert made.faults() == [f"{made}: deep/file.txt has changed"]
    (made.folder / "deep/file.txt").unlink()
    assert made.faults() == [f"{made}: deep/file.txt is missing"]
    (made.folder / "manifest.json").write_text('{"stage": "pairs"}')
    with pytest.raises(StoreError, match=r"manifest\.json is damaged"):
        store.find("pairs", plan.version)


def test_names_and_aliases(store: ArtefactStore, plan: Plan) -> None:
    made = publish(store, plan)
    assert store.get(f"pairs-{plan.version[:5]}") == made
    store.set_alias("production", made)
    other = publish(store, dataclasses.replace(plan, code_version=2))
    store.set_alias("production", other)
    assert store.get("production") == other
    assert store.aliases() == {"production": str(other)}
    for name in ("pairs-ffff", "nonsense", "../../etc/passwd", "pairs-"):
        with pytest.raises(StoreError):
            store.get(name)
    for name in ("../evil", "pairs", ".hidden", ""):
        with pytest.raises(StoreError, match="cannot be an alias"):
            store.set_alias(name, made)


def test_differences_name_the_cause(store: ArtefactStore, plan: Plan) -> None:
    one = publish(store, plan).manifest
    other = publish(store, dataclasses.replace(plan, recipe={"window_hours": 48.0}), "more").manifest
    lines = differences(one, other)
    assert lines[0] == "recipe.window_hours: 24.0 -> 48.0"
    assert lines[1].startswith("files.deep/file.txt")
    assert differences(one, one) == []


def test_two_builders_of_one_version_take_turns(store: ArtefactStore, plan: Plan) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        with store.locked(plan):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.05)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("code", "says"),
    [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "permission denied")],
)
def test_environment_faults_are_one_line(code: int, says: str) -> None:
    with pytest.raises(StoreError, match=says), writing_to(Path("/somewhere")):
        raise OSError(code, os.strerror(code))


def test_other_os_errors_are_bugs_and_pass() -> None:
    with pytest.raises(IsADirectoryError), writing_to(Path("/somewhere")):
        raise IsADirectoryError(errno.EISDIR, "x")


def test_a_file_in_place_of_the_workspace(tmp_path: Path, plan: Plan) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="choose another folder"):
        publish(ArtefactStore(Workspace(tmp_path / "file")), plan)
