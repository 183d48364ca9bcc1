"""The seal of a pool on this disk: which files its last commit consists of, flushed to the disk before it is noted.

Icechunk flushes nothing: after a power cut, files of a commit may be empty, short or gone. So after every commit all
new files and their folders are flushed, and a seal beside the pool (`pools/<stage>/<key>.seal`) notes them: size and
SHA-256 of files that are written once, and the content of the few that commits replace. A pool is what its seal says.
What came after, a commit that a kill or a power cut has interrupted, is undone. Pools on S3 need none of this.
"""

import base64
import os
import time
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from data_contracts.conventions import Stage
from data_contracts.manifest import Checksum, DamagedError, check_file, checksum_of
from echoingecg.common import StoreError, flush_to_disk, write_atomically
from tasks.base.workspace import Workspace, is_s3

DAMAGED = ".damaged-"  # in the name of a pool that was set aside
_WRITTEN_ONCE = ("chunks", "manifests", "overwritten", "snapshots", "transactions")
_CHUNKS = "chunks/"


class Seal(BaseModel):
    """What a pool's folder holds.

    Attributes:
        files: those that are written once, by relative path.
        heads: content of those that commits replace, such as the name of the newest snapshot, in base64.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    files: dict[str, Checksum]
    heads: dict[str, str]


def seal(folder: Path) -> None:
    """Flushes what is new in a pool's folder to the disk, then notes it. Needs the pool's lock.

    Raises:
        OSError: the disk is full, for example.
    """
    known = _read(folder)
    known_files = known.files if known else {}
    files: dict[str, Checksum] = {}
    heads: dict[str, str] = {}
    for name, path in _files(folder):
        if name in known_files:
            files[name] = known_files[name]
            continue
        flush_to_disk(path)
        if name.partition("/")[0] in _WRITTEN_ONCE:
            files[name] = checksum_of(path)
        else:
            heads[name] = base64.b64encode(path.read_bytes()).decode("ascii")
    for place in (folder, *(path for path in folder.rglob("*") if path.is_dir()), folder.parent, folder.parent.parent):
        flush_to_disk(place)
    write_atomically(_place(folder), Seal(files=files, heads=heads).model_dump_json())


def unseal(folder: Path) -> None:
    """Removes the seal of a pool whose files are about to be deleted. Needs the pool's lock."""
    _place(folder).unlink(missing_ok=True)


def as_sealed(folder: Path) -> None:
    """Undoes what came after the seal. Needs the pool's lock. A pool without one, of an earlier release, stays."""
    if (known := _read(folder)) is None:
        return
    for name, path in list(_files(folder)):
        if name not in known.files and name not in known.heads:
            path.unlink()
    for name, content in known.heads.items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != base64.b64decode(content):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(base64.b64decode(content))
            flush_to_disk(path)


def set_aside(folder: Path) -> None:
    """Renames a damaged pool, so that it is made anew; gc deletes it after a day. Needs the pool's lock."""
    unseal(folder)
    if folder.exists():
        folder.rename(folder.with_name(f"{folder.name}{DAMAGED}{time.time_ns()}"))


def fault_of(folder: Path, thorough: bool = False, heads: bool = True) -> str:
    """What is wrong with a pool's files, as the end of a sentence; empty where nothing is.

    Args:
        folder: of a pool that may be written to at the same time.
        thorough: compare every byte, instead of names and sizes.
        heads: look at those that commits replace, too; `as_sealed` brings them back.
    """
    return next(faults_of(folder, thorough, heads), "")


def faults_of(folder: Path, thorough: bool = False, heads: bool = True) -> Iterator[str]:
    """Yields every fault, as `fault_of` gives the first."""
    if not folder.is_dir():
        yield "is gone"
        return
    try:
        known = _read(folder)
    except StoreError:
        yield "has a damaged seal"
        return
    if known is None:  # of an earlier release
        yield from (f"has an empty file {name}" for name, path in _files(folder) if not _size(path))
        return
    for name, expected in known.files.items():
        size = _size(folder / name)
        if size != expected.bytes:
            yield f"has lost {name}" if size is None else f"has {size} of {expected.bytes} bytes of {name}"
        elif thorough and checksum_of(folder / name) != expected:
            yield f"holds {name} damaged"
    yield from (f"has lost {name}" for name in known.heads if heads and not _size(folder / name))


def check_pool(workspace: Workspace, place: str) -> None:
    """Checks that a pool has all of its files, and every byte of them but the chunks, which carry checksums.

    Args:
        workspace: the place is relative to it.
        place: of the pool; nothing is checked on S3.

    Raises:
        StoreError: it is gone or damaged.
    """
    if is_s3(place):
        return
    folder = workspace.root / place
    if fault := fault_of(folder):
        raise StoreError(f"pool {place} {fault}: {mend_of(place)}")
    known = _read(folder)
    for name, expected in known.files.items() if known else ():
        if not name.startswith(_CHUNKS):
            try:
                check_file(folder / name, expected, f"pool {place}: {name}", mend_of(place))
            except DamagedError as damage:
                raise StoreError(str(damage)) from damage


def stage_of(place: str) -> Stage | str:
    """The stage of a pool: `ecg` of `pools/ecg/KEY`, here or on S3."""
    return place.rstrip("/").split("/")[-2]


def mend_of(place: str) -> str:
    """What to do about a damaged pool, for an error."""
    return f"run again with --from {stage_of(place)}, which makes the pool anew from the source files"


def _place(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.seal")


def _read(folder: Path) -> Seal | None:
    path = _place(folder)
    try:
        return Seal.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as fault:
        raise StoreError(f"{path}: damaged") from fault


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            yield path.relative_to(folder).as_posix(), path


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return None
