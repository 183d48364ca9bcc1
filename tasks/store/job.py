"""What a run was asked to do: passed to every task, so that nothing is read from the environment."""

import secrets
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from data_contracts.conventions import STAGES, UPSTREAM, Stage
from echoingecg.common import StoreError, UserError, fingerprint, replace_atomically
from echoingecg.recipe import Recipe
from tasks.base.workspace import Workspace, writing_to
from tasks.store.artefacts import ArtefactStore

if TYPE_CHECKING:
    from echoingecg.catalog.scan import Scan

_KEY_BYTES = 32


@dataclass(frozen=True)
class Job:
    """One order to the pipeline.

    Attributes:
        recipe: every parameter.
        workspace: where everything is kept.
        export: the hospital export, absolute.
        build: stages that may be built; the others must be there already.
        redo: stages that are built again although their version is there.
        needed: `build` and all that it depends on; the others are skipped.
    """

    recipe: Recipe
    workspace: Workspace
    export: Path
    build: frozenset[Stage] = frozenset(STAGES)
    redo: frozenset[Stage] = frozenset()
    needed: frozenset[Stage] = frozenset(STAGES)

    @property
    def store(self) -> ArtefactStore:
        return ArtefactStore(self.workspace)

    @cached_property
    def key(self) -> bytes:
        """Pseudonym key: the recipe's public one, or a secret that is made once and stays in the workspace."""
        if public := self.recipe.catalog.public_key:
            return public.encode()
        path = self.workspace.private / "pseudonym.key"
        with writing_to(self.workspace.root):
            private_folder(path.parent)
            with FileLock(path.with_suffix(".lock"), mode=0o600):  # two first runs must not each make one
                if not path.exists():
                    with replace_atomically(path, 0o600) as beside:
                        beside.write_bytes(secrets.token_bytes(_KEY_BYTES))
                return path.read_bytes()

    @property
    def index_file(self) -> Path:
        """The private index of this export: which file has which path, size, time and content hash."""
        return self.workspace.private / f"sources-{fingerprint(str(self.export))}.parquet"

    @cached_property
    def scan(self) -> "Scan":
        """What the export holds now. Files whose size and time are unchanged are not read again."""
        from echoingecg.catalog.scan import scan  # keeps pandas out of `echoingecg --help`
        from tasks.base.progress import Reporter

        previous = pq.read_table(self.index_file) if self.index_file.is_file() else None
        found = scan(self.export, self.recipe.catalog, self.key, previous, Reporter("catalog"))
        with writing_to(self.workspace.root):
            private_folder(self.index_file.parent)
            with replace_atomically(self.index_file, 0o600) as beside:
                pq.write_table(found.sources, beside)
        return found

    def forget_scan(self) -> None:
        """Lets go of what the catalog stage alone needs, 2 kB a file. Asked for again, the export is scanned again."""
        self.__dict__.pop("scan", None)

    def sources(self) -> pa.Table:
        """Which file is where, (source_id, path), as the catalog stage left it.

        Raises:
            StoreError: the export was never catalogued in this workspace.
        """
        if not self.index_file.is_file():
            raise StoreError(f"export {self.export} has no index in {self.workspace.root}: run the catalog stage")
        return pq.read_table(self.index_file, columns=["source_id", "path"])


def stages_to_run(start_from: str, only: list[str], force: bool) -> tuple[frozenset[Stage], frozenset[Stage]]:
    """Which stages may be built, and which are built again.

    Args:
        start_from: redo this stage and all that depend on it; empty for none.
        only: build these stages alone; empty for all.
        force: redo every stage that may be built.

    Raises:
        UserError: an unknown stage, or both `start_from` and `only`.
    """
    for name in [*only, *([start_from] if start_from else [])]:
        if name not in STAGES:
            raise UserError(f"no stage is called '{name}': choose from {', '.join(STAGES)}")
    if start_from and only:
        raise UserError("--from and --only exclude each other")
    build = frozenset(stage for stage in STAGES if not only or stage in only)
    redo = (
        build if force else frozenset(s for s in STAGES if start_from and (s == start_from or start_from in above(s)))
    )
    return build, redo


def above(stage: Stage) -> frozenset[Stage]:
    """Every stage that this one depends on, however far."""
    direct = UPSTREAM[stage]
    return frozenset(direct).union(*(above(one) for one in direct))


def private_folder(folder: Path) -> None:
    """Makes a folder that its owner alone can open."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
