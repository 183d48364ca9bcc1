"""Artefacts on S3: workspaces share them whole or not at all; nothing is overwritten, mixed or handed on by mistake."""

import dataclasses
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from s3_server import s3_bucket
from typer.testing import CliRunner

from data_contracts.manifest import FILENAME, Checksum, PoolSnapshot
from echoingecg.errors import StoreError
from flows import doctor
from flows.cli import app
from tasks import collect as collecting
from tasks.artefacts import Artefact, ArtefactStore, Built, Plan
from tasks.collect import collect, collect_shared
from tasks.s3 import Bucket
from tasks.shared_store import SharedStore, joined
from tasks.sharing import join, leave, sharing
from tasks.verify import shared_faults
from tasks.versions import content_of
from tasks.workspace import Workspace

BIG = 1 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_bucket(tmp_path_factory.mktemp("s3") / "moto.log") as found:
        yield found


@pytest.fixture
def address(server: str, tmp_path: Path) -> str:
    """A prefix of its own for each test."""
    return f"{server}/{tmp_path.name}/artefacts"


def machine(folder: Path, address: str) -> ArtefactStore:
    """A workspace that has joined."""
    workspace = Workspace(folder)
    said = list(join(workspace, address))
    assert said[0] == f"{folder} shares artefacts in {address}"
    return ArtefactStore(workspace)


def publish(store: ArtefactStore, plan: Plan, text: str = "content", pool: PoolSnapshot | None = None) -> Artefact:
    with store.locked(plan), store.building(plan) as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "file.txt").write_text(text)
        (folder / "weights.bin").write_bytes(text.encode() * BIG)
        (folder / "empty").touch()
        return store.publish(plan, folder, Built({"rows": 1}, pool), time.monotonic())


def keys(address: str) -> set[str]:
    bucket = Bucket(address)
    return {one.key for under in ("manifests", "files", "aliases") for one in bucket.listed(under)}


def bytes_of(artefact: Artefact) -> dict[str, bytes]:
    found = (path for path in sorted(artefact.folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(artefact.folder)): path.read_bytes() for path in found}


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


DAMAGE = {
    "changed": lambda bucket, key: bucket.write(key, b"C" * 7),
    "shorter": lambda bucket, key: bucket.write(key, b"con"),
    "empty": lambda bucket, key: bucket.write(key, b""),
    "gone": lambda bucket, key: bucket.delete([key]),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_object_is_refused(tmp_path: Path, address: str, plan: Plan, kind: str) -> None:
    a, b = machine(tmp_path / "a", address), machine(tmp_path / "b", address)
    made = publish(a, plan)
    [key] = [one for one in keys(address) if one.endswith("file.txt")]
    DAMAGE[kind](a.shared.bucket, key)
    manifest = f"{address}/manifests/pairs/{plan.version}.json"
    says = f"{made}: deep/file.txt is missing or damaged in {address}; delete {manifest} and run again"
    with pytest.raises(StoreError, match=says):
        b.find("pairs", plan.version)
    assert [path.name for path in b.folder("pairs", "").iterdir()] == []
    [(name, [fault])] = shared_faults(b, [])
    assert (name, fault.startswith(says)) == (str(made), True)
    a.shared.bucket.delete([f"manifests/pairs/{plan.version}.json"])  # what the line says
    assert a.find("pairs", plan.version)
    assert b.find("pairs", plan.version)
    assert dict(shared_faults(b, [str(made)])) == {str(made): []}


@pytest.mark.parametrize("name", ["../../evil", "/tmp/evil", "deep/../../../evil"])
def test_a_manifest_leads_nowhere_else(tmp_path: Path, address: str, plan: Plan, name: str) -> None:
    a, b = machine(tmp_path / "a", address), machine(tmp_path / "b", address)
    made = publish(a, plan)
    files = {name: Checksum(bytes=0, sha256="e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")}
    evil = made.manifest.model_copy(update={"files": files, "content": content_of(files)})
    key = f"manifests/pairs/{plan.version}.json"
    for text in (evil.model_dump_json(), made.manifest.model_copy(update={"version": "f" * 16}).model_dump_json()):
        a.shared.bucket.write(key, text.encode())
        with pytest.raises(StoreError, match=f"pairs-{plan.version}: its manifest is damaged; delete {address}/{key}"):
            b.find("pairs", plan.version)
    a.shared.bucket.write(key, b"{}")
    with pytest.raises(StoreError, match=r"manifest\.json is damaged or of another release"):
        b.published()


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
from tasks.artefacts import ArtefactStore, Built, Plan
from tasks.workspace import Workspace
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
        "file", "manifest.json", "production",
    ]  # fmt: skip


def test_what_the_network_refuses_is_one_line_and_the_artefact_stays(
    tmp_path: Path, address: str, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = machine(tmp_path / "a", address), machine(tmp_path / "b", address)
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        a = ArtefactStore(a.workspace)
        says = (
            rf"pairs-{plan.version} is published here, but not shared: {address}: .*refused.*; check AWS_ENDPOINT_URL"
        )
        with pytest.raises(StoreError, match=says) as caught:
            publish(a, plan)
        assert "\n" not in str(caught.value)
        assert a.folder("pairs", plan.version).is_dir()
    assert b.find("pairs", plan.version) is None
    assert ArtefactStore(a.workspace).find("pairs", plan.version), "the next look shares it"
    assert b.find("pairs", plan.version)


@pytest.mark.parametrize(
    ("where", "endpoint", "says"),
    [
        ("s3://nowhere/x", "", "s3://nowhere/x: NoSuchBucket: .*; check AWS_ENDPOINT_URL"),
        ("s3://bucket/x", "http://127.0.0.1:9", "s3://bucket/x: .*refused.*; check AWS_ENDPOINT_URL"),
        ("s3://bucket/x", "127.0.0.1:9", "AWS_ENDPOINT_URL: '127.0.0.1:9' is no address"),
        ("bucket/x", "", "'bucket/x' is no address on S3: write s3://BUCKET/PREFIX"),
        ("s3:///x", "", "'s3:///x' is no address on S3"),
    ],
)
def test_who_cannot_join_does_not(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch, where: str, endpoint: str, says: str
) -> None:
    if endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(StoreError, match=says) as caught:
        list(join(Workspace(tmp_path / "w"), where))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "w").exists()


def test_a_wrong_key_is_one_line(tmp_path: Path) -> None:
    with (
        s3_bucket(tmp_path / "moto.log", INITIAL_NO_AUTH_ACTION_COUNT="2") as strict,
        pytest.raises(StoreError, match=rf"{strict}/x: InvalidAccessKeyId: .*; check AWS_ENDPOINT_URL") as caught,
    ):
        list(join(Workspace(tmp_path / "w"), f"{strict}/x"))
    assert "\n" not in str(caught.value)


def test_an_s3_without_conditional_writes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Careless(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("ETag", '"x"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Careless) as careless:
        threading.Thread(target=careless.serve_forever, daemon=True).start()
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "x")
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{careless.server_port}")
        with pytest.raises(StoreError, match="ignores If-None-Match"):
            list(join(Workspace(tmp_path / "w"), "s3://bucket/x"))
        careless.shutdown()
    assert not (tmp_path / "w").exists()


def test_a_prefix_of_another_release_is_refused(tmp_path: Path, address: str) -> None:
    Bucket(address).write("store.json", b'{"layout": 2}')
    with pytest.raises(StoreError, match=r"store\.json is none of this release"):
        list(join(Workspace(tmp_path / "w"), address))


KILLED = """
import os, signal, sys, time
from pathlib import Path
from tasks.artefacts import ArtefactStore, Built, Plan
from tasks.s3 import Bucket
from tasks.workspace import Workspace
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
    assert list(collect(b, delete=True)) == [], "it may be young"
    os.utime(left, (1, 1))
    assert list(collect(b, delete=False)) == [f"would delete artefacts/pairs/{left.name}"]
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
    assert list(collect(a, delete=True)) == [f"deleted artefacts/pairs/{old.version}"]
    assert keys(address) == before
    assert list(collect_shared(a, delete=True)) == [], "all of it may be young"
    monkeypatch.setattr(collecting, "_SHARED_AGE", -60.0)
    of_old = f"pairs/{old.version}"
    files = f"files/{of_old}/{old.manifest.content[:16]}"
    gone = [f"{address}/{name}" for name in (f"manifests/{of_old}.json", files, "files/pairs/ab/cd")]
    assert sorted(collect_shared(a, delete=False)) == sorted(f"would delete {one}" for one in gone)
    assert keys(address) == before
    assert sorted(collect_shared(a, delete=True)) == sorted(f"deleted {one}" for one in gone)
    assert not [key for key in keys(address) if old.version in key or "killed" in key]
    assert [str(one) for one in b.published()] == [str(named), str(newest)]
    assert dict(shared_faults(a, [])) == {str(named): [], str(newest): []}
    for call in (collect_shared, shared_faults):
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


def test_the_newest_manifest_wins_in_a_listing(tmp_path: Path, address: str, plan: Plan) -> None:
    """One that was deleted and made anew is not shown from memory."""
    a, b = machine(tmp_path / "a", address), machine(tmp_path / "b", address)
    made = publish(a, plan)
    assert b.published()[0].manifest == made.manifest
    renewed = json.loads((made.folder / FILENAME).read_text())
    renewed["run"]["finished"] = datetime.now(UTC).isoformat(timespec="seconds").replace("20", "21", 1)
    a.shared.bucket.write(f"manifests/pairs/{plan.version}.json", json.dumps(renewed).encode())
    assert b.published()[0].manifest.run.finished == renewed["run"]["finished"]


def test_the_command_line_joins_says_where_and_leaves(tmp_path: Path, address: str, plan: Plan) -> None:
    made = publish(machine(tmp_path / "a", address), plan)

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
    assert (found.state, found.says) == ("ok", f"shared in {address}")
