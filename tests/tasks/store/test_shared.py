"""Artefacts on S3: workspaces share them whole or not at all; nothing is overwritten, mixed or handed on by mistake."""

import dataclasses
import logging
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from data_contracts.manifest import PoolSnapshot
from echoingecg.common import StoreError
from flows.cli import doctor
from flows.cli.main import app
from helpers.servers.shared_machines import bytes_of, keys, machine, publish
from tasks.base.workspace import Bucket, Workspace
from tasks.store import ArtefactStore, Plan, join, leave, sharing


def test_what_one_machine_makes_another_takes(
    tmp_path: Path, address: str, plan: Plan, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "echoingecg")
    a, b = machine(tmp_path / "a", address), machine(tmp_path / "b", address)
    assert b.find("pairs", plan.version) is None
    made = publish(a, plan)
    student = publish(b, Plan("student", 1, 1, {}, {}, {"pairs": plan.version}))

    assert [str(one) for one in b.published()] == [str(made), str(student)]
    assert b.lineage(student) == {**plan.inputs, "pairs": plan.version, "student": student.version}
    assert b.named(f"pairs-{plan.version[:6]}").manifest == made.manifest
    seen = b.seen("pairs", plan.version)
    assert seen
    assert not seen.is_here, "looking takes no files"
    assert not b.folder("pairs", plan.version).exists()

    found = b.find("pairs", plan.version)
    assert found
    assert found.is_here
    assert bytes_of(found) == bytes_of(made)
    assert found.folder.stat().st_mode == made.folder.stat().st_mode
    assert not list(found.folder.parent.glob(".*"))
    assert caplog.messages[-1] == f"{made}: taken from {address}"
    assert bytes_of(a.get(f"student-{student.version[:8]}")) == bytes_of(student)
    assert a.find("student", "0" * 16) is None
    with pytest.raises(StoreError, match=rf"no artefact named 'student-0' in .* and {address}"):
        a.get("student-0")


def test_aliases_are_followed_by_all(tmp_path: Path, address: str, plan: Plan) -> None:
    a, b = machine(tmp_path / "a", address), machine(tmp_path / "b", address)
    first, second = publish(a, plan), publish(b, dataclasses.replace(plan, code_version=2))
    a.set_alias("production", first)
    assert b.aliases() == {"production": str(first)}
    b.set_alias("production", b.named(str(second)))
    assert str(a.named("production")) == str(second)
    assert bytes_of(a.get("production")) == bytes_of(second)
    assert list(leave(b.workspace)) == [f"left {address}", f"production -> {second}, as this workspace last set it"]
    with pytest.raises(StoreError, match="cannot be an alias"):
        a.set_alias("../evil", first)


def test_joining_sends_what_is_here_and_the_first_alias_holds(tmp_path: Path, address: str, plan: Plan) -> None:
    alone = ArtefactStore(Workspace(tmp_path / "a"))
    made = publish(alone, plan)
    alone.set_alias("production", made)
    said = list(join(alone.workspace, address))
    size = sum(one.bytes for one in made.manifest.files.values())
    assert said[1:] == [f"{made}: shared, 3 files, {size:,} bytes, to {address}", f"production -> {made}"]
    assert list(join(alone.workspace, address)) == said[:1], "again: nothing is lacking"

    other = ArtefactStore(Workspace(tmp_path / "b"))
    theirs = publish(other, dataclasses.replace(plan, code_version=2))
    other.set_alias("production", theirs)
    assert list(join(other.workspace, f"{address}/"))[2:] == [
        f"production -> {made}, as {address} has it; here it was {theirs}"
    ]
    assert sharing(other.workspace) == f"shared in {address}"


def test_a_listing_asks_for_new_manifests_alone(
    tmp_path: Path, address: str, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = machine(tmp_path / "a", address), machine(tmp_path / "b", address)
    for number in range(3):
        publish(a, dataclasses.replace(plan, code_version=number))
    asked: list[str] = []
    read = Bucket.read
    monkeypatch.setattr(Bucket, "read", lambda self, key: asked.append(key) or read(self, key))
    assert len(b.published()) == len(asked) == 3
    assert len(b.published()) == len(asked) == 3
    publish(a, dataclasses.replace(plan, code_version=9))
    asked.clear()
    assert len(b.published("pairs")) == 4
    assert len(asked) == 1


def test_of_two_that_differ_the_first_stays_and_nothing_is_mixed(
    tmp_path: Path, address: str, plan: Plan, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Both have uploaded their files when they come to the manifest."""
    caplog.set_level(logging.INFO, "echoingecg")
    both = threading.Barrier(2)
    write_new = Bucket.write_new

    def together(self: Bucket, key: str, content: bytes) -> bool:
        if key.startswith("manifests/"):
            both.wait(30)
        return write_new(self, key, content)

    stores = [machine(tmp_path / name, address) for name in "ab"]
    monkeypatch.setattr(Bucket, "write_new", together)
    runs = [threading.Thread(target=publish, args=(one, plan, text)) for one, text in zip(stores, "xy", strict=True)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    monkeypatch.undo()
    for one, text in zip(stores, "xy", strict=True):
        assert (one.get(f"pairs-{plan.version}").folder / "deep/file.txt").read_text() == text
    taken = machine(tmp_path / "c", address).get(f"pairs-{plan.version}")
    assert taken.faults() == []
    assert (taken.folder / "deep/file.txt").read_text() in "xy"
    assert any(f"pairs-{plan.version}: {address} holds another copy" in line for line in caplog.messages)
    assert any("taken from" in line for line in caplog.messages)


def test_an_equal_copy_is_no_news(tmp_path: Path, address: str, plan: Plan, caplog: pytest.LogCaptureFixture) -> None:
    a, b = machine(tmp_path / "a", address), machine(tmp_path / "b", address)
    publish(a, plan)
    held = Bucket(address).read(f"manifests/pairs/{plan.version}.json")
    caplog.set_level(logging.INFO, "echoingecg")
    publish(b, plan)
    assert caplog.messages == []
    assert Bucket(address).read(f"manifests/pairs/{plan.version}.json") == held


def test_only_artefacts_leave_the_machine(tmp_path: Path, address: str, plan: Plan) -> None:
    store = machine(tmp_path / "a", address)
    for name in ("private/pseudonym.key", "private/exports/one.json", "scratch/student/x/state", "pools/ecg/x/chunk"):
        (store.workspace.root / name).parent.mkdir(parents=True, exist_ok=True)
        (store.workspace.root / name).write_text("secret")
    made = publish(store, plan)
    here = publish(
        store, dataclasses.replace(plan, code_version=2), pool=PoolSnapshot(path="pools/ecg/x", snapshot="s")
    )
    store.set_alias("production", made)
    assert store.find("pairs", here.version) == here
    list(join(store.workspace, address))
    folder = f"files/pairs/{plan.version}/{made.manifest.content[:16]}"
    assert keys(address) == {
        f"manifests/pairs/{plan.version}.json",
        "aliases/production",
        *(f"{folder}/{name}" for name in ("deep/file.txt", "weights.bin", "empty")),
    }
    with pytest.raises(StoreError, match=r"alias 'x' stays as it is: .* its pool is a folder of this workspace"):
        store.set_alias("x", here)


def test_a_workspace_that_never_joined_loads_no_client(tmp_path: Path, plan: Plan) -> None:
    code = f"""
import sys, time
from pathlib import Path
from tasks.store import ArtefactStore, Built, Plan
from tasks.base.workspace import Workspace
store, plan = ArtefactStore(Workspace(Path({str(tmp_path)!r}))), Plan(**{dataclasses.asdict(plan)!r})
with store.locked(plan), store.building(plan) as folder:
    (folder / "file").touch()
    made = store.publish(plan, folder, Built({{}}), time.monotonic())
store.set_alias("production", made)
assert store.get("production") == store.find("pairs", plan.version) == store.published()[0] == made
print([name for name in ("obstore", "prefect") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock") == [
        "alias_moves.jsonl", "file", "manifest.json", "production",
    ]  # fmt: skip


def test_the_newest_manifest_wins_in_a_listing(tmp_path: Path, address: str, plan: Plan) -> None:
    """One that was deleted and made anew is not shown from memory."""
    a, b = machine(tmp_path / "a", address), machine(tmp_path / "b", address)
    made = publish(a, plan)
    assert b.published()[0].manifest == made.manifest
    later = datetime.now(UTC).isoformat(timespec="seconds").replace("20", "21", 1)
    run = made.manifest.run.model_copy(update={"finished": later})
    renewed = made.manifest.model_copy(update={"run": run}).sealed()
    a.shared.bucket.write(f"manifests/pairs/{plan.version}.json", renewed.model_dump_json().encode())
    assert b.published()[0].manifest.run.finished == later


def test_the_command_line_joins_says_where_and_leaves(tmp_path: Path, address: str, plan: Plan) -> None:
    made = publish(machine(tmp_path / "a", address), plan)
    (tmp_path / "b").mkdir()

    def typed(*words: str) -> str:
        done = CliRunner().invoke(app, ["artefacts", *words, "-w", str(tmp_path / "b")])
        assert done.exit_code == 0, done.output
        return done.output

    assert "in this workspace alone" in typed("share")
    assert f"{tmp_path / 'b'} shares artefacts in {address}" in typed("share", address)
    assert f"shared in {address}" in typed("share")
    assert f'"version": "{plan.version}"' in typed("show", str(made))
    assert typed("alias", "production", str(made)) == f"production -> {made}\n"
    assert typed("verify", "--shared") == "1 artefacts, 0 faults\n"
    assert typed("verify") == "0 artefacts, 0 faults\n", "nothing was taken"
    assert typed("gc", "--shared", "--delete") == ""
    assert f"left {address}" in typed("share", "--none")
    refused = CliRunner().invoke(app, ["artefacts", "share", address, "--none", "-w", str(tmp_path / "b")])
    assert "not both" in str(refused.exception)
    found = doctor._artefacts(machine(tmp_path / "c", address).workspace.root)
    assert (found.state, found.message) == ("ok", f"shared in {address}")
