"""Backups: whole while a pool is written to, a mirror of the workspace, and compared byte by byte when restored."""

import csv
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from data_contracts.conventions import STAGES
from echoingecg.common import StoreError, UserError
from flows.request import find_recipe
from helpers.cases.command_line import call
from helpers.cases.public_jobs import make_job
from helpers.cases.stage_runs import Run, run_stages
from helpers.paths import DATA, TESTS
from helpers.pools.signal_rows import LAYOUT, key, rows
from tasks.base.workspace import Workspace
from tasks.operations.backup import LIST, back_up, restore
from tasks.operations.forget import forget
from tasks.operations.verify_and_collect import faults
from tasks.pools import Pool, rows_by_key
from tasks.pools.pool import newest_snapshot
from tasks.store import ArtefactStore, leases, seals

WRITER = """
import sys
from pathlib import Path
from helpers.pools.signal_rows import LAYOUT, rows
from tasks.base.workspace import Workspace
from tasks.pools import Pool

with Pool(Workspace(Path(sys.argv[1])), "ecg/test", LAYOUT).writing() as pool:
    for number in range(1000):
        pool.append(rows(number), {})
        print(number, flush=True)
"""


def test_a_pool_that_is_written_to_is_whole_in_every_backup(workspace: Workspace, tmp_path: Path) -> None:
    """Another process commits row after row; each backup holds all rows of its seal, none later than it, and opens."""
    (workspace.artefacts / "aliases").mkdir(parents=True)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(TESTS.parent), str(TESTS)))}
    command = (sys.executable, "-c", WRITER, str(workspace.root))
    seen: list[int] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as writer:
        assert writer.stdout
        for turn in range(5):
            committed = int(writer.stdout.readline())
            back_up(ArtefactStore(workspace), tmp_path / "backup")
            copy = Workspace(tmp_path / f"restored-{turn}")
            restore(tmp_path / "backup", copy)
            assert list(seals.faults_of(copy.pools / "ecg" / "test", thorough=True)) == []
            group = Pool.read(copy, newest_snapshot(copy, "pools/ecg/test"))
            held = np.asarray(group["signal"][:, 0, 0]).tolist()
            assert held == list(range(len(held)))
            assert list(rows_by_key(group)) == [key(number) for number in range(len(held))]
            assert len(held) >= committed
            seen.append(len(held))
        assert writer.poll() is None, "the writer had ended: nothing was in use"
        writer.kill()
    assert seen == sorted(set(seen)), "the pool did not grow between the backups"
    with Pool(copy, "ecg/test", LAYOUT).writing() as pool:
        pool.append(rows(2000), {})
    assert key(2000) in rows_by_key(Pool.read(copy, newest_snapshot(copy, "pools/ecg/test")))


def test_a_restored_workspace_goes_on_where_the_other_was(copied: Run, tmp_path: Path) -> None:
    store, folder = copied.job.store, tmp_path / "backup"
    store.set_alias("production", copied.artefacts["evaluation"])
    first = back_up(store, folder)
    assert first[0] == first[1]
    assert back_up(store, folder) == (first[0], 0), "nothing is copied twice"
    place = Workspace(tmp_path / "restored")
    restore(folder, place)
    assert (place.private.stat().st_mode & 0o777) == 0o700
    again = ArtefactStore(place)
    assert list(map(str, again.here())) == list(map(str, store.here()))
    assert [line for artefact in again.here() for line in faults(again, artefact)] == []
    assert again.aliases() == store.aliases()
    run = run_stages(make_job(copied.job.recipe, str(copied.job.export), str(place.root)))
    assert run.versions == copied.versions
    assert all(run.cached.values())


def test_who_is_forgotten_leaves_the_backup_with_the_next_one(copied: Run, tmp_path: Path) -> None:
    store, folder = copied.job.store, tmp_path / "backup"
    with (copied.job.export / "mimic-iv-ecg" / "record_list.csv").open(newline="") as file:
        patient = next(csv.DictReader(file))["subject_id"]
    back_up(store, folder)
    with leases.held(store.workspace, leases.EVERYTHING), pytest.raises(StoreError, match="a run is going on"):
        list(forget(store, patient, delete=True))  # as while a backup runs
    before = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    list(forget(store, patient, delete=True))
    back_up(store, folder)
    after = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    gone = before - after
    assert {path.parts[1] for path in gone if path.parts[0] == "artefacts"} >= {"catalog", "ecg"}
    assert any(path.parts[:2] == ("pools", "ecg") for path in gone), "the patient's signals"
    restore(folder, place := Workspace(tmp_path / "restored"))
    assert (place.private / "withdrawn").read_bytes() == (store.workspace.private / "withdrawn").read_bytes()


def test_a_damaged_interrupted_or_foreign_folder_is_refused(copied: Run, tmp_path: Path) -> None:
    store, folder, new = copied.job.store, tmp_path / "backup", Workspace(tmp_path / "new")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    for place, says in ((tmp_path / "other", "is not empty, and no backup"), (store.workspace.root / "b", "outside")):
        with pytest.raises(UserError, match=says):
            back_up(store, place)
    with pytest.raises(UserError, match="no backup"):
        restore(folder, new)
    back_up(store, folder)
    with pytest.raises(UserError, match="is not empty"):
        restore(folder, store.workspace)
    table = next(folder.glob("artefacts/catalog/*/ecgs.parquet"))
    content = table.read_bytes()
    table.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(StoreError, match=r"ecgs\.parquet is damaged: use another backup"):
        restore(folder, new)
    table.unlink()
    with pytest.raises(StoreError, match=r"ecgs\.parquet is gone"):
        restore(folder, new)
    assert not new.root.exists()
    back_up(store, folder)  # mends it
    restore(folder, new)
    (folder / LIST).rename(folder / "backup.interrupted.json")
    with pytest.raises(UserError, match="was interrupted there, back up again"):
        restore(folder, Workspace(tmp_path / "newer"))


@pytest.fixture
def of_an_earlier_release(tmp_path: Path) -> Path:
    """The workspace that an earlier release has left: see tests/contracts/test_pinned.py."""
    with tarfile.open(DATA / "pinned_workspace.tar.xz") as archive:
        archive.extractall(tmp_path / "old", filter="data")
    return tmp_path / "old"


def test_a_workspace_of_an_earlier_release_opens(of_an_earlier_release: Path, tmp_path: Path) -> None:
    """What docs/workspace.md says of an upgrade: everything is listed, shown and backed up; its student is refused."""
    root = of_an_earlier_release
    store = ArtefactStore(Workspace(root))
    student, evaluation = (next(one for one in store.here() if one.stage == name) for name in ("student", "evaluation"))
    for command in (
        ["artefacts", "list"],
        ["artefacts", "show", str(student)],
        ["artefacts", "lineage", str(evaluation)],
        ["artefacts", "gc", "--keep-last", "3"],
        ["artefacts", "alias", "production", str(evaluation)],
        ["status", "smoke"],
        ["backup", str(tmp_path / "backup")],
    ):
        done = call(*command, "-w", str(root))
        assert done.returncode == 0, (command, done.stderr)
    restored = call("restore", str(tmp_path / "backup"), "-w", str(tmp_path / "restored"))
    assert restored.returncode == 0, restored.stderr
    old = {str(one): one.manifest.content for one in store.here()}
    assert {str(one): one.manifest.content for one in ArtefactStore(Workspace(tmp_path / "restored")).here()} == old
    ecg = next((DATA / "recordings").rglob("*.hea"))
    refused = call("predict", str(ecg), "-w", str(root))
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].startswith("error: ")
    assert refused.stderr.endswith("of another release: run stage evaluation again\n")


@pytest.mark.slow
def test_a_run_upgrades_a_workspace_beside_what_it_held(of_an_earlier_release: Path, export: Path) -> None:
    """Every stage whose code or contract is newer is made anew; the old artefacts stay as they were."""
    store = ArtefactStore(Workspace(of_an_earlier_release))
    before = {str(one): one.manifest.content for one in store.here()}
    run = run_stages(make_job(find_recipe("smoke", []), str(export), str(of_an_earlier_release)))
    after = {str(one): one.manifest.content for one in store.here()}
    assert before.items() <= after.items()
    assert set(run.cached.values()) == {False}
    assert {name.partition("-")[0] for name in after.keys() - before.keys()} == set(STAGES)
    assert all(not list(faults(store, artefact)) for artefact in run.artefacts.values())
