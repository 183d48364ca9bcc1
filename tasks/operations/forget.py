"""Takes a patient who has withdrawn consent out of a workspace: no file keeps anything but a keyed pseudonym.

Everything that was made of a catalog that lists the patient goes, and so does every student that has learned from the
patient; pools are made anew from their other rows. A list in `private` then keeps the patient out of every catalog, so
that a run on the same export leads to all of it again, without the patient.

Who owns which file is known from the catalogs alone. So these go last: a second call ends what a kill has interrupted.
For the other patients it is kept in `private/owners.parquet`, until they withdraw, too. What no catalog and no such row
gives to another patient may be this one's, and goes.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count, takewhile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_contracts import ecg, pairs, quarantine, tables
from data_contracts.manifest import FILENAME, checked_file
from echoingecg.catalog.pseudonyms import Pseudonyms
from echoingecg.common import StoreError, UserError, write_atomically
from tasks.base.workspace import Bucket, Workspace, is_s3, writing_to
from tasks.operations.verify_and_collect import DELETING, LEFTOVERS
from tasks.pools import pool as pools
from tasks.store import Artefact, ArtefactStore, leases, read_private, seals, write_private
from tasks.store.job import add_withdrawn, key_digest, key_file, secret_key, withdrawn_patients

OWNERS = tables.TableContract(
    "owners",
    (
        tables.column("patient_id", pa.string(), "keyed pseudonym of the patient"),
        tables.column("public_key", pa.string(), "the public key of the pseudonym; empty for the workspace's secret"),
        tables.column("source_id", pa.string(), "keyed pseudonym of the file"),
        tables.column("content_hash", pa.string(), "key of the file's results in a pool"),
        tables.column("study_id", pa.string(), "keyed pseudonym of the echo study; null for an ECG", optional=True),
    ),
)
_TARGETS = "-targets-"  # in the name of a pool that is made from another one
_PARTS = ("ecgs", "echoes", "reports", "measurements")
_LEARNED = {"train": "it has learned from the patient", "validation": "the patient helped to choose it"}
_UNKNOWN = "what it has learned from is gone, so it may know the patient"


@dataclass(frozen=True)
class _Holdings:
    """What a workspace knows of a patient.

    Attributes:
        names: pseudonyms of the patient, under every key in use.
        rows: of OWNERS that are the patient's.
        others: of OWNERS that are another patient's.
        catalogs: those with a row of the patient.
        is_known: whether a row here is the patient's, or has been.
    """

    names: frozenset[str]
    rows: pa.Table
    others: pa.Table
    catalogs: tuple[Artefact, ...]
    is_known: bool


@dataclass
class _Plan:
    """What is to be done, in this order: a line for the user, and what does it."""

    steps: list[tuple[str, Callable[[], None]]] = field(default_factory=list)
    doomed: dict[str, Artefact] = field(default_factory=dict)

    def add(self, line: str, step: Callable[[], None]) -> None:
        self.steps.append((line, step))


def forget(
    store: ArtefactStore, patient: str, site: str = "", delete: bool = False, keep_students: bool = False
) -> Iterator[str]:
    """Lists everything in a workspace that holds something of a patient, or that learned from it; removes it.

    Args:
        store: of the workspace. What a shared store has of the same artefacts goes, too.
        patient: the hospital's own number.
        site: of the patient, where the exports state sites, or were given as SITE=FOLDER.
        delete: remove it, and keep the patient out of every later catalog.
        keep_students: name students that learned from the patient, and keep them.

    Yields:
        one line for everything.

    Raises:
        StoreError: a run is going on; a pool on S3 holds rows; the key or a table is damaged.
    """
    if not patient.strip():
        raise UserError("name the patient by the hospital's own number")
    named = _named(patient.strip(), site.strip())
    if not delete:
        for line, _ in _planned(store, named, keep_students).steps:
            yield f"would {line}"
        return
    with leases.all_held(store.workspace) as held:
        if held:
            raise StoreError("a run is going on in this workspace: wait for its end, or stop it, then forget")
        for folder in store.workspace.pools.glob(f"*/*{pools.REWRITING}"):
            whole = folder.with_name(folder.name.removesuffix(pools.REWRITING))
            with seals.lock_of(whole).acquire():
                pools.finish_rewriting(whole)
        key = secret_key(store.workspace)  # made now, where all keys were public
        plan = _planned(store, named, keep_students)
        add_withdrawn(store.workspace, Pseudonyms(key).patient(named))
        with writing_to(store.workspace.root):
            for line, step in plan.steps:
                step()
                yield f"done: {line}"


def _planned(store: ArtefactStore, named: str, keep_students: bool) -> _Plan:
    workspace, plan = store.workspace, _Plan()
    for made in store.published("catalog"):
        store.find("catalog", made.version)  # one that only the shared store has may list the patient, too
    holdings = _holdings(store, named)
    _check_s3(store)
    plan.add(f"keep {_summary(holdings)} out of every later catalog", lambda: None)
    _plan_artefacts(store, plan, holdings, keep_students)
    _plan_files(workspace, plan, holdings)
    _plan_private(store, plan, holdings)
    for place in sorted(workspace.pools.glob("*/*/")):
        if seals.DAMAGED not in place.name and _TARGETS not in place.name:
            _plan_pool(store, plan, holdings, place)
    for name, artefact in plan.doomed.items():
        if artefact.stage == "catalog":
            plan.add(f"delete {name}", partial(_erase, store, artefact))
    return plan


def _named(patient: str, site: str) -> str:
    from echoingecg.catalog.layouts.base import patient_of_site  # pandas: not for --help

    return patient_of_site(site, patient)


def _summary(holdings: _Holdings) -> str:
    if not holdings.is_known:
        return "this patient, whom no table here lists (a site that the exports state must be given, too),"
    if not holdings.catalogs and not holdings.rows.num_rows:
        return "the patient, who has withdrawn before,"
    echoes = holdings.rows["study_id"].drop_null()
    return (
        f"the patient of {holdings.rows.num_rows - len(echoes)} ECGs and {len(echoes)} echo clips in "
        f"{len(holdings.catalogs)} catalogs"
    )


def _holdings(store: ArtefactStore, named: str) -> _Holdings:
    """Finds a patient in the catalogs, and in what earlier withdrawals have left of catalogs."""
    workspace = store.workspace
    secret = secret_key(workspace) if key_file(workspace).exists() else None
    kept = _owners_file(workspace)
    parts = [OWNERS.check(_read(kept))] if kept.exists() else []
    listed = store.here("catalog")
    for made in listed:
        public = str(made.manifest.recipe.get("public_key", ""))
        key = public.encode() if public else secret
        if key is None or made.manifest.source.get("key") not in (None, key_digest(key)):
            raise StoreError(f"{made} was made with another pseudonym key: forget in the workspace that made it")
        parts += [_owned(made, name, public) for name in ("ecgs", "echoes")]
    everything = _distinct(pa.concat_tables([OWNERS.schema.empty_table(), *parts]))
    keys = {public.encode() for public in everything["public_key"].unique().to_pylist() if public}
    names = {Pseudonyms(key).patient(named) for key in (keys | ({secret} if secret else set()))}
    by_name = pc.is_in(everything["patient_id"], pa.array(sorted(names), pa.string()))
    contents = everything.filter(by_name)["content_hash"].unique()
    is_own = pc.or_(by_name, pc.is_in(everything["content_hash"], contents))
    rows = everything.filter(is_own)
    sources = set(rows["source_id"].to_pylist())
    affected = tuple(made for made in listed if _lists(made, names, sources))
    others = everything.filter(pc.invert(is_own))
    is_known = bool(affected or rows.num_rows or names & withdrawn_patients(workspace).names)
    return _Holdings(frozenset(names | set(rows["patient_id"].to_pylist())), rows, others, affected, is_known)


def _distinct(rows: pa.Table) -> pa.Table:
    return rows.group_by(rows.column_names).aggregate([]).select(rows.column_names).cast(OWNERS.schema)


def _owned(made: Artefact, name: str, public_key: str) -> pa.Table:
    """Rows of OWNERS that a catalog's table `ecgs` or `echoes` gives."""
    columns = ["patient_id", "source_id", "content_hash", *(["study_id"] if name == "echoes" else [])]
    table = pq.read_table(checked_file(made.folder, f"{name}.parquet"), columns=columns)
    table = table.append_column("public_key", pa.array([public_key] * table.num_rows, pa.string()))
    if name == "ecgs":
        table = table.append_column("study_id", pa.nulls(table.num_rows, pa.string()))
    return table.select(OWNERS.schema.names).cast(OWNERS.schema)


def _lists(made: Artefact, names: set[str], sources: set[str]) -> bool:
    """Whether a catalog has a row of a patient, by pseudonym or by file."""
    for name in _PARTS:
        table = pq.read_table(checked_file(made.folder, f"{name}.parquet"))
        for column, values in (("patient_id", names), ("source_id", sources)):
            if column in table.column_names and values & set(table[column].unique().to_pylist()):
                return True
    return False


def _check_s3(store: ArtefactStore) -> None:
    """Raises StoreError where a pool on S3 may hold rows: other machines may write to it while it is made anew."""
    paths = {made.manifest.run.pool.path for made in store.published("ecg", "teacher") if made.manifest.run.pool}
    for path in sorted(filter(is_s3, paths)):
        above, _, name = path.rpartition("/")
        if any(True for _ in Bucket(above).listed(name)):
            raise StoreError(
                f"pool {path} may hold rows of the patient, and is not made anew from here, since other machines may "
                f"write to it: stop them, delete everything below it, then forget; the next run makes it again"
            )


def _plan_artefacts(store: ArtefactStore, plan: _Plan, holdings: _Holdings, keep_students: bool) -> None:
    """Dooms the affected catalogs, what was made of them, and students; and the aliases of what goes."""
    doomed, known = plan.doomed, {str(made): made for made in store.published()}
    doomed |= {str(made): made for made in holdings.catalogs}
    lines: list[tuple[Artefact, str]] = []
    for name, made in known.items():
        if made.stage == "student":
            if why := _knowledge(store, made, holdings):
                if keep_students:
                    plan.add(f"keep {name}, as asked, although {why}", lambda: None)
                else:
                    doomed[name] = made
                    lines.append((made, f"delete {name}: {why}"))
        elif made.stage != "catalog" and (
            any(f"{stage}-{version}" in doomed for stage, version in made.manifest.inputs.items())
            or _mentions(made.folder, holdings.names)
        ):
            doomed[name] = made
            lines.append((made, f"delete {name}"))
    for alias, target in store.aliases().items():
        if target in doomed:
            plan.add(f"remove the alias {alias} of {target}", partial(store.remove_alias, alias))
    for made, line in reversed(lines):
        plan.add(line, partial(_erase, store, made))


def _knowledge(store: ArtefactStore, student: Artefact, holdings: _Holdings) -> str:
    """How a student knows a patient, as the end of a sentence; empty where it does not, or was imported."""
    version = student.manifest.inputs.get("pairs")
    if version is not None:
        if (paired := store.find("pairs", version)) is None:
            return _UNKNOWN if holdings.is_known else ""
        for row in pairs.PATIENTS.read(paired.folder).to_pylist():
            if row["patient_id"] in holdings.names and row["split"] in _LEARNED:
                return _LEARNED[row["split"]]
    content, start = store.warm_start_of(student)
    if not content:
        return ""
    if start is None:
        return f"it went on from a student that is gone, and {_UNKNOWN}" if holdings.is_known else ""
    why = _knowledge(store, start, holdings)
    return f"it went on from {start}: {why}" if why else ""


def _erase(store: ArtefactStore, made: Artefact) -> None:
    if store.shared is not None:
        store.shared.erase(made.stage, made.version)
    if made.folder.exists():  # out of the way first, so that a kill leaves no half of a version
        shutil.rmtree(made.folder.rename(made.folder.with_name(f"{DELETING}{made.version}-{time.time_ns()}")))


def _plan_files(workspace: Workspace, plan: _Plan, holdings: _Holdings) -> None:
    """What is not an artefact: leftovers of killed runs, caches, cohorts that were judged, decisions, drift."""
    words = set(holdings.names) | {version.partition("-")[2] for version in plan.doomed if "student" not in version}
    words |= set(holdings.rows["study_id"].drop_null().to_pylist())
    leftovers = {path for pattern in LEFTOVERS for path in workspace.root.glob(pattern)}
    judged = {path for path in workspace.root.glob("judged/*") if _mentions(path, words)}
    kept = {path for folder in (workspace.drift, workspace.decisions) for path in folder.glob("*")}
    noted = {path for path in kept if _mentions(path, holdings.names)}
    for path in sorted(leftovers | judged | noted | {*workspace.root.glob("scratch/*/*")}):
        plan.add(f"delete {path.relative_to(workspace.root)}", partial(_remove, path))


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _mentions(place: Path, words: set[str] | frozenset[str]) -> bool:
    """Whether a file, or one of a folder, holds one of the words: as bytes, or as a value of a Parquet table."""
    for path in [place] if place.is_file() else place.rglob("*"):
        if path.suffix == ".parquet":
            try:
                table = _read(path)
            except StoreError:
                return True  # nobody can tell
            texts = (table[name] for name in table.column_names if pa.types.is_string(table.schema.field(name).type))
            if any(words & set(column.unique().to_pylist()) for column in texts):
                return True
        elif path.suffix in (".json", ".html", ".md", ".csv", ".txt"):
            text = path.read_text(encoding="utf-8", errors="replace")
            if any(word in text for word in words):
                return True
    return False


def _plan_private(store: ArtefactStore, plan: _Plan, holdings: _Holdings) -> None:
    """Indexes of files and of refused rows keep what is known to be another patient's; then OWNERS is written."""
    private = store.workspace.private
    kept = holdings.others["source_id"]
    remaining = [made for made in store.here("catalog") if str(made) not in plan.doomed]
    for folder in sorted({*private.glob("hours/*")} - {private / "hours" / made.version for made in remaining}):
        plan.add(f"delete private/hours/{folder.name}", partial(_remove, folder))
    refused = [quarantine.QUARANTINE.read(made.folder)["source_id"].combine_chunks() for made in remaining]
    for path in sorted([*private.glob("sources-*.parquet"), *private.glob("rows-*.parquet")]):
        table = _read(path)
        wanted = kept if path.name.startswith("sources") else pa.chunked_array(refused, pa.string())
        pruned = table.filter(pc.is_in(table["source_id"], wanted.combine_chunks()))
        if pruned.num_rows < table.num_rows:
            plan.add(
                f"remove {table.num_rows - pruned.num_rows} of {table.num_rows} rows from private/{path.name}",
                partial(write_private, path, pruned),
            )
    place, others = _owners_file(store.workspace), holdings.others
    if holdings.catalogs or holdings.rows.num_rows:
        plan.add("note in private/owners.parquet whose the other files are", lambda: write_private(place, others))


def _read(path: Path) -> pa.Table:
    if (table := read_private(path)) is None:
        raise StoreError(f"{path}: damaged: delete it, or bring it back from a backup")
    return table


def _owners_file(workspace: Workspace) -> Path:
    return workspace.private / "owners.parquet"


def _plan_pool(store: ArtefactStore, plan: _Plan, holdings: _Holdings, folder: Path) -> None:
    """Rewrites a pool that holds anything but other patients' rows, or deletes it where it cannot be read."""
    place = str(folder.relative_to(store.workspace.root))
    users = [made for made in store.here() if made.manifest.run.pool and made.manifest.run.pool.path == place]
    users = [made for made in users if str(made) not in plan.doomed]
    targets = sorted(folder.parent.glob(f"{folder.name}{_TARGETS}*/"))
    try:
        if fault := seals.fault_of(folder):
            raise StoreError(fault)
        keys = pools.keys_of(store.workspace, place)
    except (StoreError, ValueError, KeyError):
        plan.add(f"delete {place}, which cannot be read", lambda: _delete_pools([folder, *targets]))
        return
    wanted = _keys_of_others(holdings, keys)
    if surplus := len(keys - wanted):
        plan.add(
            f"make {place} anew without {surplus} of {len(keys)} files"
            + (f", and delete {', '.join(target.name for target in targets)}" if targets else ""),
            lambda: _rewrite(store.workspace, folder, targets, wanted),
        )
    if surplus or any(not pools.holds_snapshot(store.workspace, made.manifest.run.pool) for made in users):  # type: ignore[arg-type]
        for made in users:
            plan.add(f"point {made} to the new {place}", partial(_point, store.workspace, made, place))


def _keys_of_others(holdings: _Holdings, keys: set[str]) -> set[str]:
    """Keys of a pool that belong to another patient: content of files and their windows, and studies of a table."""
    from tasks.ingest.embedding_table import study_key  # pandas

    owned = set(holdings.others["content_hash"].to_pylist()) & keys
    studies = {study_key(study) for study in holdings.others["study_id"].drop_null().unique().to_pylist()} & keys
    windows = (
        key
        for content in owned
        for key in takewhile(keys.__contains__, (ecg.window_key(content, window) for window in count(1)))
    )
    return owned | studies | set(windows)


def _rewrite(workspace: Workspace, folder: Path, targets: list[Path], wanted: set[str]) -> None:
    _delete_pools(targets)
    with seals.lock_of(folder).acquire():
        pools.rewrite(workspace, str(folder.relative_to(workspace.root)), wanted)


def _delete_pools(folders: list[Path]) -> None:
    for folder in folders:
        with seals.lock_of(folder).acquire():
            seals.unseal(folder)
            shutil.rmtree(folder)


def _point(workspace: Workspace, made: Artefact, place: str) -> None:
    """Names the new snapshot in a manifest. Which snapshot holds an artefact's rows is no part of its content."""
    run = made.manifest.run.model_copy(update={"pool": pools.newest_snapshot(workspace, place)})
    manifest = made.manifest.model_copy(update={"run": run}).sealed()
    write_atomically(made.folder / FILENAME, manifest.model_dump_json(indent=2) + "\n")
