"""What a run was asked to do. It is passed to every task, so that no task reads the environment."""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock

from data_contracts.conventions import STAGES, UPSTREAM, Stage
from echoingecg.catalog.exports import SitedExport
from echoingecg.catalog.pseudonyms import NOBODY, Withdrawn
from echoingecg.common import (
    StoreError,
    UserError,
    fingerprint,
    flush_names,
    hash_files,
    replace_atomically,
    write_atomically,
)
from echoingecg.recipe import Recipe
from tasks.base.workspace import Workspace, writing_to
from tasks.store.artefacts import ArtefactStore

if TYPE_CHECKING:
    from echoingecg.catalog.scan import Scan

_KEY_BYTES = 32
_CHECK = ".check"
_DIGEST = ".sha256"  # of a private table
_CHECKED_TEXT = b"echoingecg: the pseudonym key of this workspace"
_MEND_KEY = (
    "bring it back from a backup. Without it the pseudonyms of this workspace cannot be made again; a new workspace "
    "gets a new key"
)
_MEND_LIST = "bring it back from a backup; without it their rows would come back"
_PATIENT = r"p-[0-9a-f]{16}"


@dataclass(frozen=True)
class Job:
    """One request to the pipeline.

    Attributes:
        recipe: every parameter.
        workspace: where everything is kept.
        export: the hospital export, absolute; the first one of several.
        build: stages that may be built; other stages must have their version already.
        redo: stages that are built again even where their version exists.
        needed: `build` and all stages that it depends on; other stages are skipped.
        site: name of the site of `export`; empty where it states sites itself, or stands alone.
        more: further exports.
        series: names exports that follow each other, such as an inbox; empty where the exports' own folders do.
    """

    recipe: Recipe
    workspace: Workspace
    export: Path
    build: frozenset[Stage] = frozenset(STAGES)
    redo: frozenset[Stage] = frozenset()
    needed: frozenset[Stage] = frozenset(STAGES)
    site: str = ""
    more: tuple[SitedExport, ...] = ()
    series: str = ""

    @property
    def exports(self) -> tuple[SitedExport, ...]:
        """All exports, each with its site."""
        return SitedExport(self.export, self.site), *self.more

    @property
    def store(self) -> ArtefactStore:
        return ArtefactStore(self.workspace)

    @cached_property
    def key(self) -> bytes:
        """Pseudonym key: the recipe's public key, or a secret that is made once and stays in the workspace.

        Raises:
            StoreError: the file of the secret is gone, damaged, or not the one that this workspace's catalogs were made
                with.
        """
        if public := self.recipe.catalog.public_key:
            return public.encode()
        return secret_key(self.workspace)

    @property
    def withdrawn(self) -> Withdrawn:
        """Patients whose rows every catalog of this workspace leaves out."""
        return withdrawn_patients(self.workspace)

    @property
    def index_files(self) -> list[Path]:
        """The private index of each export: which file has which path, size, time and content hash."""
        return [
            self.workspace.private / f"sources-{fingerprint(str(export.folder))}.parquet" for export in self.exports
        ]

    @property
    def refused_rows_file(self) -> Path:
        """Which rows of the exports' tables were refused: table and number of the row of each pseudonym."""
        folders = [str(export.folder) for export in self.exports]
        return self.workspace.private / f"rows-{fingerprint(folders if self.more else folders[0])}.parquet"

    def keep_refused_rows(self, rows: pa.Table) -> None:
        """Writes the names of refused rows to the workspace's private part, beside the index of files.

        Args:
            rows: echoingecg.catalog.refusals.REFUSED_ROWS.
        """
        with writing_to(self.workspace.root):
            private_folder(self.refused_rows_file.parent)
            write_private(self.refused_rows_file, rows)

    @cached_property
    def scan(self) -> "Scan":
        """What the export holds now. Files whose size and time are unchanged are not read again."""
        from echoingecg.catalog.several import scan_exports  # keeps pandas out of `echoingecg --help`
        from tasks.base.progress import Reporter

        previous = [read_private(file) for file in self.index_files]
        settings, report = self.recipe.catalog, Reporter("catalog")
        result, indexes = scan_exports(self.exports, settings, self.key, previous, report, self.withdrawn)
        with writing_to(self.workspace.root):
            private_folder(self.workspace.private)
            for file, index in zip(self.index_files, indexes, strict=True):
                write_private(file, index)
        return result

    def forget_scan(self) -> None:
        """Frees what only the catalog stage needs, 2 kB for each file. A later use of `scan` scans again."""
        self.__dict__.pop("scan", None)

    def sources(self) -> pa.Table:
        """The path and the SHA-256 of each file, table (source_id, path, content_hash), as the catalog stage left it.

        Paths are relative to the export; of several exports they are absolute.

        Raises:
            StoreError: an export was never catalogued in this workspace.
        """
        tables = []
        for export, file in zip(self.exports, self.index_files, strict=True):
            if (index := read_private(file)) is None:
                raise StoreError(f"export {export.folder} has no index in {self.workspace.root}: run the catalog stage")
            table = index.select(["source_id", "path", "content_hash"])
            if self.more:
                table = table.set_column(1, "path", pc.binary_join_element_wise(f"{export.folder}/", table["path"], ""))
            tables.append(table)
        return pa.concat_tables(tables)


def key_file(workspace: Workspace) -> Path:
    """Where the workspace keeps its secret pseudonym key."""
    return workspace.private / "pseudonym.key"


def secret_key(workspace: Workspace) -> bytes:
    """The pseudonym key of a workspace; it is made once.

    Raises:
        StoreError: its file is gone, damaged, or not the one that this workspace's catalogs were made with.
    """
    path = key_file(workspace)
    with writing_to(workspace.root):
        private_folder(path.parent)
        with FileLock(path.with_suffix(".lock"), mode=0o600):  # two first runs must not make two keys
            if not path.exists():
                if path.with_suffix(_CHECK).exists() or _keys_of_catalogs(workspace):
                    raise StoreError(f"{path} is gone, and catalogs were made with it: {_MEND_KEY}")
                with replace_atomically(path, 0o600) as beside:
                    beside.write_bytes(secrets.token_bytes(_KEY_BYTES))
                flush_names(path.parent, workspace.root)
            key = path.read_bytes()
            if len(key) != _KEY_BYTES:
                raise StoreError(f"{path}: {len(key)} bytes, a pseudonym key has {_KEY_BYTES}: {_MEND_KEY}")
            _check_key(workspace, path, key)
    return key


def _check_key(workspace: Workspace, path: Path, key: bytes) -> None:
    """Raises StoreError unless this key has made the pseudonyms of the workspace; the first one is kept in mind.

    Beside the key stands an HMAC under it, of a fixed text. A workspace of an earlier release has its catalogs.
    """
    check, expected = path.with_suffix(_CHECK), hmac.new(key, _CHECKED_TEXT, "sha256").hexdigest()
    if check.exists():
        is_known = hmac.compare_digest(check.read_text(encoding="ascii", errors="replace").strip(), expected)
    else:
        is_known = not (used := _keys_of_catalogs(workspace)) or key_digest(key) in used
    if not is_known:
        raise StoreError(f"{path}: not the key that this workspace's catalogs were made with: {_MEND_KEY}")
    if not check.exists():
        write_atomically(check, f"{expected}\n", 0o600)


def _keys_of_catalogs(workspace: Workspace) -> set[str]:
    """Digests of the secret keys that the catalogs of this workspace were made with."""
    manifests = [catalog.manifest for catalog in ArtefactStore(workspace).here("catalog")]
    return {made.source["key"] for made in manifests if not made.recipe.get("public_key") and "key" in made.source}


def withdrawn_patients(workspace: Workspace) -> Withdrawn:
    """Patients who have withdrawn their consent: a pseudonym a line, under the workspace's secret key.

    Raises:
        StoreError: the list is damaged, or for the reasons of `secret_key`.
    """
    path = _withdrawn_file(workspace)
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return NOBODY
    except (OSError, ValueError) as fault:
        raise StoreError(f"{path}: the list of withdrawn patients cannot be read: {_MEND_LIST}") from fault
    if not all(re.fullmatch(_PATIENT, line) for line in lines):
        raise StoreError(f"{path}: the list of withdrawn patients is damaged: {_MEND_LIST}")
    return Withdrawn(secret_key(workspace), frozenset(lines))


def add_withdrawn(workspace: Workspace, name: str) -> None:
    """Adds a patient's pseudonym, under the workspace's secret key, to the withdrawn ones; flushed to the disk."""
    names = withdrawn_patients(workspace).names | {name}
    with writing_to(workspace.root):
        private_folder(workspace.private)
        path = _withdrawn_file(workspace)
        write_atomically(path, "".join(f"{line}\n" for line in sorted(names)), 0o600)
        flush_names(path.parent, workspace.root)


def _withdrawn_file(workspace: Workspace) -> Path:
    return workspace.private / "withdrawn"


def key_digest(key: bytes) -> str:
    """Which key made the pseudonyms: a hash, from which the key cannot be found."""
    return hashlib.sha256(key).hexdigest()[:16]


def stages_to_run(start_from: str, only: list[str], force: bool) -> tuple[frozenset[Stage], frozenset[Stage]]:
    """(stages that may be built, stages that are built again).

    Args:
        start_from: redo this stage and all stages that depend on it; empty for none.
        only: build only these stages; empty for all.
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
    if force:
        return build, build
    return build, frozenset(stage for stage in STAGES if start_from in {stage, *upstream_of(stage)})


def upstream_of(stage: Stage) -> frozenset[Stage]:
    """Every stage that this stage depends on, directly or through others."""
    direct = UPSTREAM[stage]
    return frozenset(direct).union(*(upstream_of(name) for name in direct))


def write_private(path: Path, table: pa.Table) -> None:
    """Writes a table of the workspace's private part, and beside it the SHA-256 of its bytes. Raises OSError."""
    with replace_atomically(path, 0o600) as beside:
        pq.write_table(table, beside)
        digest = hash_files([beside])
    write_atomically(path.with_suffix(_DIGEST), f"{digest}\n", 0o600)


def read_private(path: Path) -> pa.Table | None:
    """Reads a table of the workspace's private part; None where there is none, or a damaged one: it is made again.

    Tables of earlier releases have no digest beside them.
    """
    digest = path.with_suffix(_DIGEST)
    try:
        if digest.exists() and digest.read_bytes().strip() != hash_files([path]).encode():
            return None
        return pq.read_table(path)
    except (OSError, pa.ArrowException):
        return None


def private_folder(folder: Path) -> None:
    """Makes a folder that only its owner can open."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
