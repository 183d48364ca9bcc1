"""The artefact store: versions by fingerprint, published whole or not at all, never changed.

Aliases: small files that name artefacts, here and in the shared store, where all machines follow them.
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

from filelock import FileLock

from data_contracts.conventions import STAGES, Stage
from data_contracts.manifest import FILENAME, Manifest, PoolSnapshot, Run
from echoingecg.common import VERSION_LENGTH, StoreError, flush_to_disk, write_atomically
from tasks.base.workspace import Workspace, writing_to
from tasks.store.artefact import (
    Artefact,
    Built,
    Plan,
    checksum,
    complete,
    content_of,
    packages,
    processor,
    read_manifest,
)
from tasks.store.shared import SharedStore, joined, kept_here

__all__ = ["Artefact", "ArtefactStore", "Built", "Plan"]


class Aliases:
    """Those of a workspace, and of the store that it has joined: where both know a name, the store's holds.

    Args:
        workspace: keeps them as it last set them.
        shared: that it has joined, if any.
    """

    def __init__(self, workspace: Workspace, shared: SharedStore | None) -> None:
        self._root, self._shared = workspace.root, shared
        self._folder = workspace.artefacts / "aliases"

    def all(self) -> dict[str, str]:
        """Alias -> artefact name."""
        return dict(sorted((self.here() | (self._shared.aliases() if self._shared else {})).items()))

    def here(self) -> dict[str, str]:
        """The same as this workspace last set them."""
        paths = sorted(self._folder.glob("[!.]*")) if self._folder.is_dir() else []
        return {path.name: _line_of(path) for path in paths}

    def target(self, name: str) -> str | None:
        """What an alias names; None for what is none."""
        if not _is_sound(name):
            return None
        if self._shared is not None and (target := self._shared.alias(name)) is not None:
            return target
        path = self._folder / name
        return _line_of(path) if path.is_file() else None

    def set(self, name: str, target: str) -> None:
        """Points an alias at an artefact, atomically; for all machines first.

        Raises:
            StoreError: no alias could be called so; the disk or S3 refuses.
        """
        if not _is_sound(name):
            raise StoreError(f"'{name}' cannot be an alias: use letters, digits, '.' and '_', and no stage's name")
        if self._shared is not None:
            self._shared.set_alias(name, target)
        with writing_to(self._root):
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self._folder / name, f"{target}\n")


def _line_of(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip()


def _is_sound(name: str) -> bool:
    return name.replace(".", "").replace("_", "").isalnum() and not name.startswith(".") and name not in STAGES


_BUILDING = ".building-"
_FETCHING = ".fetching-"
_REPLACED = ".replaced"
ReadPool = Callable[[Workspace, PoolSnapshot], object]


class ArtefactStore:
    """Reads and publishes artefacts of one workspace, and of the shared store on S3 if it has joined one."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    @cached_property
    def shared(self) -> SharedStore | None:
        """The store that this workspace has joined."""
        return joined(self.workspace)

    def folder(self, stage: Stage, version: str) -> Path:
        return self.workspace.artefacts / stage / version

    def find(self, stage: Stage, version: str) -> Artefact | None:
        """The published version with its files, or None.

        One that only the shared store holds is fetched; one that it lacks, as after a killed upload, is shared.

        Raises:
            StoreError: the manifest cannot be read, or was written by a newer release; a shared copy is damaged,
                or S3 does not let us in.
        """
        here = self._here(stage, version)
        if self.shared is None:
            return here
        if here is None:
            return self._fetch(self.shared, stage, version)
        if not kept_here(here):
            self.share(here)
        return here

    def seen(self, stage: Stage, version: str) -> Artefact | None:
        """The same by its manifest alone: its files may be in the shared store. Changes nothing."""
        if (here := self._here(stage, version)) is not None or self.shared is None:
            return here
        manifest = self.shared.manifest(stage, version)
        return Artefact(self.folder(stage, version), manifest) if manifest else None

    def get(self, name: str) -> Artefact:
        """The artefact called `<stage>-<version>` (a unique start of the version is enough) or by an alias.

        Raises:
            StoreError: no such artefact, or several, or as `find`.
        """
        named = self.named(name)
        if (found := self.find(named.stage, named.version)) is None:
            raise StoreError(f"{named} has gone meanwhile: 'artefacts list' shows all")
        return found

    def named(self, name: str) -> Artefact:
        """The same by its manifest alone: its files may be in the shared store.

        Raises:
            StoreError: no such artefact, or several.
        """
        name = self._aliases.target(name) or name
        stage, _, start = name.partition("-")
        if stage not in STAGES:
            raise StoreError(f"'{name}' names no artefact: write STAGE-VERSION or an alias; 'artefacts list' shows all")
        whole = self.seen(stage, start) if len(start) == VERSION_LENGTH and start.isalnum() else None
        found = [whole] if whole else [one for one in self.published(stage) if one.version.startswith(start)]
        if len(found) != 1:
            many = "no artefact" if not found else f"{len(found)} artefacts"
            places = f"{self.workspace.root}{f' and {self.shared}' if self.shared else ''}"
            raise StoreError(f"{many} named '{name}' in {places}: 'artefacts list' shows all")
        return found[0]

    def here(self, *stages: Stage) -> list[Artefact]:
        """Artefacts published in the workspace, in the order of the stages, oldest first."""
        found: list[Artefact] = []
        for stage in stages or STAGES:
            folder = self.workspace.artefacts / stage
            names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
            found += [one for name in names if not name.startswith(".") and (one := self._here(stage, name))]
        return sorted(found, key=_order)

    def published(self, *stages: Stage) -> list[Artefact]:
        """The same and, by their manifests alone, those of the shared store."""
        found = self.here(*stages)
        if self.shared is not None:
            known = {(one.stage, one.version) for one in found}
            there = [one for one in self.shared.manifests(*stages) if (one.stage, one.version) not in known]
            found += [Artefact(self.folder(one.stage, one.version), one) for one in there]
        return sorted(found, key=_order)

    def lineage(self, artefact: Artefact) -> dict[Stage, str]:
        """Versions of the artefact and of all it was made of, by stage, read from manifests alone."""
        found: dict[Stage, str] = {artefact.stage: artefact.version}
        for stage, version in artefact.manifest.inputs.items():
            above = self.seen(stage, version)
            found |= self.lineage(above) if above else {stage: version}
        return {stage: found[stage] for stage in STAGES if stage in found}

    def share(self, artefact: Artefact) -> None:
        """Uploads an artefact that is here and that the shared store lacks. Says on one line what happened.

        Raises:
            StoreError: S3 does not let us in; the artefact stays published here.
        """
        if self.shared is None:
            return
        from tasks.base.progress import logger  # Prefect: not for a workspace that stands alone

        try:
            says = kept_here(artefact) or self.shared.offer(artefact)
        except StoreError as fault:
            raise StoreError(f"{artefact} is published here, but not shared: {fault}") from fault
        if says:
            logger().info(says)

    @contextmanager
    def locked(self, plan: Plan) -> Iterator[None]:
        """Holds the one right to build this version; a second run waits here."""
        with self._locked(f"{plan.stage}-{plan.version}"):
            yield

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        locks = self.workspace.artefacts / ".locks"
        with writing_to(self.workspace.root):
            locks.mkdir(parents=True, exist_ok=True)
            lock = FileLock(locks / f"{name}.lock")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def building(self, plan: Plan) -> Iterator[Path]:
        """A temporary folder beside the versions, removed unless `publish` has moved it. Needs `locked`."""
        with self._beside(plan.stage, f"{_BUILDING}{plan.version}-") as folder:
            yield folder

    @contextmanager
    def _beside(self, stage: Stage, prefix: str) -> Iterator[Path]:
        parent = self.workspace.artefacts / stage
        with writing_to(self.workspace.root):
            parent.mkdir(parents=True, exist_ok=True)
            for stale in parent.glob(f"{prefix}*"):
                shutil.rmtree(stale)
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def publish(
        self, plan: Plan, folder: Path, built: Built, started: float, read_pool: ReadPool | None = None
    ) -> Artefact:
        """Writes the manifest last, after fsync, and renames the folder into place.

        An equal copy that is already there stays. A differing one (a forced rerun on another machine,
        say) is set aside in `.replaced`, never overwritten.

        Args:
            plan: what the version depends on.
            folder: from `building`, holding the artefact's files.
            built: counts and pool.
            started: `time.monotonic()` at the start of the build.
            read_pool: raises StoreError where the snapshot of an earlier build is gone; None for a stage without one.
        """
        files = {str(path.relative_to(folder)): checksum(path) for path in sorted(folder.rglob("*")) if path.is_file()}
        manifest = Manifest(
            **asdict(plan),
            version=plan.version,
            counts=built.counts,
            files=files,
            content=content_of(files),
            run=Run(
                finished=self._next_time(plan.stage),
                seconds=round(time.monotonic() - started, 3),
                packages=packages(),
                processor=processor(),
                pool=built.pool,
                new_keys=built.new_keys,
            ),
        )
        complete(folder, manifest)
        target = self.folder(plan.stage, plan.version)
        artefact = self._here(plan.stage, plan.version)
        if artefact is None or artefact.manifest.content != manifest.content or not self._is_whole(artefact, read_pool):
            if target.exists():
                aside = target.parent / _REPLACED
                aside.mkdir(exist_ok=True)
                target.rename(aside / f"{plan.version}-{time.time_ns()}")
            artefact = _into_place(folder, target, manifest)
        self.share(artefact)
        return artefact

    def _here(self, stage: Stage, version: str) -> Artefact | None:
        """The version in this workspace, or None."""
        folder = self.folder(stage, version)
        try:
            text = (folder / FILENAME).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as fault:
            raise StoreError(f"artefact {stage}-{version}: cannot be read: {fault.strerror}") from fault
        return Artefact(folder, read_manifest(text, stage, version, f"delete {folder} and run again"))

    def _fetch(self, shared: SharedStore, stage: Stage, version: str) -> Artefact | None:
        """Takes a version from the shared store, whole or not at all; two processes that want it take turns."""
        from tasks.base.progress import logger

        if (manifest := shared.manifest(stage, version)) is None:
            return None
        with self._locked(f"fetch-{stage}-{version}"):
            if (here := self._here(stage, version)) is not None:
                return here
            with self._beside(stage, f"{_FETCHING}{version}-") as folder:
                shared.fetch(manifest, folder)
                found = _into_place(folder, self.folder(stage, version), manifest)
        logger().info(f"{found}: taken from {shared}")
        return found

    def _next_time(self, stage: Stage) -> str:
        """Now; just after the newest version where the clock has gone back, so that `here` keeps the order."""
        now = datetime.now(UTC)
        if newest := self.here(stage)[-1:]:
            now = max(now, datetime.fromisoformat(newest[0].manifest.run.finished) + timedelta(seconds=1))
        return now.isoformat(timespec="seconds")

    def _is_whole(self, artefact: Artefact, read_pool: ReadPool | None) -> bool:
        """Whether its files are sound and its pool's snapshot is there: pools may be deleted and made again."""
        try:
            if read_pool is not None and (pool := artefact.manifest.run.pool):
                read_pool(self.workspace, pool)
        except StoreError:
            return False
        return not artefact.faults()

    def in_lineage(self, artefact: Artefact, stage: Stage) -> Artefact | None:
        """What a stage gave to an artefact's lineage, if it is still here."""
        version = self.lineage(artefact).get(stage)
        return self.find(stage, version) if version else None

    def set_alias(self, name: str, artefact: Artefact) -> None:
        """Points an alias at an artefact, atomically; for all machines once they can have the artefact.

        Raises:
            StoreError: no alias could be called so; the artefact cannot be shared; the disk or S3 refuses.
        """
        if self.shared is not None and artefact.is_here:
            if why := kept_here(artefact):
                raise StoreError(f"alias '{name}' stays as it is: {why}")
            self.share(artefact)
        self._aliases.set(name, str(artefact))

    def aliases(self) -> dict[str, str]:
        """Alias -> artefact name."""
        return self._aliases.all()

    @property
    def _aliases(self) -> Aliases:
        return Aliases(self.workspace, self.shared)


def _order(artefact: Artefact) -> tuple[int, str, str]:
    return STAGES.index(artefact.stage), artefact.manifest.run.finished, artefact.version


def _into_place(folder: Path, target: Path, manifest: Manifest) -> Artefact:
    folder.rename(target)
    flush_to_disk(target.parent)
    return Artefact(target, manifest)
