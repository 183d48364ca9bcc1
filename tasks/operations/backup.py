"""Copies a workspace to a folder elsewhere while runs go on, and makes a workspace of such a copy.

What is copied is whole: artefacts are never changed once published, and of a pool exactly those files are taken that
its seal names, so that a commit which comes meanwhile is in the next backup. While a backup runs, nothing is deleted:
`gc` and `forget` wait for runs, and a backup counts as one.

A backup is a mirror. What the workspace no longer has, such as a patient who has withdrawn consent, leaves the folder
with the next backup. It holds the pseudonym key, so it is as secret as the workspace.
"""

import base64
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data_contracts.manifest import Checksum, checksum_of
from echoingecg.common import Progress, StoreError, UserError, flush_names, flush_to_disk, no_progress, write_atomically
from tasks.base.workspace import Workspace, writing_to
from tasks.store import ArtefactStore, leases, seals

LIST = "backup.json"  # in the backup's folder, written last
_INTERRUPTED = "backup.interrupted.json"  # what the list was before a backup that has not ended
_LEFT_OUT = ("leases", "scratch", "exports", "tracking")  # of live runs, checkpoints, simulated exports, made anew
_PARTIAL = ".restoring"


class BackupList(BaseModel):
    """What a backup holds.

    Attributes:
        made: UTC, ISO 8601.
        software: version that made it.
        workspace: path that it was made of.
        files: size and SHA-256 of each, by relative path.
        heads: content of the few files of pools that commits replace, in base64, by relative path.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    made: str
    software: str
    workspace: str
    files: dict[str, Checksum]
    heads: dict[str, str] = Field(default_factory=dict)


def back_up(store: ArtefactStore, folder: Path, progress: Progress = no_progress) -> tuple[int, int]:
    """Brings a backup up to date; only what is new is copied.

    Args:
        store: of a workspace in which runs may be going on.
        folder: new, empty, or an earlier backup; not within the workspace.
        progress: told the files done.

    Returns:
        The number of files in the backup, and of those that were copied.

    Raises:
        UserError: something else is in the folder, or it lies within the workspace.
        StoreError: a pool is damaged, the disk is full.
    """
    root = store.workspace.root
    if folder.is_relative_to(root) or root.is_relative_to(folder):
        raise UserError(f"{folder}: a backup lies outside the workspace, best on another disk")
    known = _begun(folder)
    with leases.held(store.workspace, leases.EVERYTHING), writing_to(folder):
        sources, heads = _files_of(store)
        listed: dict[str, Checksum] = {}
        copied = 0
        for done, (name, source) in enumerate(sources.items(), start=1):
            target = folder / name
            if not _is_copy(source, target) or name not in known:
                try:
                    _copy(source, target)
                except FileNotFoundError as fault:
                    raise StoreError(f"{source}: was deleted while it was copied: back up again") from fault
                copied += 1
                listed[name] = checksum_of(target)
            else:
                listed[name] = known[name]
            progress(done, len(sources))
        _delete_others(folder, listed)
        made = datetime.now(UTC).isoformat(timespec="seconds")
        backup = BackupList(made=made, software=version("echoingecg"), workspace=str(root), files=listed, heads=heads)
        write_atomically(folder / LIST, backup.model_dump_json(indent=1) + "\n", mode=0o600)
        (folder / _INTERRUPTED).unlink(missing_ok=True)
    return len(listed), copied


def restore(folder: Path, workspace: Workspace, progress: Progress = no_progress) -> BackupList:
    """Makes a workspace of a backup; every byte is compared with the backup's list.

    Args:
        folder: of the backup.
        workspace: its root is absent or empty.
        progress: told the files done.

    Raises:
        UserError: no backup, or the workspace is not empty.
        StoreError: a file of the backup is gone or damaged; nothing is left of the new workspace.
    """
    root, backup = workspace.root, _read(folder / LIST)
    if backup is None:
        hint = ": a backup was interrupted there, back up again" if (folder / _INTERRUPTED).exists() else ""
        raise UserError(f"{folder}: no backup{hint}")
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise UserError(f"{root}: is not empty; a backup is restored to a new folder")
    partial = root.with_name(f"{root.name}{_PARTIAL}")
    with writing_to(root.parent):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True, mode=0o700)
        for done, (name, expected) in enumerate(backup.files.items(), start=1):
            target = partial / name
            try:
                _copy(folder / name, target)
            except FileNotFoundError as fault:
                raise StoreError(f"{folder}: {name} is gone: use another backup") from fault
            if checksum_of(target) != expected:
                raise StoreError(f"{folder}: {name} is damaged: use another backup")
            progress(done, len(backup.files))
        for name, content in backup.heads.items():
            target = partial / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(base64.b64decode(content))
            flush_to_disk(target)
        if (partial / "private").is_dir():
            (partial / "private").chmod(0o700)
        for inner in (path for path in partial.rglob("*") if path.is_dir()):
            flush_to_disk(inner)
        if root.is_dir():
            root.rmdir()
        partial.rename(root)
        flush_names(root, root.parent)
    return backup


def _begun(folder: Path) -> dict[str, Checksum]:
    """Marks a backup as begun: until it has ended it cannot be restored. Returns what the earlier one listed."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        known = _read(folder / LIST) or _read(folder / _INTERRUPTED)
        if known is None:
            raise UserError(f"{folder}: is not empty, and no backup: choose another folder")
        if (folder / LIST).exists():
            (folder / LIST).replace(folder / _INTERRUPTED)
        return known.files
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        nothing = BackupList(made="", software="", workspace="", files={})
        write_atomically(folder / _INTERRUPTED, nothing.model_dump_json() + "\n", mode=0o600)
    return {}


def _read(path: Path) -> BackupList | None:
    try:
        return BackupList.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as fault:
        raise UserError(f"{path}: damaged") from fault


def _files_of(store: ArtefactStore) -> tuple[dict[str, Path], dict[str, str]]:
    """Files to copy by relative path, and the content of those files of pools that commits replace.

    In this order: aliases, artefacts, pools, so that each holds what the one before it names.
    """
    root, aliases = store.workspace.root, store.workspace.artefacts / "aliases"
    files: dict[str, Path] = {}
    heads = {name: _text(path.read_bytes()) for name, path in _below(root, aliases).items()}
    for artefact in store.here():
        files |= _below(root, artefact.folder)
    for place in sorted(path for path in root.iterdir() if path.name not in (*_LEFT_OUT, "artefacts", "pools")):
        files |= _below(root, place)
    files |= _below(root, store.workspace.shared_manifests)
    for pool in sorted(store.workspace.pools.glob("*/*/")):
        if seals.DAMAGED in pool.name:
            continue
        name = pool.relative_to(root).as_posix()
        sealed = seals.sealed_files(pool)
        if sealed is None:  # of an earlier release: nothing says what it consists of
            with seals.lock_of(pool):
                files |= _below(root, pool)
            continue
        seal_file, sealed_pool = sealed
        files |= {f"{name}/{inner}": pool / inner for inner in sealed_pool.files}
        heads |= {f"{name}/{inner}": content for inner, content in sealed_pool.heads.items()}
        heads[seal_file.relative_to(root).as_posix()] = _text(sealed_pool.model_dump_json().encode())
    return files, heads


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _below(root: Path, place: Path) -> dict[str, Path]:
    """Files at or below a place, by their path relative to the root; neither locks nor files still being written."""
    paths = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path for path in paths if _is_kept(path)}


def _is_kept(path: Path) -> bool:
    return path.suffix != ".lock" and not (path.name.startswith(".") and "-" in path.name)


def _is_copy(source: Path, target: Path) -> bool:
    """Whether the target has the size and the time of the source."""
    if not target.is_file():
        return False
    own, copy = source.stat(), target.stat()
    return (own.st_size, own.st_mtime_ns) == (copy.st_size, copy.st_mtime_ns)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)
    flush_to_disk(target)


def _delete_others(folder: Path, listed: dict[str, Checksum]) -> None:
    for path in _others(folder, listed):
        path.unlink()
    for path in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        if not any(path.iterdir()):
            path.rmdir()


def _others(folder: Path, listed: dict[str, Checksum]) -> Iterator[Path]:
    own = {LIST, _INTERRUPTED}
    files = [path for path in folder.rglob("*") if path.is_file()]
    return (path for path in files if (name := path.relative_to(folder).as_posix()) not in listed and name not in own)
