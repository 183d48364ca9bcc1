"""The artefact store: versions by fingerprint, published whole or not at all, never changed; shared on S3 if wanted."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

from filelock import FileLock

from data_contracts.conventions import NOT_STATED, STAGES, Stage, merged_origins
from data_contracts.manifest import FILENAME, Manifest, PoolSnapshot, mend_of
from data_contracts.monitoring import MoveKind
from echoingecg.common import VERSION_LENGTH, StoreError, flush_names, flush_to_disk, write_atomically
from tasks.base.workspace import Workspace, writing_to
from tasks.store import leases
from tasks.store.artefact import Artefact, Built, Plan, complete, manifest_of, read_manifest
from tasks.store.moves import write_move
from tasks.store.shared import Aliases, SharedStore, check_alias, joined, unshareable

_BUILDING = ".building-"
_FETCHING = ".fetching-"
_REPLACED = ".replaced"
ReadPool = Callable[[Workspace, PoolSnapshot], object]


class ArtefactStore:
    """Reads and publishes artefacts of one workspace, and of the shared store on S3 if it has joined one.

    `find`, `get`, `here` return artefacts whose files are in the workspace. `seen`, `named`, `published` read manifests
    alone: the files of these artefacts may be in the shared store only.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    @cached_property
    def shared(self) -> SharedStore | None:
        """The shared store that this workspace has joined; None where it has joined none."""
        return joined(self.workspace)

    def folder(self, stage: Stage, version: str) -> Path:
        """Where the version is in the workspace, or would be."""
        return self.workspace.artefacts / stage / version

    def find(self, stage: Stage, version: str) -> Artefact | None:
        """The version, with its files in the workspace; None where it is not published.

        Downloads a version that only the shared store has. Uploads a version that it lacks, as after a killed upload.

        Raises:
            StoreError: the manifest cannot be read, or was written by a newer release; a shared copy is damaged,
                or S3 refuses access.
        """
        with leases.holding(self.workspace, f"{stage}-{version}"):
            here = self._here(stage, version)
        if self.shared is None:
            return here
        if here is None:
            return self._fetch(self.shared, stage, version)
        if not unshareable(here):
            self.share(here)
        return here

    def seen(self, stage: Stage, version: str) -> Artefact | None:
        """The version by its manifest alone; None where it is not published. Downloads and uploads nothing."""
        if (here := self._here(stage, version)) is not None or self.shared is None:
            return here
        manifest = self.shared.manifest(stage, version)
        return Artefact(self.folder(stage, version), manifest) if manifest else None

    def get(self, name: str) -> Artefact:
        """The artefact of a name, with its files in the workspace.

        Args:
            name: an alias or `<stage>-<version>`; a unique start of the version is enough.

        Raises:
            StoreError: no such artefact, or several, or for the reasons of `find`.
        """
        named = self.named(name)
        if (artefact := self.find(named.stage, named.version)) is None:
            raise StoreError(f"{named} has gone meanwhile: 'artefacts list' shows all")
        return artefact

    def named(self, name: str) -> Artefact:
        """The artefact of a name, as for `get`, by its manifest alone.

        Raises:
            StoreError: no such artefact, or several.
        """
        name = self._aliases.target(name) or name
        stage, _, start = name.partition("-")
        if stage not in STAGES:
            raise StoreError(f"'{name}' names no artefact: write STAGE-VERSION or an alias; 'artefacts list' shows all")
        whole = self.seen(stage, start) if len(start) == VERSION_LENGTH and start.isalnum() else None
        matches = [whole] if whole else [item for item in self.published(stage) if item.version.startswith(start)]
        if len(matches) != 1:
            many = "no artefact" if not matches else f"{len(matches)} artefacts"
            places = f"{self.workspace.root}{f' and {self.shared}' if self.shared else ''}"
            raise StoreError(f"{many} named '{name}' in {places}: 'artefacts list' shows all")
        return matches[0]

    def here(self, *stages: Stage) -> list[Artefact]:
        """Artefacts in the workspace, of the stages (default: all), in the order of the stages, oldest first."""
        artefacts: list[Artefact] = []
        for stage in stages or STAGES:
            folder = self.workspace.artefacts / stage
            names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
            artefacts += [item for name in names if not name.startswith(".") and (item := self._here(stage, name))]
        return sorted(artefacts, key=_by_stage_and_age)

    def examined(self) -> Iterator[tuple[str, Artefact | StoreError]]:
        """Yields name and artefact, or why it cannot be read, of every version in the workspace."""
        for stage in STAGES:
            for folder in sorted((self.workspace.artefacts / stage).glob("[!.]*")):
                name = f"{stage}-{folder.name}"
                try:
                    artefact = self._here(stage, folder.name)
                except StoreError as fault:
                    yield name, fault
                else:
                    yield name, artefact or StoreError(f"artefact {name}: {FILENAME} is missing; {mend_of(folder)}")

    def published(self, *stages: Stage) -> list[Artefact]:
        """Artefacts in the workspace and in the shared store, in the order of `here`. Downloads manifests alone."""
        artefacts = self.here(*stages)
        if self.shared is not None:
            known = {(artefact.stage, artefact.version) for artefact in artefacts}
            for manifest in self.shared.manifests(*stages):
                if (manifest.stage, manifest.version) not in known:
                    artefacts.append(Artefact(self.folder(manifest.stage, manifest.version), manifest))
        return sorted(artefacts, key=_by_stage_and_age)

    def lineage(self, artefact: Artefact) -> dict[Stage, str]:
        """Versions of the artefact and of everything it was made of, by stage, read from manifests alone."""
        versions: dict[Stage, str] = {artefact.stage: artefact.version}
        for stage, version in artefact.manifest.inputs.items():
            upstream = self.seen(stage, version)
            versions |= self.lineage(upstream) if upstream else {stage: version}
        return {stage: versions[stage] for stage in STAGES if stage in versions}

    def warm_start_of(self, student: Artefact) -> tuple[str, Artefact | None]:
        """Digest of the student that a student's training went on from, empty without; and that student, if it is here.

        A student knows whom its start has learned from.
        """
        content = student.manifest.source.get("warm_start", "")
        starts = (item for item in self.here("student") if content and item.manifest.content == content)
        return content, next(starts, None)

    def lineage_lines(self, artefact: Artefact) -> Iterator[str]:
        """Yields the names of `lineage`, then those of every student that a student's training went on from."""
        versions = self.lineage(artefact)
        yield from (f"{stage}-{version}" for stage, version in versions.items())
        student = self.seen("student", versions["student"]) if "student" in versions else None
        content, start = self.warm_start_of(student) if student else ("", None)
        if start is not None:
            yield f"student-{versions['student']} went on from:"
            yield from self.lineage_lines(start)
        elif content:
            yield f"student-{versions['student']} went on from a student that is gone (content {content[:12]})"

    def in_lineage(self, artefact: Artefact, stage: Stage) -> Artefact | None:
        """The artefact of a stage in the lineage of another, with its files; None where it is gone."""
        version = self.lineage(artefact).get(stage)
        return self.find(stage, version) if version else None

    def trained_on(self, student: Artefact) -> str:
        """Whose ECGs a student, and the one that it began from, learned from: of data_contracts.conventions.ORIGINS."""
        own = self.stated("catalog", self.lineage(student).get("catalog"), "origin")
        content, start = self.warm_start_of(student)
        before = self.trained_on(start) if start else NOT_STATED
        return merged_origins([own, before] if content else [own])

    def stated(self, stage: Stage, version: str | None, source: str) -> str:
        """An entry of `source` in a manifest; `not stated` where that is gone, or of an earlier release."""
        artefact = self.seen(stage, version) if version else None
        return artefact.manifest.source.get(source, NOT_STATED) if artefact else NOT_STATED

    def share(self, artefact: Artefact) -> None:
        """Uploads an artefact of the workspace that the shared store lacks. Logs one line.

        Raises:
            StoreError: S3 refuses access; the artefact stays published here.
        """
        if self.shared is None:
            return
        from tasks.base.progress import logger  # Prefect: not for a workspace that stands alone

        try:
            message = unshareable(artefact) or self.shared.offer(artefact)
        except StoreError as fault:
            raise StoreError(f"{artefact} is published here, but not shared: {fault}") from fault
        if message:
            logger().info(message)

    @contextmanager
    def locked(self, plan: Plan) -> Iterator[None]:
        """Holds the lock on building this version; a second run waits here."""
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
        """A temporary folder beside the versions, removed unless `publish` has moved it. Needs the `locked` context."""
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

        An equal copy that was published before stays. A differing copy, for example of a forced rerun on another
        machine, is moved to `.replaced` and never overwritten.

        Args:
            plan: what the version depends on.
            folder: from `building`, holding the artefact's files.
            built: counts and pool.
            started: `time.monotonic()` at the start of the build.
            read_pool: raises StoreError where a snapshot is gone; for a stage that has a pool.
        """
        manifest = manifest_of(plan, folder, built, self._next_time(plan.stage), time.monotonic() - started)
        complete(folder, manifest)
        target = self.folder(plan.stage, plan.version)
        artefact = self._here(plan.stage, plan.version)
        if artefact is None or artefact.manifest.content != manifest.content or not self._is_whole(artefact, read_pool):
            if target.exists():
                aside = target.parent / _REPLACED
                aside.mkdir(exist_ok=True)
                target.rename(aside / f"{plan.version}-{time.time_ns()}")
                flush_to_disk(aside)
            with leases.holding(self.workspace, f"{plan.stage}-{plan.version}"):
                artefact = self._into_place(folder, target, manifest)
        self.share(artefact)
        return artefact

    def _into_place(self, folder: Path, target: Path, manifest: Manifest) -> Artefact:
        folder.rename(target)
        flush_names(target.parent, self.workspace.root)
        return Artefact(target, manifest)

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
        """Downloads a version from the shared store, whole or not at all. Two processes that want it take turns."""
        from tasks.base.progress import logger

        if (manifest := shared.manifest(stage, version)) is None:
            return None
        with self._locked(f"fetch-{stage}-{version}"):
            if (here := self._here(stage, version)) is not None:
                return here
            with self._beside(stage, f"{_FETCHING}{version}-") as folder:
                shared.fetch(manifest, folder)
                artefact = self._into_place(folder, self.folder(stage, version), manifest)
        logger().info(f"{artefact}: taken from {shared}")
        return artefact

    def _next_time(self, stage: Stage) -> str:
        """Now, or just after the newest version where the clock has gone back, so that `here` keeps the order."""
        now = datetime.now(UTC)
        if newest := self.here(stage)[-1:]:
            now = max(now, datetime.fromisoformat(newest[0].manifest.run.finished) + timedelta(seconds=1))
        return now.isoformat(timespec="seconds")

    def _is_whole(self, artefact: Artefact, read_pool: ReadPool | None) -> bool:
        """Whether its files are sound and its pool's snapshot exists: pools may be deleted and made again."""
        try:
            if read_pool is not None and (pool := artefact.manifest.run.pool):
                read_pool(self.workspace, pool)
        except StoreError:
            return False
        return not artefact.faults()

    def set_alias(self, name: str, artefact: Artefact, kind: MoveKind = "by hand", why: str = "") -> None:
        """Points an alias at an artefact, atomically. In a shared store, the artefact is uploaded first.

        The move is written down before.

        Raises:
            StoreError: not a name for an alias; the artefact cannot be shared; the disk or S3 refuses.
        """
        if self.shared is not None and artefact.is_here:
            if why := unshareable(artefact):
                raise StoreError(f"alias '{name}' stays as it is: {why}")
            self.share(artefact)
        check_alias(name)
        write_move(self.workspace, name, self.aliases().get(name, ""), str(artefact), kind, why)
        self._aliases.set(name, str(artefact))

    def remove_alias(self, name: str) -> None:
        """Removes an alias, here and in the shared store."""
        self._aliases.remove(name)

    def aliases(self) -> dict[str, str]:
        """Alias -> artefact name, of the workspace and the shared store, sorted."""
        return self._aliases.all()

    @property
    def _aliases(self) -> Aliases:
        return Aliases(self.workspace, self.shared)


def _by_stage_and_age(artefact: Artefact) -> tuple[int, str, str]:
    return STAGES.index(artefact.stage), artefact.manifest.run.finished, artefact.version


def join(workspace: Workspace, address: str) -> Iterator[str]:
    """Joins a shared store, then uploads every artefact and alias of the workspace. With the same address: the rest.

    Args:
        workspace: made if there is none.
        address: `s3://bucket/prefix`.

    Yields:
        one line for everything that happened.

    Raises:
        StoreError: the bucket cannot be reached, or does not keep the first of two writers' objects: nothing changes.
    """
    shared = SharedStore(address, workspace)
    shared.check()
    before = joined(workspace)
    with writing_to(workspace.root):
        workspace.root.mkdir(parents=True, exist_ok=True)
        if before is not None and str(before) != str(shared):
            shutil.rmtree(workspace.shared_manifests, ignore_errors=True)
            yield f"left {before}"
        write_atomically(workspace.shared_store, f"{shared}\n")
    yield f"{workspace.root} shares artefacts in {shared}"
    for artefact in ArtefactStore(workspace).here():
        if message := unshareable(artefact) or shared.offer(artefact):
            yield message
    yield from Aliases(workspace, shared).share()


def leave(workspace: Workspace) -> Iterator[str]:
    """Leaves the shared store. Everything in the workspace and on S3 stays. Needs no network."""
    if not workspace.shared_store.exists():
        yield f"{workspace.root} shares artefacts with no other"
        return
    address = workspace.shared_store.read_text(encoding="utf-8").strip()
    with writing_to(workspace.root):
        workspace.shared_store.unlink()
        shutil.rmtree(workspace.shared_manifests, ignore_errors=True)
    yield f"left {address}"
    for name, target in Aliases(workspace, None).local().items():
        yield f"{name} -> {target}, as this workspace last set it"


def sharing(workspace: Workspace) -> str:
    """Which store a workspace shares, on one line, after its bucket has answered.

    Raises:
        StoreError: the bucket cannot be reached.
    """
    if (shared := joined(workspace)) is None:
        return "in this workspace alone"
    shared.check()
    return f"shared in {shared}"
