"""Exports that arrive in a folder: which are finished, and what became of each, recorded once.

What an export brought: how much of it was new, how much reused, and that no patient changed side.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from data_contracts.conventions import Stage
from data_contracts.monitoring import ExportRecord
from data_contracts.pairs import PATIENTS
from echoingecg.common import ContractError, StoreError, fingerprint, write_atomically
from tasks.base.workspace import Workspace, writing_to
from tasks.store import artefacts, job
from tasks.store.artefact import Artefact

_CLOCKS_APART = 300.0  # s by which the clocks of two machines may differ
TRIES = 3  # retrains begun on an export before it is set aside


@dataclass(frozen=True)
class Landed:
    """A finished export.

    Attributes:
        folder: absolute.
        finished: time of its marker, or of its newest file, ns since 1970.
        mark: of this state of the folder; a renewed marker, or any newer file where there is none, makes another.
    """

    folder: Path
    finished: int
    mark: str


def landed(inbox: Path, marker: str, quiet_minutes: float) -> list[Landed]:
    """The finished exports of an inbox, oldest first. Folders that end in `.partial` are still being written.

    Args:
        inbox: each of its folders is an export.
        marker: name of the file that is written last; empty for none.
        quiet_minutes: an export without it is finished once no file has changed for so long; 0 for never.

    Raises:
        StoreError: no such inbox, or an export from the future: which is the newest is not known then.
    """
    if not inbox.is_dir():
        raise StoreError(f"inbox {inbox}: not a folder")
    folders = [one for one in inbox.iterdir() if one.is_dir() and not one.name.startswith(".")]
    found = (_look(one, marker, quiet_minutes) for one in folders if one.suffix != ".partial")
    return sorted((one for one in found if one is not None), key=lambda one: (one.finished, one.folder.name))


def _look(folder: Path, marker: str, quiet_minutes: float) -> Landed | None:
    at = folder / marker
    if marker and at.is_file():
        finished = at.stat().st_mtime_ns
    elif quiet_minutes > 0:
        finished = max((one.stat().st_mtime_ns for one in folder.rglob("*") if one.is_file()), default=0)
        if not finished or abs(time.time_ns() - finished) < quiet_minutes * 60e9:
            return None
    else:
        return None
    if finished > time.time_ns() + _CLOCKS_APART * 1e9:
        says = datetime.fromtimestamp(finished / 1e9, UTC).isoformat(timespec="minutes")
        raise StoreError(
            f"export {folder} is dated {says}, later than this machine's clock: set the clock, or renew "
            f"{'its marker' if at.is_file() else 'its newest file'} (touch)"
        )
    return Landed(folder, finished, fingerprint([folder.name, finished]))


class ExportRecords:
    """Reads and writes what became of exports."""

    def __init__(self, workspace: Workspace) -> None:
        self.folder = workspace.private / "exports"

    def get(self, one: Landed) -> ExportRecord:
        """The record; of an export not met before, an empty one."""
        path = self._path(one)
        if not path.is_file():
            return ExportRecord(export=one.folder.name)
        return ExportRecord.model_validate_json(path.read_bytes())

    def keep(self, one: Landed, record: ExportRecord) -> None:
        """Writes the record, whole or not at all."""
        with writing_to(self.folder):
            job.private_folder(self.folder.parent)
            job.private_folder(self.folder)
            write_atomically(self._path(one), record.model_dump_json(indent=2) + "\n", mode=0o600)

    def waiting(self, exports: list[Landed]) -> list[Landed]:
        """Those to be retrained on: not met before, or begun and not brought to an end."""
        records = ((one, self.get(one)) for one in exports)
        return [one for one, record in records if record.state == "begun" and record.tries < TRIES]

    def summary(self, exports: list[Landed]) -> str:
        """`4 trained, 1 refused`; what was begun too often is set aside."""
        states = Counter(self.get(one).state for one in exports)
        return (
            ", ".join(f"{n} {'set aside' if one == 'begun' else one}" for one, n in states.items()) or "none has come"
        )

    def _path(self, one: Landed) -> Path:
        return self.folder / f"{one.mark}.json"


@contextmanager
def only_one(workspace: Workspace) -> Iterator[bool]:
    """Whether no other retrain runs in this workspace; if so, none will until this one ends."""
    locks = workspace.artefacts / ".locks"
    with writing_to(workspace.root):
        locks.mkdir(parents=True, exist_ok=True)
        lock = FileLock(locks / "retrain.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def growth(
    store: artefacts.ArtefactStore, made: Mapping[Stage, Artefact], champion: Artefact | None
) -> list[dict[str, Any]]:
    """A row each for ECGs, echo clips and patients: how many, how many new.

    Args:
        store: holds the champion's pairs.
        made: artefacts of the retrain.
        champion: the evaluation before it; None for the first.

    Raises:
        ContractError: a patient stands on another side of the split than in the champion's pairs.
    """
    listed = made["catalog"].manifest.counts
    lineage = store.lineage(champion) if champion else {}
    ecg, teacher = made["ecg"], made["teacher"]
    rows = [
        _row("ECGs", listed["ecgs"], ecg, lineage.get("ecg") == ecg.version),
        _row("echo clips", listed["echoes"], teacher, lineage.get("teacher") == teacher.version),
    ]
    sides, before = _sides(made["pairs"]), _sides_of_champion(store, champion)
    known = sides.keys() & before.keys()
    if moved := sum(sides[one] != before[one] for one in known):
        raise ContractError(f"{moved} of {len(known)} patients changed split: use the champion's pairs.split and key")
    new = len(sides) - len(known)
    return [*rows, {"what": "patients in pairs", "in the export": len(sides), "new": new, "reused": len(known)}]


def _row(what: str, total: int, artefact: Artefact, is_champions: bool) -> dict[str, Any]:
    """An artefact of the champion's own says what was new then."""
    new = 0 if is_champions else artefact.manifest.run.new_keys or 0
    return {"what": what, "in the export": total, "new": new, "reused": total - new}


def _sides(pairs: Artefact) -> dict[str, str]:
    table = PATIENTS.read(pairs.folder)
    return dict(zip(table["patient_id"].to_pylist(), table["split"].to_pylist(), strict=True))


def _sides_of_champion(store: artefacts.ArtefactStore, champion: Artefact | None) -> dict[str, str]:
    found = store.find("pairs", store.lineage(champion)["pairs"]) if champion else None
    return _sides(found) if found else {}
