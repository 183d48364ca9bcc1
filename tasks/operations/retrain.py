"""Retraining on exports that arrive: which are finished, what each brought, and which student is champion after it."""

import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from filelock import FileLock, Timeout

from data_contracts import conventions, evaluation, monitoring
from echoingecg.common import StoreError, UserError, fingerprint, write_atomically
from echoingecg.recipe import PromotionSettings
from tasks.base.workspace import Workspace, writing_to
from tasks.known_exports import Change
from tasks.operations.students import find_student
from tasks.pairs import check_same_sides, sides_of
from tasks.store import Artefact, ArtefactStore, before_it, check_alias, private_folder, read_moves

_CLOCK_TOLERANCE_SECONDS = 300.0  # between two machines
MAX_TRIES = 3  # retrains begun on an export before it is set aside


@dataclass(frozen=True)
class FinishedExport:
    """A finished export.

    Attributes:
        folder: absolute.
        finished: time of its marker, or of its newest file, ns since 1970.
        mark: identifies this state of the folder. A renewed marker, or without marker a newer file, makes another.
    """

    folder: Path
    finished: int
    mark: str


def finished_exports(inbox: Path, marker: str, quiet_minutes: float) -> list[FinishedExport]:
    """The finished exports of an inbox, oldest first. Folders that end in `.partial` are still being written.

    Args:
        inbox: each of its folders is an export.
        marker: name of the file that is written last; empty for none.
        quiet_minutes: an export without marker is finished when no file has changed for so long; 0 for never.

    Raises:
        StoreError: no such inbox, or an export is dated in the future, so that the newest cannot be known.
    """
    if not inbox.is_dir():
        raise StoreError(f"inbox {inbox}: not a folder")
    folders = [path for path in inbox.iterdir() if path.is_dir() and not path.name.startswith(".")]
    exports = (_finished_export(path, marker, quiet_minutes) for path in folders if path.suffix != ".partial")
    finished = [export for export in exports if export is not None]
    return sorted(finished, key=lambda export: (export.finished, export.folder.name))


def _finished_export(folder: Path, marker: str, quiet_minutes: float) -> FinishedExport | None:
    path = folder / marker
    if marker and path.is_file():
        finished = path.stat().st_mtime_ns
    elif quiet_minutes > 0:
        finished = max((file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()), default=0)
        if not finished or abs(time.time_ns() - finished) < quiet_minutes * 60e9:
            return None
    else:
        return None
    if finished > time.time_ns() + _CLOCK_TOLERANCE_SECONDS * 1e9:
        date = datetime.fromtimestamp(finished / 1e9, UTC).isoformat(timespec="minutes")
        raise StoreError(
            f"export {folder} is dated {date}, later than this machine's clock: set the clock, or renew "
            f"{'its marker' if path.is_file() else 'its newest file'} (touch)"
        )
    return FinishedExport(folder, finished, fingerprint([folder.name, finished]))


class ExportRecords:
    """Reads and writes what became of exports, a file for each."""

    def __init__(self, workspace: Workspace) -> None:
        self.folder = workspace.private / "exports"

    def get(self, export: FinishedExport) -> monitoring.ExportRecord:
        """The record; an empty one for an export without a file."""
        path = self._path(export)
        if not path.is_file():
            return monitoring.ExportRecord(export=export.folder.name)
        return monitoring.ExportRecord.model_validate_json(path.read_bytes())

    def keep(self, export: FinishedExport, record: monitoring.ExportRecord) -> None:
        """Writes the record, whole or not at all."""
        with writing_to(self.folder):
            private_folder(self.folder.parent)
            private_folder(self.folder)
            write_atomically(self._path(export), record.model_dump_json(indent=2) + "\n", mode=0o600)

    def waiting(self, exports: list[FinishedExport]) -> list[FinishedExport]:
        """Exports to retrain on: without a record, or begun and not ended, and not tried too often."""
        records = ((export, self.get(export)) for export in exports)
        return [export for export, record in records if record.state == "begun" and record.tries < MAX_TRIES]

    def summary(self, exports: list[FinishedExport]) -> str:
        """How many exports are in which state, such as `4 trained, 1 refused`. Begun too often means set aside."""
        states = Counter(self.get(export).state for export in exports)
        counts = (f"{count} {'set aside' if state == 'begun' else state}" for state, count in states.items())
        return ", ".join(counts) or "none has come"

    def _path(self, export: FinishedExport) -> Path:
        return self.folder / f"{export.mark}.json"


@contextmanager
def retrain_lock(workspace: Workspace) -> Iterator[bool]:
    """Yields whether no other retrain runs in this workspace. If so, no other starts until this context ends."""
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


def export_growth(
    store: ArtefactStore,
    made: Mapping[conventions.Stage, Artefact],
    built: Collection[str],
    changed: Sequence[Change],
    champion: Artefact | None,
) -> list[dict[str, Any]]:
    """A row each for ECGs, echo clips and patients: how many the export has, how many of them are new, which are gone.

    Args:
        store: holds the champion's pairs.
        made: artefacts of the retrain.
        built: stages that this run has built: they have read the files that their pools lacked, the others none.
        changed: since the export before; gone are those that it held and this one does not.
        champion: the champion's evaluation before the retrain; None for the first retrain.

    Raises:
        ContractError: a patient is on another side of the split than in the champion's pairs.
    """
    listed, gone = made["catalog"].manifest.counts, {change.what: change.gone for change in changed}
    kinds: tuple[tuple[str, str, conventions.Stage], ...]
    kinds = ("ECGs", "ecgs", "ecg"), ("echo clips", "echoes", "teacher")
    rows = []
    for what, table, stage in kinds:
        new = (made[stage].manifest.run.new_keys or 0) if stage in built else 0
        rows.append(_row(what, listed[table], new, gone.get(what, 0)))
    sides, before = sides_of(made["pairs"]), _sides_of_champion(store, champion)
    check_same_sides(before, sides, "the champion's")
    known = sides.keys() & before.keys()
    return [*rows, _row("patients in pairs", len(sides), len(sides) - len(known), len(before) - len(known))]


def _row(what: str, total: int, new: int, gone: int) -> dict[str, Any]:
    return {"what": what, "in the export": total, "new": new, "known": total - new, "gone": gone}


def _sides_of_champion(store: ArtefactStore, champion: Artefact | None) -> dict[str, str]:
    artefact = store.find("pairs", store.lineage(champion)["pairs"]) if champion else None
    return sides_of(artefact) if artefact else {}


def champion_of(store: ArtefactStore, alias: str) -> Artefact | None:
    """The evaluation that the alias names, by its manifest alone; None where there is no such alias."""
    return store.named(alias) if alias in store.aliases() else None


class Outcome(NamedTuple):
    """What a retrain led to.

    Attributes:
        line: the decision in words.
        is_frozen: whether the champion stays because the two could not be compared.
        labels: what they were compared on, a row for each endpoint.
    """

    line: str
    is_frozen: bool = False
    labels: tuple[dict[str, Any], ...] = ()


def promote_if_better(store: ArtefactStore, challenger: Artefact, alias: str, rule: PromotionSettings) -> Outcome:
    """Moves the alias to the challenger's evaluation if the rule allows it.

    Where the two cannot be compared the champion stays, frozen: the next challenger will not be compared, either.
    """
    champion = champion_of(store, alias)
    if champion is not None and champion.version == challenger.version:
        return Outcome(f"{alias}: {challenger} stays")
    try:
        decision, _ = promote(store, str(challenger), alias, rule)
    except UserError as fault:
        return Outcome(f"{alias}: {champion} is frozen: {fault}; {_way_out(alias, challenger)}", True)
    labels = tuple(endpoint.model_dump() for endpoint in decision.labels)
    left_out = [f"{count} {what}" for what in ("changed", "vanished") if (count := sum(row[what] for row in labels))]
    reason = f"{decision.says} (test labels: {', '.join(left_out)})" if left_out else decision.says
    if decision.verdict == "promote":
        return Outcome(f"{alias}: {challenger} takes the place of {champion or 'nobody'}: {reason}", False, labels)
    is_frozen = decision.verdict == "frozen"
    return Outcome(f"{alias}: {champion} {'is frozen' if is_frozen else 'stays'}: {reason}", is_frozen, labels)


def _way_out(alias: str, challenger: Artefact) -> str:
    return f"look at both reports; 'echoingecg artefacts alias {alias} {challenger}' puts the new student in its place"


def promote(
    store: ArtefactStore, challenger: str, alias: str, rule: PromotionSettings
) -> tuple[monitoring.Decision, Path]:
    """Compares two students by the rule, writes the decision down, then moves the alias if the challenger won.

    Without such an alias, the challenger wins.

    Args:
        store: holds both.
        challenger: student or evaluation, by STAGE-VERSION or alias.
        alias: names the champion.
        rule: the recipe's section `promotion`.

    Returns:
        The decision, and the file that holds it.

    Raises:
        UserError: no such student, both are the same, or the champion has no test prediction.
    """
    with _alias_locked(store, alias):
        new = find_student(store, challenger).evaluation
        before = store.aliases().get(alias)
        old = find_student(store, alias).evaluation if before else None
        decision = _decide(store, new, old, alias, rule)
        path = _keep(store, decision)
        if store.aliases().get(alias) != before:  # by another machine: our lock is known in this workspace alone
            raise StoreError(f"'{alias}' has moved meanwhile: promote again, against the new one")
        if decision.verdict == "promote":
            store.set_alias(alias, new, "promoted", f"{decision.says} ({path.name})")
        return decision, path


def roll_back(store: ArtefactStore, alias: str, why: str = "") -> tuple[Artefact, Artefact]:
    """Points an alias at what it named before, as the workspace's file of moves has it.

    Args:
        store: of the workspace.
        alias: such as production.
        why: for that file.

    Returns:
        What it named, and what it names now.

    Raises:
        StoreError: no such alias, nothing was named before, or that is gone.
    """
    with _alias_locked(store, alias):
        current = store.aliases().get(alias)
        if current is None:
            raise StoreError(f"no alias '{alias}': 'artefacts list' shows all")
        earlier = before_it(read_moves(store.workspace, alias), current)
        if not earlier:
            raise StoreError(f"'{alias}' has named nothing but {current}, as far as this workspace's moves go back")
        target, left = store.get(earlier), store.named(current)
        store.set_alias(alias, target, "rolled back", why)
        return left, target


@contextmanager
def _alias_locked(store: ArtefactStore, alias: str) -> Iterator[None]:
    check_alias(alias)
    locks = store.workspace.artefacts / ".locks"
    with writing_to(store.workspace.root):
        locks.mkdir(parents=True, exist_ok=True)
        with FileLock(locks / f"alias-{alias}.lock"):
            yield


def _decide(
    store: ArtefactStore,
    new: Artefact,
    old: Artefact | None,
    alias: str,
    rule: PromotionSettings,
) -> monitoring.Decision:
    from echoingecg.evaluation.compare import compare_students, decide_promotion, frozen, shared_labels  # scikit-learn

    compared: tuple[monitoring.EndpointComparison, ...] = ()
    labels: tuple[monitoring.SharedLabels, ...] = ()
    verdict: Literal["promote", "keep", "frozen"] = "promote"
    reason = f"there was no '{alias}' before"
    if old is not None:
        if old.version == new.version:
            raise StoreError(f"{new} is '{alias}' already")
        tables = evaluation.PREDICTIONS.read(old.folder), evaluation.PREDICTIONS.read(new.folder)
        compared, labels = compare_students(*tables, rule), shared_labels(*tables, rule)
        if why := frozen(labels, rule):
            verdict, reason = (
                "frozen",
                f"{why}, promotion.least_shared asks for {rule.least_shared:.0%}; {_way_out(alias, new)}",
            )
        else:
            is_promoted, reason = decide_promotion(compared, rule)
            verdict = "promote" if is_promoted else "keep"
    return monitoring.Decision(
        alias=alias,
        verdict=verdict,
        says=reason,
        rule=rule.model_dump(mode="json"),
        champion=str(old) if old else "",
        challenger=str(new),
        lineage={str(item): store.lineage(item) for item in (old, new) if item},
        compared=compared,
        labels=labels,
        decided=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _keep(store: ArtefactStore, decision: monitoring.Decision) -> Path:
    folder = store.workspace.decisions
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{decision.alias}-{fingerprint(decision.model_dump(mode='json'))}.json"
    write_atomically(path, decision.model_dump_json(indent=2) + "\n")
    return path
