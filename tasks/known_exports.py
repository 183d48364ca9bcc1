"""What a workspace knows of an export that grows, in one folder or as one folder after another: what became of it.

A run that goes through with an export keeps its catalog in mind. The next catalog of the same folder, or of the same
inbox, is compared with it by kind of file: an export that has lost too much may be half a copy, and is refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from data_contracts import catalog
from data_contracts.monitoring import KnownExport
from echoingecg.common import ExportError, fingerprint, write_atomically
from tasks.base.workspace import writing_to
from tasks.store import Artefact, Job, private_folder

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

PATIENTS = "patients"
_COUNTS = {catalog.ECGS.name: "ECGs", catalog.ECHOES.name: "echo clips", catalog.REPORTS.name: "reports",
           catalog.MEASUREMENTS.name: "measurements"}  # fmt: skip
_ROW_OF_MEASUREMENT = ("patient_id", "study_id", "record_id", "measurement", "value", "upper", "words", "unit")


@dataclass(frozen=True)
class Change:
    """What became of one kind of file or row between two catalogs.

    Attributes:
        what: such as `ECGs`.
        before: how many there were.
        gone: how many of them are not there any more, under whatever name.
        new: how many have come, or have another content.
    """

    what: str
    before: int
    gone: int
    new: int


def check(job: Job, listed: Artefact) -> None:
    """Refuses an export that has lost more than the recipe allows since the last one that a run went through with.

    Args:
        job: names the exports.
        listed: the catalog.

    Raises:
        ExportError: states the numbers of each kind, and the field of the recipe.
    """
    known = last(job)
    if known is None or listed.version in (known.catalog, *known.earlier):
        return
    limit = job.recipe.execution.max_gone_share
    lost = [change for change in changes(job, known, listed) if change.gone > limit * change.before]
    if not lost:
        return
    counted = ", ".join(f"{change.gone:,} of {change.before:,} {change.what}" for change in lost)
    raise ExportError(
        f"{listed}: {counted} that the export before held (catalog-{known.catalog}) are gone, over the recipe's "
        f"execution.max_gone_share={limit}: is the copy complete? If they are to go, raise it"
    )


def keep(job: Job, listed: Artefact) -> None:
    """Keeps in mind that a run went through with this catalog."""
    known = last(job)
    if known is not None and known.catalog == listed.version:
        return
    earlier = [version for version in (*known.earlier, known.catalog) if version != listed.version] if known else []
    counts = {what: listed.manifest.counts[name] for name, what in _COUNTS.items() if name in listed.manifest.counts}
    now = KnownExport(catalog=listed.version, counts=counts, earlier=tuple(earlier))
    with writing_to(job.workspace.root):
        path = _path(job)
        private_folder(path.parent.parent)
        private_folder(path.parent)
        write_atomically(path, now.model_dump_json(indent=2) + "\n", mode=0o600)


def last(job: Job) -> KnownExport | None:
    """What is known of the job's exports, as catalogued by its recipe; None before the first run."""
    try:
        return KnownExport.model_validate_json(_path(job).read_bytes())
    except (FileNotFoundError, ValidationError):  # a damaged one is as good as none: it is written anew
        return None


def _path(job: Job) -> Path:
    """A file for each series of exports and way to catalogue them: another key or layout makes other pseudonyms."""
    series = job.series or [[export.site, str(export.folder)] for export in job.exports]
    settings = job.recipe.catalog.model_dump(mode="json", exclude={"max_refused_share"})
    return job.workspace.private / "exports" / f"last-{fingerprint([series, settings])}.json"


def changes(job: Job, known: KnownExport, listed: Artefact) -> list[Change]:
    """What became of each kind, nothing where the content is equal.

    Where the catalog before is gone or of an earlier release, numbers alone are compared, and patients are left out.
    """
    if known.catalog == listed.version:
        return []
    before = job.store.find("catalog", known.catalog)
    if before is None or _release(before) != _release(listed):
        now = {what: listed.manifest.counts.get(name, 0) for name, what in _COUNTS.items()}
        return [
            Change(what, count, max(0, count - now[what]), max(0, now[what] - count))
            for what, count in known.counts.items()
        ]
    return list(_changes(before, listed))


def _release(listed: Artefact) -> tuple[int, int]:
    return listed.manifest.contract_version, listed.manifest.code_version


def holds_nothing_new(known: KnownExport, listed: Artefact, changed: list[Change]) -> bool:
    """Whether a run went through with equal content before, or all of it is known and no patient has left.

    Args:
        known: of the exports before.
        listed: the catalog.
        changed: from `changes`.
    """
    if listed.version in (known.catalog, *known.earlier):
        return True
    patients = [change.gone for change in changed if change.what == PATIENTS]
    return patients == [0] and not any(change.new for change in changed)


def _changes(before: Artefact, now: Artefact) -> Iterator[Change]:
    owners: list[list[np.ndarray]] = [[], []]
    for contract, what, name in ((catalog.ECGS, "ECGs", "record_id"), (catalog.ECHOES, "echo clips", "clip_id")):
        old, new = (contract.read(artefact.folder) for artefact in (before, now))
        yield _change_of_files(what, old, new, name)
        for side, table in zip(owners, (old, new), strict=True):
            side.append(_keys(table, "patient_id"))
    yield _change(PATIENTS, *(_unique(side) for side in owners))
    old, new = (catalog.REPORTS.read(artefact.folder) for artefact in (before, now))
    for method in ("ECG", "ECHO"):
        texts = [_of_method(table, method) for table in (old, new)]
        yield _change(
            f"{'ECG' if method == 'ECG' else 'echo'} reports",
            *(_keys(table, "report_id") for table in texts),
            *(_keys(table, "report_id", "subject_id", "text") for table in texts),
        )
    old, new = (catalog.MEASUREMENTS.read(artefact.folder) for artefact in (before, now))
    yield _change(
        "measurements",
        *(_keys(table, "patient_id", "measurement") for table in (old, new)),
        *(_keys(table, *_ROW_OF_MEASUREMENT) for table in (old, new)),
    )
    old, new = (catalog.SUBGROUPS.read(artefact.folder) for artefact in (before, now))
    yield _change(
        "ECGs with sex, age, site, device or rhythm",
        *(_keys(table, "record_id") for table in (old, new)),
        *(_keys(table, *catalog.SUBGROUPS.schema.names) for table in (old, new)),
    )


def _change_of_files(what: str, before: "pa.Table", now: "pa.Table", name: str) -> Change:
    """A file is still there if its identifier is, or its content under another one; it is new if its content is."""
    import numpy as np

    identity, content = ([_keys(table, column) for table in (before, now)] for column in (name, "content_hash"))
    is_gone = ~np.isin(identity[0], identity[1]) & ~np.isin(content[0], content[1])
    is_new = ~np.isin(content[1], content[0])
    return Change(what, len(identity[0]), int(is_gone.sum()), int(is_new.sum()))


def _change(
    what: str,
    before: "np.ndarray",
    now: "np.ndarray",
    content_before: "np.ndarray | None" = None,
    content_now: "np.ndarray | None" = None,
) -> Change:
    """The change of rows that are told apart by identity, and that are new where their content is."""
    old, new = (before, now) if content_before is None or content_now is None else (content_before, content_now)
    return Change(what, len(before), _lacking(before, now), _lacking(new, old))


def _lacking(rows: "np.ndarray", others: "np.ndarray") -> int:
    """How many rows the others lack; of equal rows each counts."""
    import numpy as np

    keys, counts = np.unique(rows, return_counts=True)
    other_keys, other_counts = np.unique(others, return_counts=True)
    _, place, other_place = np.intersect1d(keys, other_keys, assume_unique=True, return_indices=True)
    left = counts.copy()
    left[place] -= np.minimum(counts[place], other_counts[other_place])
    return int(left.sum())


def _keys(table: "pa.Table", *columns: str) -> "np.ndarray":
    """A 64-bit key for each row, equal where the columns are; texts of 28 million measurements fill the memory."""
    import pandas as pd

    frame = table.select(list(columns)).to_pandas(strings_to_categorical=True)
    keys: np.ndarray[Any, Any] = pd.util.hash_pandas_object(frame, index=False).to_numpy()
    return keys


def _of_method(table: "pa.Table", method: str) -> "pa.Table":
    import pyarrow.compute as pc

    return table.filter(pc.equal(table["method"], method))


def _unique(parts: "list[np.ndarray]") -> "np.ndarray":
    import numpy as np

    return np.unique(np.concatenate(parts))
