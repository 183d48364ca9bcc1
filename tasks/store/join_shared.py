"""A workspace joins a shared store of artefacts on S3, sends it what it has, or leaves it."""

import shutil
from collections.abc import Iterator

from echoingecg.common import StoreError, write_atomically
from tasks.base.workspace import Workspace, writing_to
from tasks.store.artefacts import Aliases, ArtefactStore
from tasks.store.shared import SharedStore, joined, kept_here


def join(workspace: Workspace, address: str) -> Iterator[str]:
    """Joins, then shares every artefact and alias that is here. Again with the same address: sends what is lacking.

    Args:
        workspace: to join; made if there is none.
        address: `s3://bucket/prefix`.

    Yields:
        one line for everything that happened.

    Raises:
        StoreError: the bucket cannot be reached, or does not keep to the first of two writers: nothing is changed.
    """
    shared = SharedStore(address, workspace)
    shared.check()
    before = joined(workspace)
    with writing_to(workspace.root):
        workspace.root.mkdir(parents=True, exist_ok=True)
        if before is not None and str(before) != str(shared):
            shutil.rmtree(workspace.shared_manifests, ignore_errors=True)
            yield f"left {before}"
        write_atomically(workspace.shared_store, f"{shared}\n")
    yield f"{workspace.root} shares artefacts in {shared}"
    yield from _send_all(ArtefactStore(workspace), shared)


def leave(workspace: Workspace) -> Iterator[str]:
    """Lets a workspace stand alone again; what is here stays, and so does what is there. Needs no network."""
    if not workspace.shared_store.exists():
        yield f"{workspace.root} shares artefacts with no other"
        return
    address = workspace.shared_store.read_text(encoding="utf-8").strip()
    with writing_to(workspace.root):
        workspace.shared_store.unlink()
        shutil.rmtree(workspace.shared_manifests, ignore_errors=True)
    yield f"left {address}"
    for name, target in Aliases(workspace, None).here().items():
        yield f"{name} -> {target}, as this workspace last set it"


def _send_all(store: ArtefactStore, shared: SharedStore) -> Iterator[str]:
    for artefact in store.here():
        if says := kept_here(artefact) or shared.offer(artefact):
            yield says
    for name, target in Aliases(store.workspace, None).here().items():
        if shared.set_alias(name, target, only_new=True):
            yield f"{name} -> {target}"
        elif (held := shared.alias(name)) != target:
            yield f"{name} -> {held}, as {shared} has it; here it was {target}"


def shared_store_of(store: ArtefactStore) -> SharedStore:
    """The shared store that a workspace must have joined.

    Raises:
        StoreError: it has joined none.
    """
    if store.shared is None:
        raise StoreError(f"{store.workspace.root} shares no artefacts: 'artefacts share' joins a store")
    return store.shared


def sharing(workspace: Workspace) -> str:
    """Which store a workspace shares, on one line, after its bucket has been asked.

    Raises:
        StoreError: the bucket cannot be reached.
    """
    if (shared := joined(workspace)) is None:
        return "in this workspace alone"
    shared.check()
    return f"shared in {shared}"
