"""The artefact store: versions by fingerprint, published whole or not at all, never changed."""

import hashlib
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any, Final

from filelock import FileLock
from pydantic import ValidationError

from data_contracts.conventions import STAGES, Stage
from data_contracts.manifest import FILENAME, Checksum, Manifest, PoolSnapshot, Run
from echoingecg.durable import to_disk, write_whole
from echoingecg.errors import StoreError
from echoingecg.fingerprint import canonical_json, fingerprint, hash_files
from tasks.workspace import Workspace, writing_to

PACKAGES: Final = ("echoingecg", "numpy", "scipy", "torch", "open_clip_torch", "zarr", "icechunk", "scikit-learn",
                   "opencv-python-headless", "pydicom", "wfdb", "pyarrow")  # fmt: skip
_BUILDING: Final = ".building-"
_REPLACED: Final = ".replaced"


@dataclass(frozen=True)
class Plan:
    """Everything that a version depends on, and nothing else."""

    stage: Stage
    contract_version: int
    code_version: int
    recipe: dict[str, Any]
    source: dict[str, str]
    inputs: dict[Stage, str]

    @property
    def version(self) -> str:
        return fingerprint(asdict(self))


@dataclass(frozen=True)
class Built:
    """What a stage says of the artefact it has just written."""

    counts: dict[str, int]
    pool: PoolSnapshot | None = None
    new_keys: int | None = None


@dataclass(frozen=True)
class Artefact:
    """One published version."""

    folder: Path
    manifest: Manifest

    @property
    def stage(self) -> Stage:
        return self.manifest.stage

    @property
    def version(self) -> str:
        return self.manifest.version

    def __str__(self) -> str:
        return f"{self.stage}-{self.version}"


class ArtefactStore:
    """Reads and publishes artefacts of one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def folder(self, stage: Stage, version: str) -> Path:
        return self.workspace.artefacts / stage / version

    def find(self, stage: Stage, version: str) -> Artefact | None:
        """The published version, or None.

        Raises:
            StoreError: the manifest cannot be read, or was written by a newer release.
        """
        folder = self.folder(stage, version)
        path = folder / FILENAME
        try:
            return Artefact(folder, Manifest.model_validate_json(path.read_bytes()))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValidationError as fault:
            field = ".".join(str(part) for part in fault.errors()[0]["loc"])
            raise StoreError(
                f"artefact {stage}-{version}: {FILENAME} is damaged or of another release (field '{field}'); "
                f"delete {folder} and run again"
            ) from fault
        except OSError as fault:
            raise StoreError(f"artefact {stage}-{version}: cannot be read: {fault.strerror}") from fault

    def get(self, name: str) -> Artefact:
        """The artefact called `<stage>-<version>` (a unique start of the version is enough) or by an alias.

        Raises:
            StoreError: no such artefact, or several.
        """
        alias = self._alias_file(name)
        if alias is not None and alias.is_file():
            name = alias.read_text(encoding="utf-8").strip()
        stage, _, start = name.partition("-")
        if stage not in STAGES:
            raise StoreError(f"'{name}' names no artefact: write STAGE-VERSION or an alias; 'artefacts list' shows all")
        found = [one for one in self.published(stage) if one.version.startswith(start)]
        if len(found) != 1:
            many = "no artefact" if not found else f"{len(found)} artefacts"
            raise StoreError(f"{many} named '{name}' in {self.workspace.root}: 'artefacts list' shows all")
        return found[0]

    def published(self, *stages: Stage) -> list[Artefact]:
        """Published artefacts in the order of the stages, oldest first."""
        found: list[Artefact] = []
        for stage in stages or STAGES:
            folder = self.workspace.artefacts / stage
            names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
            of_stage = [one for name in names if not name.startswith(".") and (one := self.find(stage, name))]
            found += sorted(of_stage, key=lambda one: one.manifest.run.finished)
        return found

    def lineage(self, artefact: Artefact) -> dict[Stage, str]:
        """Versions of the artefact and of all it was made of, by stage, read from manifests alone."""
        found: dict[Stage, str] = {artefact.stage: artefact.version}
        for stage, version in artefact.manifest.inputs.items():
            above = self.find(stage, version)
            found |= self.lineage(above) if above else {stage: version}
        return {stage: found[stage] for stage in STAGES if stage in found}

    @contextmanager
    def locked(self, plan: Plan) -> Iterator[None]:
        """Holds the one right to build this version; a second run waits here."""
        locks = self.workspace.artefacts / ".locks"
        with writing_to(self.workspace.root):
            locks.mkdir(parents=True, exist_ok=True)
            lock = FileLock(locks / f"{plan.stage}-{plan.version}.lock")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def building(self, plan: Plan) -> Iterator[Path]:
        """A temporary folder beside the versions, removed unless `publish` has moved it. Needs `locked`."""
        parent = self.workspace.artefacts / plan.stage
        with writing_to(self.workspace.root):
            parent.mkdir(parents=True, exist_ok=True)
            for stale in parent.glob(f"{_BUILDING}{plan.version}-*"):
                shutil.rmtree(stale)
            folder = Path(tempfile.mkdtemp(prefix=f"{_BUILDING}{plan.version}-", dir=parent))
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def publish(self, plan: Plan, folder: Path, built: Built, started: float) -> Artefact:
        """Writes the manifest last, after fsync, and renames the folder into place.

        An equal copy that is already there stays. A differing one (a forced rerun on another machine,
        say) is set aside in `.replaced`, never overwritten.

        Args:
            plan: what the version depends on.
            folder: from `building`, holding the artefact's files.
            built: counts and pool.
            started: `time.monotonic()` at the start of the build.
        """
        files = {str(path.relative_to(folder)): checksum(path) for path in sorted(folder.rglob("*")) if path.is_file()}
        content = hashlib.sha256(canonical_json({name: one.sha256 for name, one in files.items()}).encode())
        manifest = Manifest(
            **asdict(plan),
            version=plan.version,
            counts=built.counts,
            files=files,
            content=content.hexdigest(),
            run=Run(
                finished=self._next_time(plan.stage),
                seconds=round(time.monotonic() - started, 3),
                packages=_packages(),
                pool=built.pool,
                new_keys=built.new_keys,
            ),
        )
        for name in files:
            to_disk(folder / name)
        path = folder / FILENAME
        path.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        to_disk(path)
        for name in files:  # one mode for all: safetensors writes files that their owner alone can read
            (folder / name).chmod(path.stat().st_mode)
        target = self.folder(plan.stage, plan.version)
        old = self.find(plan.stage, plan.version)
        if old is not None and old.manifest.content == manifest.content and self._is_whole(old):
            return old
        if target.exists():
            aside = target.parent / _REPLACED
            aside.mkdir(exist_ok=True)
            target.rename(aside / f"{plan.version}-{time.time_ns()}")
        folder.chmod(0o755)  # mkdtemp gives 0700
        folder.rename(target)
        to_disk(target.parent)
        return Artefact(target, manifest)

    def _next_time(self, stage: Stage) -> str:
        """Now; just after the newest version where the clock has gone back, so that `published` keeps the order."""
        now = datetime.now(UTC)
        if newest := self.published(stage)[-1:]:
            now = max(now, datetime.fromisoformat(newest[0].manifest.run.finished) + timedelta(seconds=1))
        return now.isoformat(timespec="seconds")

    def _is_whole(self, artefact: Artefact) -> bool:
        """Whether its files are sound and its pool's snapshot is there: pools may be deleted and made again."""
        from tasks.pools import Pool  # Icechunk and Zarr: not for listing artefacts

        try:
            if pool := artefact.manifest.run.pool:
                Pool.read(self.workspace, pool)
        except StoreError:
            return False
        return not self.faults(artefact)

    def in_lineage(self, artefact: Artefact, stage: Stage) -> Artefact | None:
        """What a stage gave to an artefact's lineage, if it is still here."""
        version = self.lineage(artefact).get(stage)
        return self.find(stage, version) if version else None

    def faults(self, artefact: Artefact) -> list[str]:
        """What differs between the files on disk and the manifest; empty when sound."""
        found = []
        for name, expected in artefact.manifest.files.items():
            path = artefact.folder / name
            if not path.is_file():
                found.append(f"{artefact}: {name} is missing")
            elif checksum(path) != expected:
                found.append(f"{artefact}: {name} has changed")
        return found

    def set_alias(self, name: str, artefact: Artefact) -> None:
        """Points an alias at an artefact, atomically."""
        path = self._alias_file(name)
        if path is None:
            raise StoreError(f"'{name}' cannot be an alias: use letters, digits, '.' and '_', and no stage's name")
        with writing_to(self.workspace.root):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, f"{artefact}\n")

    def aliases(self) -> dict[str, str]:
        """Alias -> artefact name."""
        folder = self.workspace.artefacts / "aliases"
        paths = sorted(folder.glob("[!.]*")) if folder.is_dir() else []
        return {path.name: path.read_text(encoding="utf-8").strip() for path in paths}

    def _alias_file(self, name: str) -> Path | None:
        sound = name.replace(".", "").replace("_", "").isalnum() and not name.startswith(".") and name not in STAGES
        return self.workspace.artefacts / "aliases" / name if sound else None


def checksum(path: Path) -> Checksum:
    """Size and SHA-256 of a file."""
    return Checksum(bytes=path.stat().st_size, sha256=hash_files([path]))


def _packages() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = package_version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found
