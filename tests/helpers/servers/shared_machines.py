"""Machines that share artefacts on the S3 server of the tests, and what they publish."""

import time
from pathlib import Path

from data_contracts.manifest import PoolSnapshot
from tasks.base.workspace import Bucket, Workspace
from tasks.store import Artefact, ArtefactStore, Built, Plan, join

BIG = 1 << 20


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
