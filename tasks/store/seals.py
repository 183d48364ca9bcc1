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
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from data_contracts.conventions import Stage
from data_contracts.manifest import Checksum, DamagedError, check_file, checksum_of
from echoingecg.common import StoreError, flush_names, flush_to_disk, write_atomically
from tasks.base.workspace import Workspace, is_s3, writing_to

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


def seal(root: Path, place: str) -> None:
    """Flushes what is new in a pool's folder to the disk, then notes it. Needs the pool's lock.

    Args:
        root: of the workspace.
        place: of the pool, relative to it.

    Raises:
        OSError: the disk is full, for example.
    """
    folder = root / place
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
    for inner in (path for path in folder.rglob("*") if path.is_dir()):
        flush_to_disk(inner)
    flush_names(folder, root)
    write_atomically(_place(folder), Seal(files=files, heads=heads).model_dump_json())


def sealed_files(folder: Path) -> tuple[Path, Seal] | None:
    """The seal of a pool and the file that holds it: what the pool consists of, whatever is being written to it.

    None for a pool of an earlier release. Raises StoreError where the seal is damaged.
    """
    known = _read(folder)
    return None if known is None else (_place(folder), known)


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
        if not _is_head(path, content):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(base64.b64decode(content))
            flush_to_disk(path)
            flush_names(path.parent, folder)


def set_aside(folder: Path) -> None:
    """Renames a damaged pool, so that it is made anew; gc deletes it after a day. Needs the pool's lock."""
    unseal(folder)
    if folder.exists():
        aside = folder.rename(folder.with_name(f"{folder.name}{DAMAGED}{time.time_ns()}"))
        os.utime(aside)  # from now on its age counts
        flush_to_disk(folder.parent)


def mend(workspace: Workspace, place: str) -> None:
    """Brings a pool back to its seal where a kill or a power cut came after it, unless somebody is writing to it.

    Raises:
        StoreError: its seal is damaged, or the disk cannot be written.
    """
    folder = workspace.root / place
    known = _read(folder)
    if (
        known is None
        or not folder.is_dir()
        or all(_is_head(folder / name, content) for name, content in known.heads.items())
    ):
        return
    with writing_to(workspace.root), suppress(Timeout), lock_of(folder).acquire(blocking=False):
        as_sealed(folder)


def lock_of(folder: Path) -> FileLock:
    """The lock of those who write to a pool."""
    return FileLock(folder.with_suffix(".lock"))


def fault_of(folder: Path, thorough: bool = False) -> str:
    """What is wrong with a pool's files, as the end of a sentence; empty where nothing is.

    Args:
        folder: of a pool that may be written to at the same time.
        thorough: compare every byte, instead of names and sizes.
    """
    return next(faults_of(folder, thorough), "")


def faults_of(folder: Path, thorough: bool = False) -> Iterator[str]:
    """Yields every fault, as `fault_of` gives the first. Files that commits replace are left to `mend`."""
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
        try:
            size = _size(folder / name)
            if size != expected.bytes:
                yield f"has lost {name}" if size is None else f"has {size} of {expected.bytes} bytes of {name}"
            elif thorough and checksum_of(folder / name) != expected:
                yield f"holds {name} damaged"
        except OSError as fault:
            yield f"has a file {name} that cannot be read ({fault.strerror})"


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
    if fault := loss_of(workspace, place):
        raise StoreError(f"pool {place} {fault}: {mend_of(place)}")
    known = _read(folder)
    for name, expected in known.files.items() if known else ():
        if not name.startswith(_CHUNKS):
            try:
                check_file(folder / name, expected, f"pool {place}: {name}", mend_of(place))
            except DamagedError as damage:
                raise StoreError(str(damage)) from damage


def loss_of(workspace: Workspace, place: str) -> str:
    """What a pool has lost, by names and sizes, as `fault_of`; what came after its seal is undone first."""
    with suppress(StoreError):  # `fault_of` will say so
        mend(workspace, place)
    return fault_of(workspace.root / place)


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


def _is_head(path: Path, content: str) -> bool:
    return path.is_file() and path.read_bytes() == base64.b64decode(content)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return None
