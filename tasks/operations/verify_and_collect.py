"""Garbage collection: artefacts that nothing needs, and what killed runs left behind."""

import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from data_contracts.conventions import STAGES, Stage
from echoingecg.common.errors import StoreError
from tasks.pools.pool import sweep
from tasks.store.artefacts import Artefact, ArtefactStore
from tasks.store.join_shared import shared_store_of
from tasks.workspace import Workspace, writing_to

_LEFTOVER_AGE: Final = 24 * 3600.0  # seconds; on shared disks a lock may not show, and younger ones may be in use
_SHARED_AGE: Final = 7 * 24 * 3600.0  # seconds; no training should take longer
_LEFTOVERS: Final = (
    "artefacts/*/.building-*",
    "artefacts/*/.fetching-*",
    "artefacts/*/.replaced/*",
    "scratch/*/*/",
    "exports/*.partial/",
    "private/.*-*",  # these: files that durable.replacing had not renamed yet
    "private/exports/.*-*",
    "artefacts/aliases/.*-*",
    "artefacts/.shared/*/.*-*",
    ".shared_store-*",
    "decisions/.*-*",
)


def collect(store: ArtefactStore, delete: bool) -> Iterator[str]:
    """Lists, and with `delete` removes, artefacts outside every kept lineage, old leftovers, lost chunks of pools.

    Kept is the lineage of the newest evaluation and of every alias. Whatever a commit of a pool has ever held is
    kept too: pools are shared by versions and hold what was costly. Pools on S3 are left alone: nobody here knows who
    writes to them.

    Yields:
        one line for every folder.

    Raises:
        StoreError: a run is going on, which may need what nothing names yet.
    """
    root = store.workspace.root
    with writing_to(root):
        busy = next(_held(store.workspace), None)
    if busy:
        raise StoreError(f"{root}: a run is going on ({busy}): collect when it has ended")
    did = "deleted" if delete else "would delete"
    kept = _kept(store, store.here)
    surplus = [one.folder for one in store.here() if (one.stage, one.version) not in kept]
    old = time.time() - _LEFTOVER_AGE
    for path in [*surplus, *_leftovers(store.workspace, old)]:
        if delete:
            with writing_to(root):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        yield f"{did} {path.relative_to(root)}"
    for pool in sorted(store.workspace.pools.glob("*/*/")):
        with writing_to(root):
            place = str(pool.relative_to(root))
            if lost := sweep(store.workspace, place, datetime.fromtimestamp(old, UTC), delete):
                yield f"{did} {lost:,} bytes that no commit holds in {place}"


def collect_shared(store: ArtefactStore, delete: bool) -> Iterator[str]:
    """The same of the shared store: versions outside every kept lineage, and files of uploads that were killed.

    Kept is the lineage of the newest evaluation, whoever made it, and of every alias, and all that is younger than a
    week: which runs go on elsewhere, and what they need, nobody here knows.

    Yields:
        one line for every version, or copy of one.

    Raises:
        StoreError: the workspace has joined none, or S3 does not let us in.
    """
    shared = shared_store_of(store)
    before = datetime.fromtimestamp(time.time() - _SHARED_AGE, UTC)
    for what, keys in shared.surplus(_kept(store, store.published), before).items():
        if delete:
            shared.bucket.delete(keys)
        yield f"{'deleted' if delete else 'would delete'} {what}"


def _kept(store: ArtefactStore, listed: Callable[..., list[Artefact]]) -> set[tuple[Stage, str]]:
    """Stage and version of all that the newest evaluation among those listed, or an alias, was made of."""
    newest = [found[-1] for stage in reversed(STAGES) if (found := listed(stage))][:1]
    roots = newest + [store.named(name) for name in store.aliases()]
    return {name for artefact in roots for name in store.lineage(artefact).items()}


def _held(workspace: Workspace) -> Iterator[str]:
    """Locks that some process holds."""
    for pattern in ("artefacts/.locks/*.lock", "pools/*/*.lock", "exports/*.lock"):
        for path in sorted(workspace.root.glob(pattern)):
            try:
                FileLock(path).acquire(blocking=False).lock.release()
            except Timeout:
                yield path.stem


def _leftovers(workspace: Workspace, before: float) -> list[Path]:
    found = (path for pattern in _LEFTOVERS for path in workspace.root.glob(pattern))
    return sorted(path for path in found if path.stat().st_mtime < before)
