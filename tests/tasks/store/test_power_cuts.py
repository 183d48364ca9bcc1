"""A power cut at every write: what was published stays, and the next run ends as if nothing had happened."""

import dataclasses
import random
import time
from pathlib import Path

import numpy as np
import pytest

from data_contracts.conventions import STAGES
from helpers.cases.power_cuts import Disk
from helpers.cases.public_jobs import make_job
from helpers.cases.stage_runs import Run, run_stages
from helpers.pools.signal_rows import LAYOUT, key, rows
from tasks.base.workspace import Workspace
from tasks.operations.verify_and_collect import verify_artefacts
from tasks.pools import Pool, rows_by_key
from tasks.store import Artefact, ArtefactStore, Built, Plan

COMMITS = ((1, 2), (3, 4, 5), (6,))
PLAN = Plan("pairs", 1, 1, {}, {}, {"catalog": "c", "ecg": "e", "teacher": "t"})


def work(workspace: Workspace) -> list[Artefact]:
    """Three commits to a pool, with an artefact after each; a name for the last."""
    store, made = ArtefactStore(workspace), []
    for number, wanted in enumerate(COMMITS):
        plan = dataclasses.replace(PLAN, source={"export": str(number)})
        if (there := store.find(plan.stage, plan.version)) is not None:
            made.append(there)
            continue
        pool = Pool(workspace, "ecg/test", LAYOUT)
        with pool.writing():
            known = rows_by_key(Pool.read(workspace, pool.snapshot()))
            if new := [row for batch in COMMITS[: number + 1] for row in batch if key(row) not in known]:
                pool.append(rows(*new), {})
            snapshot = pool.snapshot()
        with store.locked(plan), store.building(plan) as folder:
            (folder / "deep").mkdir()
            (folder / "deep" / "table").write_bytes(bytes(wanted) * 50)
            made.append(store.publish(plan, folder, Built({"rows": 1}, snapshot), time.monotonic(), Pool.read))
    store.set_alias("best", made[-1])
    return made


def values(workspace: Workspace, artefact: Artefact) -> list[float]:
    assert artefact.manifest.run.pool is not None
    group = Pool.read(workspace, artefact.manifest.run.pool)
    signal = np.asarray(group["signal"][:, 0, 0])
    return sorted(signal.tolist())


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 9])
def test_after_a_cut_the_published_is_whole_and_the_rest_is_done_again(tmp_path: Path, every: int) -> None:
    cuts: list[tuple[Path, int]] = []

    def at(disk: Disk, call: int) -> None:
        if call % every == 0:
            place = tmp_path / f"cut-{call}"
            disk.cut(place, random.Random(call))
            cuts.append((place, len(published)))

    published: list[Artefact] = []
    real = ArtefactStore.publish
    root = tmp_path / "workspace"
    root.mkdir()
    with pytest.MonkeyPatch.context() as patch, Disk(tmp_path / "workspace", at).watched():
        patch.setattr(ArtefactStore, "publish", lambda *args: published.append(real(*args)) or published[-1])
        sound = work(Workspace(root))
    assert len(cuts) > 60 // every
    for place, done in cuts:
        workspace = Workspace(place)
        store = ArtefactStore(workspace)
        for one in published[:done]:
            kept = store.find(one.stage, one.version)
            assert kept is not None, "what was published is gone"
            assert kept.faults() == []
            assert values(workspace, kept) == values(Workspace(root), one)
        verify_artefacts(store, [], False, lambda *_: None)
        again = work(workspace)
        assert [one.manifest.content for one in again] == [one.manifest.content for one in sound]
        assert [values(workspace, one) for one in again] == [values(Workspace(root), one) for one in sound]
        assert store.get("best") == again[-1]


@pytest.mark.parametrize("damage", ["emptied", "cut short", "dropped"])
def test_a_pool_that_lost_a_file_is_not_cached_but_made_anew(copied: Run, damage: str) -> None:
    sound = Run(copied.job, {one.stage: one for one in copied.job.store.here()}, {})
    pool = sound.artefacts["ecg"].manifest.run.pool
    assert pool is not None
    chunk = max((copied.job.workspace.root / pool.path / "chunks").iterdir(), key=lambda path: path.stat().st_size)
    if damage == "dropped":
        chunk.unlink()
    else:
        chunk.write_bytes(chunk.read_bytes()[: 0 if damage == "emptied" else -1])
    lines = verify_artefacts(copied.job.store, [], False, lambda *_: None)
    assert [name.partition("-")[0] for name, faults in lines.items() if faults] == ["ecg"]
    again = run_stages(copied.job)
    assert [stage for stage in STAGES if not again.cached[stage]] == ["ecg"]
    assert again.content == sound.content
    assert not any(verify_artefacts(copied.job.store, [], False, lambda *_: None).values())


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_hundred_cuts_over_the_whole_run(finished: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Copies are taken from one run; every one is run again to its end."""
    wanted, cuts = 100, []
    recipe, export = finished.job.recipe, str(finished.job.export)

    def watch(name: str, chosen: set[int]) -> int:
        root = tmp_path / name
        root.mkdir()

        def at(disk: Disk, call: int) -> None:
            if call in chosen:
                disk.cut(tmp_path / f"cut-{call}", random.Random(call))
                cuts.append(call)

        with Disk(root, at).watched() as disk:
            run_stages(make_job(recipe, export, str(root)))
        return disk.calls

    calls = watch("counted", set())
    watch("watched", {number * calls // wanted for number in range(wanted)})
    for call in cuts:
        store = ArtefactStore(Workspace(tmp_path / f"cut-{call}"))
        kept = [name.partition("-")[0] for name in verify_artefacts(store, [], False, lambda *_: None)]
        again = run_stages(make_job(recipe, export, str(tmp_path / f"cut-{call}")))
        with capsys.disabled():
            print(f"cut at call {call} of {calls}: kept {kept}")  # noqa: T201 - a run of many minutes
        assert again.content == finished.content
        assert not any(verify_artefacts(store, [], False, lambda *_: None).values())
