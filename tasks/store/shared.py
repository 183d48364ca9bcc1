"""What workspaces of several machines share on S3: artefacts, whole and never overwritten, and aliases.

    store.json                                 marks the prefix, with the number of this layout
    manifests/<stage>/<version>.json           written last, by the first machine to come: it makes the version exist
    files/<stage>/<version>/<content>/<name>   under the digest of all files, so that differing copies never mix
    aliases/<name>                             a line that names an artefact

S3 has no locks. Two machines that publish the same version write equal bytes under equal keys, or differing bytes
under different keys. The conditional put of the manifest decides which copy counts.
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
from tasks.base.workspace import Bucket, S3Object, Workspace, is_s3, writing_to
from tasks.store.artefact import Artefact, complete, read_manifest

_MARK = "store.json"
_LAYOUT = 1
_MANIFESTS = "manifests"
_FILES = "files"
_ALIASES = "aliases"
_REQUESTS_AT_A_TIME = 8  # for manifests


class SharedStore:
    """Artefacts under an address on S3.

    Args:
        address: `s3://bucket/prefix`.
        workspace: one that has joined; keeps copies of the manifests that it has read.
    """

    def __init__(self, address: str, workspace: Workspace) -> None:
        self.bucket = Bucket(address)
        self.workspace = workspace

    def __str__(self) -> str:
        return self.bucket.address

    def check(self) -> None:
        """Checks that the bucket answers and keeps the first of two writers' objects. Marks a new store.

        Raises:
            StoreError: it does not, or another release has marked it.
        """
        mark = json.dumps({"layout": _LAYOUT}).encode()
        self.bucket.write_new(_MARK, mark)
        if self.bucket.write_new(_MARK, mark):
            raise StoreError(f"{self}: this S3 ignores If-None-Match, so the first of two writers would be lost")
        if self.bucket.read(_MARK) != mark:
            raise StoreError(f"{self}: {_MARK} is none of this release: choose another prefix")

    def manifest(self, stage: Stage, version: str) -> Manifest | None:
        """The manifest of a version; None where the store has no such version.

        Raises:
            StoreError: it cannot be read, or S3 refuses access.
        """
        text = self.bucket.read(_manifest_key(stage, version))
        return None if text is None else self._checked(text, stage, version)

    def manifests(self, *stages: Stage) -> list[Manifest]:
        """All manifests of the stages (default: all), by one listing. Only manifests not read before are fetched."""
        under = f"{_MANIFESTS}/{stages[0]}" if len(stages) == 1 else _MANIFESTS
        objects = [item for item in self.bucket.listed(under) if _version_of(item.key)[0] in (stages or STAGES)]
        with ThreadPoolExecutor(_REQUESTS_AT_A_TIME) as threads:
            return [manifest for manifest in threads.map(self._read_once, objects) if manifest is not None]

    def offer(self, artefact: Artefact) -> str:
        """Uploads an artefact of the workspace, first its files, then the manifest. Does nothing if S3 has it.

        Returns:
            what happened, on one line; empty where S3 had an equal copy.

        Raises:
            StoreError: S3 refuses access, or the files here are not what the manifest says.
        """
        key = _manifest_key(artefact.stage, artefact.version)
        held = self.manifest(artefact.stage, artefact.version)
        if held is None:
            if faults := artefact.faults():
                raise StoreError(f"{faults[0]}, so it is not shared: run again from '{artefact.stage}' with --from")
            for name in artefact.manifest.files:  # all files: what a killed upload left may be old, or damaged
                self.bucket.write(f"{_files_key(artefact.manifest)}/{name}", artefact.folder / name)
            if self.bucket.write_new(key, artefact.manifest.model_dump_json(indent=2).encode() + b"\n"):
                size = sum(file.bytes for file in artefact.manifest.files.values())
                return f"{artefact}: shared, {len(artefact.manifest.files)} files, {size:,} bytes, to {self}"
            held = self.manifest(artefact.stage, artefact.version)
        if held is None or held.content == artefact.manifest.content:
            return ""
        return (
            f"{artefact}: {self} holds another copy, made {held.run.finished}, and keeps it; this workspace keeps its "
            f"own, other machines take that one"
        )

    def fetch(self, manifest: Manifest, folder: Path) -> None:
        """Downloads an artefact into an empty folder. Checks every file; writes the manifest last.

        Raises:
            StoreError: a file is missing or damaged on S3, or S3 refuses access.
            OSError: the disk is full, for example.
        """
        for name in manifest.files:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                for block in self._file(manifest, name):
                    file.write(block)
        complete(folder, manifest)

    def faults(self, manifest: Manifest) -> Iterator[str]:
        """Yields one line for each file on S3 that is missing or damaged. Downloads all files and keeps none."""
        for name in manifest.files:
            try:
                for _ in self._file(manifest, name):
                    pass
            except StoreError as fault:
                yield str(fault)

    def surplus(self, kept: set[tuple[Stage, str]], before: datetime) -> dict[str, list[str]]:
        """Keys to delete: versions outside `kept`, and files without a manifest, as a killed upload leaves them.

        Args:
            kept: (stage, version) that stay.
            before: younger objects stay too, because a run on another machine may need them.

        Returns:
            Address of a manifest or a folder -> its keys, in the order in which to delete: manifests before files.
        """
        objects = [item for item in self.bucket.listed(_MANIFESTS) if _version_of(item.key)[0] in STAGES]
        surplus = {item.key for item in objects if _version_of(item.key) not in kept and item.changed < before}
        kept_manifests = (self._read_once(item) for item in objects if item.key not in surplus)
        folders = {_files_key(manifest) for manifest in kept_manifests if manifest is not None}
        keys = {f"{self}/{key}": [key] for key in sorted(surplus)}
        for item in self.bucket.listed(_FILES):
            folder = "/".join(item.key.split("/")[:4])
            if folder not in folders and item.changed < before:
                keys.setdefault(f"{self}/{folder}", []).append(item.key)
        return keys

    def erase(self, stage: Stage, version: str) -> None:
        """Deletes a version: first its manifest, then its files, then this workspace's copy of the manifest."""
        files = [item.key for item in self.bucket.listed(f"{_FILES}/{stage}/{version}")]
        self.bucket.delete([_manifest_key(stage, version)])
        if files:
            self.bucket.delete(files)
        for copy in (self.workspace.shared_manifests / stage).glob(f"{version}-*.json"):
            copy.unlink()

    def _file(self, manifest: Manifest, name: str) -> Iterator[bytes]:
        """Yields a file's blocks; raises StoreError after the last if they are not what the manifest says."""
        key, expected, digest = f"{_files_key(manifest)}/{name}", manifest.files[name], hashlib.sha256()
        for block in self.bucket.blocks(key, expected.bytes):
            digest.update(block)
            yield block
        if digest.hexdigest() != expected.sha256:
            raise StoreError(
                f"{manifest.stage}-{manifest.version}: {name} is missing or damaged in {self}; "
                f"{self._mend(manifest.stage, manifest.version)}"
            )

    def _read_once(self, listed: S3Object) -> Manifest | None:
        """A listed manifest, from the workspace's copy under the tag of its content. None where it is gone by now."""
        stage, version = _version_of(listed.key)
        copy = self.workspace.shared_manifests / stage / f"{version}-{fingerprint(listed.tag)}.json"
        if copy.is_file():
            return self._checked(copy.read_bytes(), stage, version)
        if (manifest := self.manifest(stage, version)) is not None:
            with contextlib.suppress(OSError):  # the copy only saves a request; a read-only workspace may still list
                copy.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(copy, manifest.model_dump_json())
        return manifest

    def _checked(self, text: bytes, stage: Stage, version: str) -> Manifest:
        """A manifest from outside. No file name may leave the folder."""
        mend = self._mend(stage, version)
        manifest = read_manifest(text, stage, version, mend)
        paths = [PurePosixPath(name) for name in manifest.files]
        if any(path.is_absolute() or ".." in path.parts for path in paths):
            raise StoreError(f"artefact {stage}-{version}: its manifest is damaged; {mend}")
        return manifest

    def _mend(self, stage: Stage, version: str) -> str:
        return f"delete {self}/{_manifest_key(stage, version)} and run again: it is shared or made anew"


def joined(workspace: Workspace) -> SharedStore | None:
    """The shared store that a workspace has joined; None where it has joined none.

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


def _version_of(key: str) -> tuple[Stage, str]:
    """Stage and version of a manifest's key; empty strings for another key."""
    match = re.fullmatch(rf"{_MANIFESTS}/({'|'.join(STAGES)})/([0-9a-z]+)\.json", key)
    return (match[1], match[2]) if match else ("", "")  # type: ignore[return-value]


def unshareable(artefact: Artefact) -> str:
    """Why an artefact is of no use to other machines, on one line; empty if it is of use."""
    pool = artefact.manifest.run.pool
    if pool is None or is_s3(pool.path):
        return ""
    return (
        f"{artefact}: not shared, as its pool is a folder of this workspace: other machines make their own; to share "
        f"both, run with execution.pools=s3://BUCKET/PREFIX"
    )


class Aliases:
    """Names for artefacts: small files in the workspace, and objects in the shared store, which all machines follow.

    Where both know a name, the shared store's target counts.

    Args:
        workspace: keeps the aliases as it last set them.
        shared: the store that it has joined, if any.
    """

    def __init__(self, workspace: Workspace, shared: SharedStore | None) -> None:
        self._root, self._shared = workspace.root, shared
        self._folder = workspace.artefacts / "aliases"

    def all(self) -> dict[str, str]:
        """Alias -> artefact name, of the workspace and the shared store, sorted."""
        targets = self.local()
        if self._shared is not None:
            names = [item.key.partition("/")[2] for item in self._shared.bucket.listed(_ALIASES)]
            targets |= {name: target for name in names if (target := self._shared_target(name)) is not None}
        return dict(sorted(targets.items()))

    def local(self) -> dict[str, str]:
        """Alias -> artefact name, as this workspace last set them."""
        paths = sorted(self._folder.glob("[!.]*")) if self._folder.is_dir() else []
        texts = {path.name: path.read_text(encoding="utf-8", errors="replace") for path in paths}
        return {name: " ".join(text.split()) for name, text in texts.items()}

    def target(self, name: str) -> str | None:
        """The artefact name that an alias stands for; None where there is no such alias."""
        if not _is_alias(name):
            return None
        return self._shared_target(name) or self.local().get(name)

    def set(self, name: str, target: str) -> None:
        """Points an alias at an artefact, atomically; in the shared store first.

        Raises:
            StoreError: not a name for an alias; the disk or S3 refuses.
        """
        check_alias(name)
        if self._shared is not None:
            self._shared.bucket.write(f"{_ALIASES}/{name}", f"{target}\n".encode())
        with writing_to(self._root):
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self._folder / name, f"{target}\n")

    def remove(self, name: str) -> None:
        """Removes an alias, here and in the shared store."""
        if self._shared is not None:
            self._shared.bucket.delete([f"{_ALIASES}/{name}"])
        (self._folder / name).unlink(missing_ok=True)

    def share(self) -> Iterator[str]:
        """Adds the workspace's aliases to the shared store, where it does not know the name; yields what happened."""
        assert self._shared is not None
        for name, target in self.local().items():
            if self._shared.bucket.write_new(f"{_ALIASES}/{name}", f"{target}\n".encode()):
                yield f"{name} -> {target}"
            elif (kept := self._shared_target(name)) != target:
                yield f"{name} -> {kept}, as {self._shared} has it; here it was {target}"

    def _shared_target(self, name: str) -> str | None:
        text = self._shared.bucket.read(f"{_ALIASES}/{name}") if self._shared is not None else None
        return None if text is None else text.decode(errors="replace").strip()


def check_alias(name: str) -> None:
    """Raises StoreError for what is no name of an alias, such as a path."""
    if not _is_alias(name):
        raise StoreError(f"'{name}' cannot be an alias: use letters, digits, '.' and '_', and no stage's name")


def _is_alias(name: str) -> bool:
    return name.replace(".", "").replace("_", "").isalnum() and not name.startswith(".") and name not in STAGES
