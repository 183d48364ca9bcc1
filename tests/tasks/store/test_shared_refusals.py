"""What a shared store on S3 refuses, and what is said: damage, no network, a wrong key, another release."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from data_contracts.manifest import Checksum
from echoingecg.common import StoreError
from helpers.servers.s3_server import s3_bucket
from helpers.servers.shared_machines import keys, machine, publish
from tasks.base.workspace import Bucket, Workspace
from tasks.operations.verify_and_collect import shared_faults
from tasks.store import ArtefactStore, Plan, content_of, join

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
    evil = made.manifest.model_copy(update={"files": files, "content": content_of(files)}).sealed()
    key = f"manifests/pairs/{plan.version}.json"
    for text in (evil.model_dump_json(), made.manifest.model_copy(update={"version": "f" * 16}).model_dump_json()):
        a.shared.bucket.write(key, text.encode())
        with pytest.raises(
            StoreError, match=rf"pairs-{plan.version}: .*manifest.* is damaged.*; delete {address}/{key}"
        ):
            b.find("pairs", plan.version)
    a.shared.bucket.write(key, b"{}")
    with pytest.raises(StoreError, match=r"manifest\.json is damaged or of another release"):
        b.published()


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
    tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch, where: str, endpoint: str, says: str
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
