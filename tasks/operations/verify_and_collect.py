"""Garbage collection: artefacts that nothing needs, and what killed runs left behind.

Is everything on disk what the manifests say: files, contracts, and every row in the pools.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import zarr
from filelock import FileLock, Timeout

from data_contracts import ecg, teacher
from data_contracts.conventions import STAGES, Stage
from data_contracts.tables import TableContract
from echoingecg.common import Progress, StoreError, UserError, hash_array
from tasks.base.workspace import Workspace, writing_to
from tasks.pools.pool import Pool, array_of, rows_by_key, rows_of, sweep
from tasks.store import artefacts, join_shared
from tasks.store.artefact import Artefact


def faults(store: artefacts.ArtefactStore, artefact: Artefact) -> Iterator[str]:
    """One line for every difference; nothing when the artefact is sound."""
    yield from artefact.faults()
    for stage, version in artefact.manifest.inputs.items():
        if store.seen(stage, version) is None:
            yield f"{artefact}: its input {stage}-{version} is missing"
    if artefact.manifest.run.pool is None:
        return
    try:
        group = Pool.read(store.workspace, artefact.manifest.run.pool)
        if artefact.stage == "ecg":
            yield from _ecg(artefact, group)
        else:
            yield from _teacher(artefact, group)
    except UserError as fault:
        yield f"{artefact}: {fault}"


def examined(store: artefacts.ArtefactStore, names: list[str], shared: bool, report: Progress) -> dict[str, list[str]]:
    """Every artefact that was looked at, with its faults.

    Args:
        store: of a workspace.
        names: STAGE-VERSION or aliases; empty for all, of the workspace or of the shared store.
        shared: look at the copies in the shared store.
        report: told how many are done.
    """
    if shared:
        return dict(shared_faults(store, names))
    chosen = [store.get(name) for name in names] or store.here()
    found: dict[str, list[str]] = {}
    for done, artefact in enumerate(chosen, start=1):
        found[str(artefact)] = list(faults(store, artefact))
        report(done, len(chosen), str(artefact))
    return found


def shared_faults(store: artefacts.ArtefactStore, names: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Artefacts of the shared store (default: all), and a line for every file that is not as its manifest there says.

    Raises:
        StoreError: the workspace has joined none, no such artefact, or S3 does not let us in.
    """
    shared = join_shared.shared_store_of(store)
    chosen = {(one.stage, one.version) for one in map(store.named, names)}
    for manifest in shared.manifests():
        if not chosen or (manifest.stage, manifest.version) in chosen:
            yield f"{manifest.stage}-{manifest.version}", list(shared.faults(manifest))


def _ecg(artefact: Artefact, group: zarr.Group) -> Iterator[str]:
    signal = array_of(group, ecg.SIGNAL)
    for row, at in _rows(artefact, ecg.records_contract(artefact.manifest.contract_version), group):
        if at is None or hash_array(np.asarray(signal[at])) != row["signal_sha256"]:
            yield f"{artefact}: signal of {row['record_id']} is not in the pool as it was"


def _teacher(artefact: Artefact, group: zarr.Group) -> Iterator[str]:
    starts, frames = rows_of(group, teacher.CLIP_START), rows_of(group, teacher.CLIP_FRAMES)
    embedding = array_of(group, teacher.EMBEDDING)
    for row, at in _rows(artefact, teacher.CLIPS, group):
        held = at is not None and hash_array(np.asarray(embedding[starts[at] : starts[at] + frames[at]]))
        if held != row["embedding_sha256"]:
            yield f"{artefact}: embeddings of {row['clip_id']} are not in the pool as they were"


def _rows(artefact: Artefact, contract: TableContract, group: zarr.Group) -> Iterator[tuple[dict, int | None]]:
    rows = rows_by_key(group)
    for row in contract.read(artefact.folder).to_pylist():
        yield row, rows.get(row["content_hash"])


_LEFTOVER_AGE = 24 * 3600.0  # seconds; on shared disks a lock may not show, and younger ones may be in use
_SHARED_AGE = 7 * 24 * 3600.0  # seconds; no training should take longer
_LEFTOVERS = (
    "artefacts/*/.building-*",
    "artefacts/*/.fetching-*",
    "artefacts/*/.replaced/*",
    "scratch/*/*/",
    "exports/*.partial/",
    "private/.*-*",  # these: files that replace_atomically had not renamed yet
    "private/exports/.*-*",
    "artefacts/aliases/.*-*",
    "artefacts/.shared/*/.*-*",
    ".shared_store-*",
    "decisions/.*-*",
)


def collect(store: artefacts.ArtefactStore, delete: bool) -> Iterator[str]:
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


def collect_shared(store: artefacts.ArtefactStore, delete: bool) -> Iterator[str]:
    """The same of the shared store: versions outside every kept lineage, and files of uploads that were killed.

    Kept is the lineage of the newest evaluation, whoever made it, and of every alias, and all that is younger than a
    week: which runs go on elsewhere, and what they need, nobody here knows.

    Yields:
        one line for every version, or copy of one.

    Raises:
        StoreError: the workspace has joined none, or S3 does not let us in.
    """
    shared = join_shared.shared_store_of(store)
    before = datetime.fromtimestamp(time.time() - _SHARED_AGE, UTC)
    for what, keys in shared.surplus(_kept(store, store.published), before).items():
        if delete:
            shared.bucket.delete(keys)
        yield f"{'deleted' if delete else 'would delete'} {what}"


def _kept(store: artefacts.ArtefactStore, listed: Callable[..., list[Artefact]]) -> set[tuple[Stage, str]]:
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
