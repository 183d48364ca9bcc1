"""A withdrawn patient: every file is searched, every decoded row compared; what was interrupted is ended."""

import dataclasses
import hashlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import icechunk
import numpy as np
import pytest
import zarr

from data_contracts import catalog, ecg, pairs, quarantine, teacher
from data_contracts.conventions import Stage
from echoingecg.catalog.exports import SitedExport
from echoingecg.catalog.layouts.base import patient_of_site
from echoingecg.catalog.pseudonyms import Pseudonyms
from echoingecg.common import StoreError, hexadecimal
from flows.request import find_recipe
from helpers.cases.hospital import generic_export, read_csv, write_csv
from helpers.cases.public_jobs import make_job
from helpers.cases.stage_runs import Run, run_stages
from helpers.paths import ROOT
from helpers.privacy.searching import Words, contents
from tasks.operations.forget import forget
from tasks.operations.verify_and_collect import faults
from tasks.pools import Pool, read_rows, rows_in_pool
from tasks.pools.transaction import named_array
from tasks.store import ArtefactStore, Built, Job, Plan, leases
from tasks.store.job import secret_key, withdrawn_patients

PUBLIC = b"simulated"


def patients_of(run: Run) -> dict[str, str]:
    """Number of each patient with ECGs and echoes -> side of the split."""
    lists = (run.job.export / name for name in ("mimic-iv-ecg/record_list.csv", "mimic-iv-echo/echo-record-list.csv"))
    both = set.intersection(*({row["subject_id"] for row in read_csv(path)} for path in lists))
    side = {row["patient_id"]: row["split"] for row in rows(run, "pairs", pairs.PATIENTS)}
    learned = {row["patient_id"] for row in rows(run, "pairs", pairs.ECG_ECHO)}
    names = {number: Pseudonyms(PUBLIC).patient(number) for number in sorted(both)}
    return {number: side[name] for number, name in names.items() if name in learned}


def one_of(run: Run, side: str) -> str:
    return next(number for number, split in patients_of(run).items() if split == side)


def rows(run: Run, stage: str, table: object) -> list[dict]:
    return table.read(run.artefacts[stage].folder).to_pylist()  # type: ignore[attr-defined, index, no-any-return]


def arrays(workspace: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Every array of every snapshot of every pool, however old, read by Icechunk itself."""
    for pool in (path for path in (workspace / "pools").glob("*/*/")):
        repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(pool)))
        for snapshot in repository.ancestry(branch="main"):
            try:
                group = zarr.open_group(repository.readonly_session(snapshot_id=snapshot.id).store, mode="r")
            except zarr.errors.GroupNotFoundError:  # the first snapshot of a repository is empty
                continue
            for name, array in group.arrays():
                yield f"{pool.name} {snapshot.id} {name}", np.asarray(array[:])


def digests_in_pool(run: Run, stage: Stage, keys: list[str]) -> list[str]:
    """SHA-256 of the content under each key."""
    pool = run.artefacts[stage].manifest.run.pool
    assert pool is not None
    group = Pool.read(run.job.workspace, pool)
    return hexadecimal(read_rows(named_array(group, "sha256"))[rows_in_pool(group, keys)])


class Traces:
    """What there is to know of a patient, taken from a finished run: words for the search, and numbers."""

    def __init__(self, run: Run, number: str) -> None:
        name = Pseudonyms(PUBLIC).patient(number)
        mine = {
            kind: [row for row in rows(run, "catalog", table) if row["patient_id"] == name]
            for kind, table in (("ecgs", catalog.ECGS), ("echoes", catalog.ECHOES), ("reports", catalog.REPORTS))
        }
        everyone = rows(run, "catalog", catalog.REPORTS)
        shared = {row["text"] for row in everyone if row["patient_id"] != name}
        ids = {row[key] for part in mine.values() for row in part for key in row if key.endswith("_id")}
        hashes = {row["content_hash"] for kind in ("ecgs", "echoes") for row in mine[kind]}
        texts = {row["text"] for row in mine["reports"]} - shared
        files = {path for path in run.job.export.rglob("*.hea") if f"p{number}" in str(path)}
        plain = {
            hashlib.sha256(path.read_bytes() + path.with_suffix(".dat").read_bytes()).hexdigest() for path in files
        }
        assert ids
        assert len(hashes) >= 2
        assert texts
        assert plain
        self.words = Words({number, *ids, *hashes, *texts, *plain})
        self.binary = [bytes.fromhex(value) for value in hashes | plain]
        records = rows(run, "ecg", ecg.RECORDS)
        digests = digests_in_pool(run, "ecg", [row["content_hash"] for row in records if row["patient_id"] == name])
        self.digests = set(digests)
        assert self.digests

    def found(self, workspace: Path) -> list[str]:
        """Where anything of the patient is, every file unpacked, every row of signals compared by its digest."""
        places = [f"{place}: {word}" for place, data in contents(workspace) if (word := self.words.found(data))]
        places += [place for place, data in contents(workspace) if any(key in data for key in self.binary)]
        signals = [(name, part) for name, part in arrays(workspace) if name.endswith(" signal")]
        for path in workspace.rglob("signals.f32"):
            signals.append((str(path), np.fromfile(path, "<f4").reshape(-1, 12, 1000)))
        for name, part in signals:
            places += [name for row in part if hashlib.sha256(row.tobytes()).hexdigest() in self.digests]
        keys = [(name, part) for name, part in arrays(workspace) if name.endswith(" key")]
        places += [name for name, part in keys for row in part if row.tobytes() in self.binary]
        return places


def everything(root: Path) -> dict[str, str]:
    """Digest of every file of a workspace but for locks."""
    files = (path for path in root.rglob("*") if path.is_file() and path.suffix != ".lock" and path.name != ".lock")
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def used(copied: Run) -> Run:
    """A workspace in which more than a run has happened: aliases, a decision, caches, a cohort that was judged."""
    root, store = copied.job.workspace.root, copied.job.store
    store.set_alias("production", copied.artefacts["evaluation"])
    (root / "decisions").mkdir()
    (root / "decisions" / "1.json").write_text('{"says": "nothing about anybody"}')
    shutil.copytree(copied.artefacts["evaluation"].folder, root / "judged" / "student-evaluation")
    for stage, name in (("student", "left"), ("pairs", "quarantine")):
        (root / "scratch" / stage / name).mkdir(parents=True)
        shutil.copy(copied.artefacts["catalog"].folder / "reports.parquet", root / "scratch" / stage / name)
    shutil.copytree(copied.artefacts["catalog"].folder, root / "artefacts" / "catalog" / ".replaced" / "old-1")
    return copied


def test_nothing_is_left_in_any_file_and_a_run_on_the_same_export_leads_to_all_of_it_without_the_patient(
    used: Run,
) -> None:
    number, root = one_of(used, "train"), used.job.workspace.root
    traces = Traces(used, number)
    assert len(traces.found(root)) > 50, "the search finds the patient before"
    before = everything(root)
    lines = list(forget(used.job.store, number))
    assert lines
    assert all(line.startswith("would ") for line in lines)
    assert everything(root) == before, "a list changes nothing"
    assert any(f"delete {used.artefacts['student']}: it has learned from the patient" in line for line in lines)

    done = list(forget(used.job.store, number, delete=True))
    assert [line.removeprefix("done: ") for line in done] == [line.removeprefix("would ") for line in lines]
    assert traces.found(root) == []
    name = Pseudonyms(secret_key(used.job.workspace)).patient(number)
    holding = [place for place, data in contents(root) if name.encode() in data]
    assert {place.removesuffix(" (UTF-16)") for place in holding} == {"private/withdrawn"}
    assert used.job.store.aliases() == {}
    assert (root / "decisions" / "1.json").exists()

    job = make_job(find_recipe("smoke", []), str(used.job.export), str(root))
    again = run_stages(job)
    assert traces.found(root) == []
    assert all(list(faults(job.store, made)) == [] for made in again.artefacts.values())
    assert not any(again.cached.values())
    assert [again.artefacts[stage].manifest.run.new_keys for stage in ("ecg", "teacher")] == [0, 0], "others are kept"
    refused = [row for row in rows(again, "catalog", quarantine.QUARANTINE) if row["reason"] == "withdrawn"]
    assert len(refused) == 1
    assert refused[0]["detail"].endswith("patients: 1")
    assert again.versions["catalog"] != used.versions["catalog"]


@pytest.mark.parametrize("moment", ["before the new pool stands", pytest.param("each", marks=pytest.mark.slow)])
def test_a_second_call_ends_what_a_kill_has_interrupted(copied: Run, tmp_path: Path, moment: str) -> None:
    number = one_of(copied, "train")
    traces = Traces(copied, number)
    steps = len(list(forget(copied.job.store, number)))
    for step in [*range(1, steps + 1), -2] if moment == "each" else [-1]:
        root = tmp_path / f"killed-{step}"
        shutil.copytree(copied.job.workspace.root, root)
        store = ArtefactStore(dataclasses.replace(copied.job.workspace, root=root))
        assert kill_at(root, number, step) == -9
        list(forget(store, number, delete=True))
        assert traces.found(root) == [], step
        for made in store.here():
            assert list(faults(store, made)) == []
        shutil.rmtree(root)


def kill_at(root: Path, number: str, step: int) -> int:
    """Forgets in another process that kills itself at a step; -1 and -2: while a rewritten pool takes its place."""
    code = f"""
import os, signal, sys
from pathlib import Path
from tasks.base.workspace import Workspace
from tasks.operations import forget
from tasks.pools import pool
from tasks.store import ArtefactStore, seals
die = lambda *given: os.kill(os.getpid(), signal.SIGKILL)
if {step} == -1:
    set_aside = seals.set_aside
    seals.set_aside = lambda folder: (set_aside(folder), die())
if {step} == -2:
    Path.replace = die
for line, _ in zip(forget.forget(ArtefactStore(Workspace(Path({str(root)!r}))), {number!r}, delete=True), range({step})
                   if {step} > 0 else iter(int, 1)):
    pass
die()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert "Error" not in done.stderr, done.stderr
    return done.returncode


def test_a_live_run_is_not_disturbed(copied: Run) -> None:
    number, before = one_of(copied, "test"), everything(copied.job.workspace.root)
    with leases.held(copied.job.workspace), pytest.raises(StoreError, match="a run is going on"):
        list(forget(copied.job.store, number, delete=True))
    assert everything(copied.job.workspace.root) == before


def test_students_that_know_the_patient_are_named_with_those_that_went_on_from_them(copied: Run) -> None:
    store, student = copied.job.store, copied.artefacts["student"]
    child = _went_on_from(copied, student.manifest.content, "child")
    orphan = _went_on_from(copied, "0" * 64, "orphan")
    assert f"{child} went on from:" in list(store.lineage_lines(child))
    assert str(student) in list(store.lineage_lines(child))
    known, validating, unknown = (one_of(copied, side) for side in ("train", "validation", "test"))
    lines = list(forget(store, known))
    assert f"would delete {student}: it has learned from the patient" in lines
    assert f"would delete {child}: it has learned from the patient" in lines
    kept = list(forget(store, known, keep_students=True))
    assert f"would keep {child}, as asked, although it has learned from the patient" in kept
    assert f"would delete {student}: the patient helped to choose it" in list(forget(store, validating))
    lines = list(forget(store, unknown))
    assert [line for line in lines if "student-" in line] == [
        f"would delete {orphan}: it went on from a student that is gone, and what it has learned from is gone, so "
        "it may know the patient"
    ]
    list(forget(store, unknown, delete=True))
    assert {str(made) for made in store.here()} == {str(student), str(child)}
    list(forget(store, known, delete=True, keep_students=True))
    assert {str(made) for made in store.here()} == {str(student), str(child)}
    list(forget(store, known, delete=True))
    assert store.here() == [], "what they have learned from is gone"


def _went_on_from(run: Run, content: str, what: str) -> object:
    manifest = run.artefacts["student"].manifest
    plan = Plan("student", 1, 1, {"called": what}, {"warm_start": content}, dict(manifest.inputs))
    if what == "orphan":
        plan = dataclasses.replace(plan, inputs={})
    with run.job.store.locked(plan), run.job.store.building(plan) as folder:
        (folder / "file.txt").write_text(what)
        return run.job.store.publish(plan, folder, Built({}), time.monotonic())


def two_exports(export: Path, tmp_path: Path) -> tuple[Job, Job, list[str]]:
    """Jobs of two hospitals in one workspace with a secret key, whose ECGs share a pool; numbers of the first's."""
    recipe = find_recipe("smoke", ["catalog.public_key=''", "catalog.max_refused_share=1.0"])
    numbers = sorted({row["subject_id"] for row in read_csv(export / "mimic-iv-ecg" / "record_list.csv")})[:5]
    for name, is_north in (("north", True), ("south", False)):
        shutil.copytree(export, tmp_path / name)
        for table in (tmp_path / name).rglob("*.csv"):
            listed = read_csv(table)
            write_csv(table, [row for row in listed if (row["subject_id"] in numbers) is is_north], list(listed[0]))
    north, south = (make_job(recipe, str(tmp_path / name), str(tmp_path / "workspace")) for name in ("north", "south"))
    return north, south, numbers


def test_other_patients_keep_their_rows_and_can_withdraw_too(export: Path, tmp_path: Path) -> None:
    north, south, numbers = two_exports(export, tmp_path)
    first, second = (run_stages(job, "catalog", "ecg") for job in (north, south))
    store = north.store
    ecgs = {row["patient_id"]: row for row in rows(first, "catalog", catalog.ECGS)}
    list(forget(store, numbers[0], delete=True))
    assert {str(made) for made in store.here()} == {str(made) for made in second.artefacts.values()}
    kept = [store.get(str(made)) for made in second.artefacts.values()]
    assert [fault for made in kept for fault in faults(store, made)] == []
    # No catalog lists the first hospital's patients now: whose their rows are is known all the same.
    lines = list(forget(store, numbers[1]))
    assert "echo clips in 0 catalogs" in lines[0]
    assert any(line.startswith("would make pools/ecg/") for line in lines), lines
    list(forget(store, numbers[1], delete=True))
    again = run_stages(make_job(north.recipe, str(north.export), str(north.workspace.root)), "catalog", "ecg")
    assert again.artefacts["ecg"].manifest.run.new_keys == 0
    left = {Pseudonyms(north.key).patient(number) for number in numbers[2:]}
    assert {row["patient_id"] for row in rows(again, "catalog", catalog.ECGS)} == left & set(ecgs)
    assert len(withdrawn_patients(north.workspace).names) == 2
    fresh = run_stages(make_job(south.recipe, str(south.export), str(south.workspace.root)), "catalog", "ecg")
    assert fresh.versions == second.versions, "an export that never listed them keeps its versions"
    assert first.versions["catalog"] != again.versions["catalog"]


def test_a_patient_is_named_with_the_site_and_only_there(tmp_path: Path) -> None:
    recipe = find_recipe("smoke", ["catalog.public_key=''", "ecg.max_refused_share=1.0"])
    north, south = generic_export(tmp_path / "north", 3), generic_export(tmp_path / "south", 8)
    for table in ("ecgs", "echoes", "reports", "measurements"):
        path = south / f"{table}.csv"
        moved = [row for row in read_csv(path) if row["patient_id"] > "PAT0003"]
        write_csv(path, [row | {"patient_id": f"PAT000{int(row['patient_id'][-1]) - 4}"} for row in moved])
    exports = (f"North={north}", f"South={south}")
    job = make_job(recipe, exports[0], str(tmp_path / "workspace"), more_exports=exports[1:])
    run_stages(job, "catalog")
    assert "no table here lists" in next(iter(forget(job.store, "PAT0001")))
    list(forget(job.store, "PAT0001", "South", delete=True))
    job = make_job(recipe, exports[0], str(tmp_path / "workspace"), more_exports=exports[1:])
    left = {row["patient_id"] for row in rows(run_stages(job, "catalog"), "catalog", catalog.ECGS)}
    name = Pseudonyms(job.key).patient
    assert name(patient_of_site("North", "PAT0001")) in left
    assert name(patient_of_site("South", "PAT0001")) not in left
    assert len(left) == 6
    assert isinstance(job.exports[0], SitedExport)


def test_a_damaged_list_stops_every_run(export: Path, tmp_path: Path) -> None:
    north, _, numbers = two_exports(export, tmp_path)
    run_stages(north, "catalog")
    list(forget(north.store, numbers[0], delete=True))
    (north.workspace.private / "withdrawn").write_text("half a li")
    with pytest.raises(StoreError, match="list of withdrawn patients is damaged"):
        run_stages(make_job(north.recipe, str(north.export), str(north.workspace.root)), "catalog")


def test_vectors_of_clips_keep_their_places(copied: Run) -> None:
    """The other studies have their vectors as they were, and their targets are made of them again."""
    number = one_of(copied, "train")
    before = _digests(copied)
    list(forget(copied.job.store, number, delete=True))
    job = make_job(copied.job.recipe, str(copied.job.export), str(copied.job.workspace.root))
    again = run_stages(job, "catalog", "teacher")
    after = _digests(again)
    assert set(after) < set(before)
    assert all(before[clip] == digest for clip, digest in after.items())
    assert list(faults(job.store, again.artefacts["teacher"])) == []


def _digests(run: Run) -> dict[str, str]:
    """SHA-256 of each clip's vectors in the pool."""
    clips = rows(run, "teacher", teacher.CLIPS)
    digests = digests_in_pool(run, "teacher", [row["content_hash"] for row in clips])
    return dict(zip([row["clip_id"] for row in clips], digests, strict=True))
