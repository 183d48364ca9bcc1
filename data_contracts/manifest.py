"""The manifest of an artefact. It is written last: only with it, the artefact exists. It states the lineage.

Every reader of an artefact's file asks `checked_file` for its path: so what is read is what was published.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from data_contracts.conventions import Stage, UserError

FILENAME = "manifest.json"
# File of an artefact whose arrays are in a pool: SHA-256 over the keys and digests of all its rows. One digest of all,
# and none of a row in its tables, so that nobody who holds one patient's file finds the patient's row by it.
POOL_CONTENT = "pool.sha256"
_BLOCK_BYTES = 1 << 20
_VERSION_DIGITS = 16
_CAUSES = {"stage", "contract_version", "code_version", "recipe", "source", "inputs"}  # what a version follows from


class DamagedError(UserError):
    """A file is not what was published: a disk fault, a power cut, or somebody has changed it."""


class Checksum(BaseModel):
    """Size and SHA-256 of one file of the artefact."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    bytes: int = Field(ge=0)
    sha256: str


class PoolSnapshot(BaseModel):
    """Where an artefact's arrays are stored: a snapshot of an Icechunk repository."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    path: str = Field(description="repository, relative to the workspace, or s3://bucket/prefix")
    snapshot: str = Field(description="Icechunk snapshot id; differs between machines, the content does not")


class Run(BaseModel):
    """How this copy was made. It is not part of the content, because it differs from run to run."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    finished: str = Field(description="UTC, ISO 8601; later than any version of the stage before it")
    seconds: float = Field(ge=0)
    packages: dict[str, str] = Field(description="versions of the packages that shape the result")
    processor: dict[str, str] | None = Field(
        default=None,
        description="machine, cpu, instruction_set of torch, gpu if any: results differ in their last bits",
    )
    pool: PoolSnapshot | None = None
    new_keys: int | None = Field(
        default=None, description="number of files that this run processed; the others were in the pool"
    )


class Manifest(BaseModel):
    """What an artefact is, what it was made from, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    stage: Stage
    version: str
    contract_version: int
    code_version: int
    recipe: dict[str, Any] = Field(description="the section of the recipe that the stage read")
    source: dict[str, str] = Field(description="what else the version depends on, as digests")
    inputs: dict[Stage, str] = Field(description="versions of the artefacts it was made from, by stage")
    counts: dict[str, int]
    files: dict[str, Checksum] = Field(description="every other file of the artefact, by relative path")
    content: str = Field(description="SHA-256 over `files`: equal when two copies hold the same bytes")
    run: Run
    seal: str = Field(
        default="", description="SHA-256 over all other fields; empty in manifests of releases before 0.2"
    )

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Reads a manifest.

        Raises:
            ValueError: not a manifest, or its version, content or seal does not follow from its other fields.
        """
        manifest = cls.model_validate_json(text)
        values = manifest.model_dump(mode="json", include=_CAUSES)
        for field, expected in (
            ("version", _digest(values)[:_VERSION_DIGITS]),
            ("content", content_of(manifest.files)),
            ("seal", manifest._over_all_fields() if manifest.seal else ""),
        ):
            if getattr(manifest, field) != expected:
                raise ValueError(f"its '{field}' does not follow from its other fields")
        return manifest

    def sealed(self) -> Self:
        """A copy with its seal."""
        return self.model_copy(update={"seal": self._over_all_fields()})

    def _over_all_fields(self) -> str:
        # Without defaults: a field that a later release adds does not break the seals of earlier ones.
        return _digest(self.model_dump(mode="json", exclude={"seal"}, exclude_defaults=True))


def content_of(files: Mapping[str, Checksum]) -> str:
    """One digest over all files: equal when two copies hold the same bytes."""
    return _digest({name: file.sha256 for name, file in files.items()})


def _digest(values: Mapping[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def checksum_of(path: Path) -> Checksum:
    """Size and SHA-256 of a file. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
        return Checksum(bytes=file.tell(), sha256=digest.hexdigest())


_Seen = tuple[int, int, int, int]  # size, times of content and of status, inode
_read: dict[Path, tuple[_Seen, Manifest]] = {}
_sound: dict[Path, tuple[_Seen, Checksum]] = {}


def checked_file(folder: Path, name: str) -> Path:
    """The path of an artefact's file, once its bytes are those that were published.

    A file is hashed once in a process, as long as its size, time and inode stay (1 GB/s; reading it takes longer).

    Args:
        folder: of the artefact. Without a manifest it is none, such as one that is being built: nothing is checked.
        name: relative path of the file, or of a folder, of which every file is checked. A file that the manifest does
            not name is not the artefact's, and is not checked.

    Raises:
        DamagedError: the manifest, or a file that it names, is missing or not what was published.
    """
    if (manifest := manifest_in(folder)) is not None:
        for listed, expected in manifest.files.items():
            if listed == name or listed.startswith(f"{name}/"):
                check_file(folder / listed, expected, f"{manifest.stage}-{manifest.version}: {listed}", mend_of(folder))
    return folder / name


def check_file(path: Path, expected: Checksum, what: str, mend: str) -> None:
    """Raises DamagedError unless a file has the size and the SHA-256 that it must have; hashes as `checked_file`.

    Args:
        path: of the file.
        expected: size and SHA-256.
        what: names the file, for the error.
        mend: what to do, for the error.
    """
    try:
        seen = _seen(path)
        if _sound.get(path) == (seen, expected):
            return
        actual = checksum_of(path) if seen[0] == expected.bytes else None
    except OSError as fault:
        raise DamagedError(f"{what} cannot be read ({fault.strerror}): {mend}") from fault
    if actual != expected:
        raise DamagedError(f"{what} is damaged, its bytes are not those that were published: {mend}")
    _sound[path] = seen, expected


def mend_of(folder: Path) -> str:
    """What to do about a damaged artefact, for an error."""
    return f"delete {folder} and run again what made it"


def manifest_in(folder: Path) -> Manifest | None:
    """The manifest of an artefact; None for a folder that is none. Raises DamagedError."""
    path = folder / FILENAME
    try:
        seen = _seen(path)
        if (known := _read.get(path)) is None or known[0] != seen:
            known = _read[path] = seen, Manifest.from_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as fault:
        raise DamagedError(f"{path}: damaged, or of another release: {mend_of(folder)}") from fault
    return known[1]


def _seen(path: Path) -> _Seen:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
