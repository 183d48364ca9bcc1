"""Artefacts on S3, shared by workspaces of several machines: whole or not at all, and never overwritten.

    store.json                                 that artefacts are here, and in which layout
    manifests/<stage>/<version>.json           written last, by whoever comes first: it makes the version exist
    files/<stage>/<version>/<content>/<name>   under the digest of all of them, so that differing copies never mix
    aliases/<name>                             a line that names an artefact

No lock reaches S3. Two machines that publish the same version write equal bytes under equal keys, or differing
ones under different keys; the manifest's conditional put decides.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path, PurePosixPath

from data_contracts.conventions import STAGES, Stage
from data_contracts.manifest import Manifest
from echoingecg.common import StoreError, fingerprint, write_atomically
from tasks.base.workspace import Bucket, Listed, Workspace, is_s3
from tasks.store.artefact import Artefact, complete, content_of, read_manifest

_MARK = "store.json"
_LAYOUT = 1
_MANIFESTS = "manifests"
_FILES = "files"
_ALIASES = "aliases"
_AT_ONCE = 8  # manifests asked for side by side


class SharedStore:
    """What a bucket holds of artefacts.

    Args:
        address: `s3://bucket/prefix`.
        workspace: that joined; keeps the manifests it has seen.
    """

    def __init__(self, address: str, workspace: Workspace) -> None:
        self.bucket = Bucket(address)
        self.workspace = workspace

    def __str__(self) -> str:
        return self.bucket.address

    def check(self) -> None:
        """That the bucket is reached and keeps to the first of two writers; the first to come marks it.

        Raises:
            StoreError: it is not, does not, or another release has marked it.
        """
        mark = json.dumps({"layout": _LAYOUT}).encode()
        self.bucket.write_new(_MARK, mark)
        if self.bucket.write_new(_MARK, mark):
            raise StoreError(f"{self}: this S3 ignores If-None-Match, so the first of two writers would be lost")
        if self.bucket.read(_MARK) != mark:
            raise StoreError(f"{self}: {_MARK} is none of this release: choose another prefix")

    def manifest(self, stage: Stage, version: str) -> Manifest | None:
        """The manifest of a version; None where there is none.

        Raises:
            StoreError: it cannot be read, or S3 does not let us in.
        """
        text = self.bucket.read(_manifest_key(stage, version))
        return None if text is None else self._checked(text, stage, version)

    def manifests(self, *stages: Stage) -> list[Manifest]:
        """All manifests of the stages (default: all), by one listing; only those not seen before are fetched."""
        under = f"{_MANIFESTS}/{stages[0]}" if len(stages) == 1 else _MANIFESTS
        found = [one for one in self.bucket.listed(under) if _named(one.key)[0] in (stages or STAGES)]
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            return [one for one in threads.map(self._seen, found) if one is not None]

    def offer(self, artefact: Artefact) -> str:
        """Uploads an artefact that is here, unless it is there: its files, then the manifest.

        Returns:
            what happened, on one line; empty where an equal copy was there already.

        Raises:
            StoreError: S3 does not let us in, or the files here are not what the manifest says.
        """
        key = _manifest_key(artefact.stage, artefact.version)
        held = self.manifest(artefact.stage, artefact.version)
        if held is None:
            if faults := artefact.faults():
                raise StoreError(f"{faults[0]}, so it is not shared: run again from '{artefact.stage}' with --from")
            for name in artefact.manifest.files:  # all of them: what a killed upload left may be old, or damaged
                self.bucket.write(f"{_files_key(artefact.manifest)}/{name}", artefact.folder / name)
            if self.bucket.write_new(key, artefact.manifest.model_dump_json(indent=2).encode() + b"\n"):
                size = sum(one.bytes for one in artefact.manifest.files.values())
                return f"{artefact}: shared, {len(artefact.manifest.files)} files, {size:,} bytes, to {self}"
            held = self.manifest(artefact.stage, artefact.version)
        if held is None or held.content == artefact.manifest.content:
            return ""
        return (
            f"{artefact}: {self} holds another copy, made {held.run.finished}, and keeps it; this workspace keeps its "
            f"own, other machines take that one"
        )

    def fetch(self, manifest: Manifest, folder: Path) -> None:
        """Downloads an artefact into an empty folder, every file checked against the manifest, which comes last.

        Raises:
            StoreError: a file is missing or damaged there, or S3 does not let us in.
            OSError: the disk is full, say.
        """
        for name in manifest.files:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                for block in self._file(manifest, name):
                    file.write(block)
        complete(folder, manifest)

    def faults(self, manifest: Manifest) -> Iterator[str]:
        """One line for each file that is not there as the manifest says. Downloads all, keeps nothing."""
        for name in manifest.files:
            try:
                for _ in self._file(manifest, name):
                    pass
            except StoreError as fault:
                yield str(fault)

    def aliases(self) -> dict[str, str]:
        """Alias -> artefact name."""
        names = [one.key.partition("/")[2] for one in self.bucket.listed(_ALIASES)]
        return {name: target for name in names if (target := self.alias(name)) is not None}

    def alias(self, name: str) -> str | None:
        """The artefact that an alias names."""
        text = self.bucket.read(f"{_ALIASES}/{name}")
        return None if text is None else text.decode(errors="replace").strip()

    def set_alias(self, name: str, target: str, only_new: bool = False) -> bool:
        """Points an alias at an artefact for all machines; whether it did, which `only_new` leaves to the first."""
        content = f"{target}\n".encode()
        if only_new:
            return self.bucket.write_new(f"{_ALIASES}/{name}", content)
        self.bucket.write(f"{_ALIASES}/{name}", content)
        return True

    def surplus(self, kept: set[tuple[Stage, str]], before: datetime) -> dict[str, list[str]]:
        """Versions outside `kept`, and files that no manifest names, as a killed upload leaves them.

        Args:
            kept: (stage, version) that stay.
            before: younger ones stay too: a run elsewhere may need what nothing names yet.

        Returns:
            keys by what they are, in the order in which to delete them: a manifest goes before its files.
        """
        listed = [one for one in self.bucket.listed(_MANIFESTS) if _named(one.key)[0] in STAGES]
        gone = {one.key for one in listed if _named(one.key) not in kept and one.changed < before}
        there = (self._seen(one) for one in listed if one.key not in gone)
        named = {_files_key(one) for one in there if one is not None}
        found = {f"{self}/{key}": [key] for key in sorted(gone)}
        for one in self.bucket.listed(_FILES):
            folder = "/".join(one.key.split("/")[:4])
            if folder not in named and one.changed < before:
                found.setdefault(f"{self}/{folder}", []).append(one.key)
        return found

    def _file(self, manifest: Manifest, name: str) -> Iterator[bytes]:
        """A file's blocks; an error after the last where they are not what the manifest says."""
        key, expected, digest = f"{_files_key(manifest)}/{name}", manifest.files[name], hashlib.sha256()
        for block in self.bucket.blocks(key, expected.bytes):
            digest.update(block)
            yield block
        if digest.hexdigest() != expected.sha256:
            raise StoreError(
                f"{manifest.stage}-{manifest.version}: {name} is missing or damaged in {self}; "
                f"{self._mend(manifest.stage, manifest.version)}"
            )

    def _seen(self, listed: Listed) -> Manifest | None:
        """A listed manifest; a copy is kept here under the tag of its content. None where it has gone meanwhile."""
        stage, version = _named(listed.key)
        kept = self.workspace.shared_manifests / stage / f"{version}-{fingerprint(listed.tag)}.json"
        if kept.is_file():
            return self._checked(kept.read_bytes(), stage, version)
        if (found := self.manifest(stage, version)) is not None:
            with contextlib.suppress(OSError):  # it only spares a request; a read-only workspace may still list
                kept.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(kept, found.model_dump_json())
        return found

    def _checked(self, text: bytes, stage: Stage, version: str) -> Manifest:
        """A manifest from outside: of this version, its digest that of its files, none of which leads elsewhere."""
        mend = self._mend(stage, version)
        found = read_manifest(text, stage, version, mend)
        paths = [PurePosixPath(name) for name in found.files]
        whole = (found.stage, found.version, found.content) == (stage, version, content_of(found.files))
        if not whole or any(path.is_absolute() or ".." in path.parts for path in paths):
            raise StoreError(f"artefact {stage}-{version}: its manifest is damaged; {mend}")
        return found

    def _mend(self, stage: Stage, version: str) -> str:
        return f"delete {self}/{_manifest_key(stage, version)} and run again: it is shared or made anew"


def joined(workspace: Workspace) -> SharedStore | None:
    """The shared store that a workspace has joined; None for one that stands alone.

    Raises:
        StoreError: the file that names it is damaged.
    """
    try:
        address = workspace.shared_store.read_text(encoding="utf-8").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not is_s3(address):
        raise StoreError(f"{workspace.shared_store}: names no store on S3: 'artefacts share' writes it anew")
    return SharedStore(address, workspace)


def _manifest_key(stage: Stage, version: str) -> str:
    return f"{_MANIFESTS}/{stage}/{version}.json"


def _files_key(manifest: Manifest) -> str:
    return f"{_FILES}/{manifest.stage}/{manifest.version}/{manifest.content[:16]}"


def _named(key: str) -> tuple[Stage, str]:
    """Stage and version of a manifest's key; empty ones for a key that is none of ours."""
    found = re.fullmatch(rf"{_MANIFESTS}/({'|'.join(STAGES)})/([0-9a-z]+)\.json", key)
    return (found[1], found[2]) if found else ("", "")  # type: ignore[return-value]


def kept_here(artefact: Artefact) -> str:
    """Why an artefact is of no use to other machines, on one line; empty when it is."""
    pool = artefact.manifest.run.pool
    if pool is None or is_s3(pool.path):
        return ""
    return (
        f"{artefact}: not shared, as its pool is a folder of this workspace: other machines make their own; to share "
        f"both, run with execution.pools=s3://BUCKET/PREFIX"
    )
