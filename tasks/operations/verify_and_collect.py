"""Upkeep of a workspace and a shared store: is everything as the manifests say, and what can be deleted."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import zarr
from filelock import FileLock, Timeout

from data_contracts import conventions, ecg, tables, teacher
from data_contracts.manifest import FILENAME, PoolSnapshot
from echoingecg.common import Progress, StoreError, UserError, hash_array, hexadecimal
from tasks.base.workspace import Workspace, is_s3, writing_to
from tasks.pools import Pool, array_of, published_digests, read_rows, rows_in_pool, rows_of, sweep
from tasks.store import Artefact, ArtefactStore, SharedStore, before_it, leases, read_moves, seals


def faults(store: ArtefactStore, artefact: Artefact) -> Iterator[str]:
    """Yields one line for every difference between an artefact, with its pool, and its manifest."""
    own = artefact.faults()
    yield from own
    for stage, version in artefact.manifest.inputs.items():
        try:
            if store.seen(stage, version) is None:
                yield f"{artefact}: its input {stage}-{version} is missing"
        except StoreError as fault:
            yield f"{artefact}: its input: {fault}"
    if (pool := artefact.manifest.run.pool) is None:
        return
    lost = [] if is_s3(pool.path) else list(seals.faults_of(store.workspace.root / pool.path, thorough=True))
    yield from (f"{artefact}: its pool {pool.path} {fault}: {seals.mend_of(pool.path)}" for fault in lost)
    if not own and not lost:
        yield from _faults_of_rows(store.workspace, artefact, pool)


def _faults_of_rows(workspace: Workspace, artefact: Artefact, pool: PoolSnapshot) -> Iterator[str]:
    """Yields a line for every row of the artefact's table whose content is not in the pool as it was."""
    try:
        group = Pool.read(workspace, pool)
        if artefact.stage == "ecg":
            yield from _ecg(artefact, group)
        else:
            yield from _teacher(artefact, group)
    except UserError as fault:
        yield f"{artefact}: {fault}"
    except Exception as fault:  # noqa: BLE001 - whatever a damaged pool leads to is a fault of the pool
        yield f"{artefact}: its pool {pool.path} cannot be read ({type(fault).__name__}): {seals.mend_of(pool.path)}"


def verify_artefacts(store: ArtefactStore, names: list[str], shared: bool, report: Progress) -> dict[str, list[str]]:
    """Artefact -> its faults, for every artefact that was checked; no faults means it is sound.

    Args:
        store: of a workspace.
        names: STAGE-VERSION or aliases; empty for all artefacts of the workspace or of the shared store.
        shared: check the copies in the shared store.
        report: told the artefacts done.
    """
    if shared:
        return dict(shared_faults(store, names))
    chosen: list[tuple[str, Artefact | StoreError]]
    chosen = [(str(artefact), artefact) for artefact in map(store.get, names)] or list(store.examined())
    lines: dict[str, list[str]] = {}
    for done, (name, artefact) in enumerate(chosen, start=1):
        lines[name] = [str(artefact)] if isinstance(artefact, StoreError) else list(faults(store, artefact))
        report(done, len(chosen), name)
    return lines


def shared_faults(store: ArtefactStore, names: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yields artefacts of the shared store (default: all), each with a line for every missing or damaged file.

    Raises:
        StoreError: the workspace has joined no store, no such artefact, or S3 refuses access.
    """
    shared = _shared_store(store)
    chosen = {(artefact.stage, artefact.version) for artefact in map(store.named, names)}
    for manifest in shared.manifests():
        if not chosen or (manifest.stage, manifest.version) in chosen:
            yield f"{manifest.stage}-{manifest.version}", list(shared.faults(manifest))


def _shared_store(store: ArtefactStore) -> SharedStore:
    if store.shared is None:
        raise StoreError(f"{store.workspace.root} shares no artefacts: 'artefacts share' joins a store")
    return store.shared


def _ecg(artefact: Artefact, group: zarr.Group) -> Iterator[str]:
    signal = array_of(group, ecg.SIGNAL)
    for record, row, digest in _pool_rows(artefact, ecg.records_contract(artefact.manifest.contract_version), group):
        if hash_array(read_rows(signal, row)) != digest:
            yield f"{artefact}: signal of {record['record_id']} is not in the pool as it was"


def _teacher(artefact: Artefact, group: zarr.Group) -> Iterator[str]:
    starts, frames = rows_of(group, teacher.CLIP_START), rows_of(group, teacher.CLIP_FRAMES)
    embedding = array_of(group, teacher.EMBEDDING)
    for clip, row, digest in _pool_rows(artefact, teacher.clips_contract(artefact.manifest.contract_version), group):
        if hash_array(read_rows(embedding, slice(starts[row], starts[row] + frames[row]))) != digest:
            yield f"{artefact}: embeddings of {clip['clip_id']} are not in the pool as they were"


def _pool_rows(
    artefact: Artefact, contract: tables.TableContract, group: zarr.Group
) -> Iterator[tuple[dict, int, str]]:
    """Yields each row of the artefact's table, its row in the pool, and the SHA-256 of what was published.

    Raises:
        StoreError: the pool lacks one of them, or its digests are not those that were published.
    """
    table = contract.read(artefact.folder)
    rows = rows_in_pool(group, table["content_hash"].to_pylist())
    digests = hexadecimal(published_digests(artefact, table, group, rows))
    yield from zip(table.to_pylist(), rows.tolist(), digests, strict=True)


_LEFTOVER_AGE_SECONDS = 24 * 3600.0  # younger files may be in use: on shared disks a lock may not show
_SHARED_AGE_SECONDS = 7 * 24 * 3600.0  # no training should take longer
DELETING = ".deleting-"  # a version that gc has taken out of the way
LEFTOVERS = (
    f"artefacts/*/{DELETING}*/",
    "artefacts/*/.building-*",
    "artefacts/*/.fetching-*",
    "artefacts/*/.replaced/*",
    "scratch/*/*/",
    "exports/*.partial/",
    f"pools/*/*{seals.DAMAGED}*/",
    "private/.*-*",  # from here: files that common.replace_atomically had not renamed yet
    "private/exports/.*-*",
    "artefacts/aliases/.*-*",
    "artefacts/.shared/*/.*-*",
    ".shared_store-*",
    "decisions/.*-*",
)


def garbage_collect(
    store: ArtefactStore, delete: bool, force: bool = False, keep_last: int = 1, unused_days: float = 0
) -> Iterator[str]:
    """Lists artefacts outside every kept lineage, old leftovers and lost chunks of pools; removes them with `delete`.

    The lineage of the newest evaluations, of every alias and of what live runs hold is kept. What any commit of a pool
    holds is kept too: versions share pools, and their content was costly. Pools on S3 are not touched, since other
    machines may write to them.

    Args:
        store: of a workspace in which runs may be going on.
        delete: remove them.
        force: artefacts that are younger than a day, too; never what a live run holds.
        keep_last: number of newest evaluations that are kept, each with its student and all that it was made of.
        unused_days: private indexes of exports that no run has looked at for so long, too; 0 for none. They are made
            again from the export.

    Yields:
        one line for every folder.
    """
    root, old = store.workspace.root, time.time() - _LEFTOVER_AGE_SECONDS
    verb = "deleted" if delete else "would delete"
    for name, path in _surplus(store, None if force else old, delete, keep_last):
        _remove(root, path, delete)
        yield f"{verb} {name}"
    listed = {made.version for made in store.here("catalog")}
    hours = [path for path in root.glob("private/hours/*/") if path.name not in listed and _is_older(path, old)]
    for path in [*_leftovers(store.workspace, old), *hours, *_unused_indexes(store.workspace, unused_days)]:
        _remove(root, path, delete)
        yield f"{verb} {path.relative_to(root)}"
    for pool in sorted(store.workspace.pools.glob("*/*/")):
        if seals.DAMAGED in pool.name:
            continue
        place = str(pool.relative_to(root))
        with writing_to(root), suppress(Timeout), seals.lock_of(pool).acquire(blocking=False):
            if lost := sweep(store.workspace, place, datetime.fromtimestamp(old, UTC), delete):
                yield f"{verb} {lost:,} bytes that no commit holds in {place}"


def _unused_indexes(workspace: Workspace, days: float) -> list[Path]:
    """Private indexes of exports, and of their refused rows, that no run has written for so many days; none for 0."""
    before = time.time() - days * 24 * 3600
    patterns = ("sources-*", "rows-*") if days else ()
    return sorted(path for pattern in patterns for path in workspace.private.glob(pattern) if _is_older(path, before))


def _surplus(store: ArtefactStore, before: float | None, delete: bool, keep_last: int) -> list[tuple[str, Path]]:
    """Artefacts that nothing needs and no live run holds, by name and folder; with `delete`, renamed out of the way.

    Args:
        before: time of publication after which all are kept; None for any age.
        delete: rename them; no run can take one while this happens.
        keep_last: as for `garbage_collect`.
    """
    surplus: list[tuple[str, Path]] = []
    with leases.all_held(store.workspace) as held:
        if leases.EVERYTHING in held:
            return []
        listed = store.here()
        live = [item for item in listed if str(item) in held]
        kept = _kept(store, store.here, keep_last) | {
            version for item in live for version in store.lineage(item).items()
        }
        for item in listed:
            is_young = before is not None and (item.folder / FILENAME).stat().st_mtime >= before
            if (item.stage, item.version) in kept or is_young:
                continue
            path = item.folder
            if delete:
                path = path.rename(path.with_name(f"{DELETING}{item.version}-{time.time_ns()}"))
            surplus.append((str(item.folder.relative_to(store.workspace.root)), path))
    return surplus


def _remove(root: Path, path: Path, delete: bool) -> None:
    while delete and path.exists():
        with writing_to(root), suppress(FileNotFoundError):  # another collector is at it, too
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _is_older(path: Path, before: float) -> bool:
    try:
        return path.stat().st_mtime < before
    except FileNotFoundError:  # another collector was quicker
        return False


def garbage_collect_shared(store: ArtefactStore, delete: bool) -> Iterator[str]:
    """Lists versions of the shared store outside every kept lineage, and files of killed uploads; removes them.

    The lineage of the newest evaluation of any machine and of every alias is kept. So is everything younger than a
    week: runs on other machines may need it. Without `delete` nothing is removed.

    Yields:
        one line for every version, or copy of one.

    Raises:
        StoreError: the workspace has joined no store, or S3 refuses access.
    """
    shared = _shared_store(store)
    before = datetime.fromtimestamp(time.time() - _SHARED_AGE_SECONDS, UTC)
    for what, keys in shared.surplus(_kept(store, store.published), before).items():
        if delete:
            shared.bucket.delete(keys)
        yield f"{'deleted' if delete else 'would delete'} {what}"


def _kept(
    store: ArtefactStore, listed: Callable[..., list[Artefact]], keep_last: int = 1
) -> set[tuple[conventions.Stage, str]]:
    """(stage, version) of everything behind the newest listed evaluations and what an alias names or named last."""
    newest = next((made[-keep_last:] for stage in reversed(conventions.STAGES) if (made := listed(stage))), [])
    aliases = store.aliases()
    roots = newest + [store.named(name) for name in aliases]
    for alias, target in aliases.items():
        if earlier := before_it(read_moves(store.workspace, alias), target):
            with suppress(StoreError):  # it is gone
                roots.append(store.named(earlier))
    return {version for artefact in roots for version in store.lineage(artefact).items()}


def _held(workspace: Workspace) -> Iterator[str]:
    """Yields the names of locks that some process holds."""
    for pattern in ("artefacts/.locks/*.lock", "pools/*/*.lock", "exports/*.lock"):
        for path in sorted(workspace.root.glob(pattern)):
            try:
                FileLock(path).acquire(blocking=False).lock.release()
            except Timeout:
                yield path.stem


def _leftovers(workspace: Workspace, before: float) -> list[Path]:
    """What killed runs have left, older than a time, and not of a version or an export that somebody is making."""
    busy = set(_held(workspace))
    paths = (path for pattern in LEFTOVERS for path in workspace.root.glob(pattern))
    return sorted(path for path in paths if _is_older(path, before) and not busy & _makers(path))


def _makers(path: Path) -> set[str]:
    """Names of the locks whose holder may be using a leftover."""
    version = path.name.split("-")[1] if path.name.startswith(".") and "-" in path.name else path.name
    name = f"{path.parent.name}-{version}"
    return {name, f"fetch-{name}", path.stem}
