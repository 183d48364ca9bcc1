"""Five growing exports and a broken one, on a real server, by schedule and by event: one retrain each."""

from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from data_contracts.conventions import Stage
from data_contracts.pairs import PATIENTS
from echoingecg.recipe import Recipe, write_recipe
from echoingecg.simulator.export import simulate
from flows.request import find_recipe
from helpers.servers.prefect_server import Server, served, wait_for
from tasks.base.workspace import Workspace
from tasks.store import ArtefactStore

SIZES = (16, 18, 20, 22, 24)  # patients
TINY = [
    "student.epochs=1",
    "evaluation.bootstrap_draws=10",
    "simulator.real_recordings=false",
    "teacher.frame_stride=6",
]


def deliver(recipe: Recipe, inbox: Path, patients: int) -> None:
    assert recipe.simulator is not None
    folder = inbox / f"with-{patients}"
    simulate(recipe.simulator.model_copy(update={"patients": patients}), folder)
    (folder / "_COMPLETE").touch()


def announce(server: Server) -> None:
    server.prefect("event", "emit", "echoingecg.export.landed", "--resource-id", "echoingecg.export.hospital")


def runs(server: Server, *states: str) -> list[dict[str, Any]]:
    """Retrains that ended in these states, in the order of their start."""
    asked = {"flows": {"name": {"any_": ["retrain"]}}, "flow_runs": {"state": {"name": {"any_": list(states)}}}}
    return server.post("flow_runs/filter", asked | {"sort": "START_TIME_ASC"})


def says(run: dict[str, Any]) -> str:
    return run["state"]["message"]


def sides(store: ArtefactStore) -> list[dict[str, str]]:
    tables = [PATIENTS.read(one.folder) for one in store.published("pairs")]
    return [dict(zip(one["patient_id"].to_pylist(), one["split"].to_pylist(), strict=True)) for one in tables]


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_one_retrain_for_each_export(tmp_path: Path) -> None:
    recipe = find_recipe("smoke", [*TINY, "catalog.public_key=''"])
    (file := tmp_path / "tiny.yaml").write_text(write_recipe(recipe))
    (inbox := tmp_path / "inbox").mkdir()
    store = ArtefactStore(Workspace(tmp_path / "workspace"))
    places = (str(file), "--workspace", str(store.workspace.root), "--inbox", str(inbox))
    with served(tmp_path, *places, "--cron", "* * * * *") as server:
        for count, patients in enumerate(SIZES, start=1):
            deliver(recipe, inbox, patients)
            if count % 2 == 0:  # the others are left to the schedule
                announce(server)
            wait_for(lambda done=count: len(runs(server, "Completed")) >= done, f"retrain {count}")
        (inbox / "broken").mkdir()
        (inbox / "broken" / "_COMPLETE").touch()
        announce(server)
        wait_for(lambda: runs(server, "SetAside"), "the refusal")
        wait_for(lambda: any("1 refused" in says(one) for one in runs(server, "NothingNew")), "a look after it")

        idle = [one for one in runs(server, "NothingNew") if says(one).startswith("no finished export waits")]
        assert len(idle) <= 2, "looks that found nothing pile up"  # one may have ended just now

        trained, refused = runs(server, "Completed"), runs(server, "SetAside")
        print(*(says(one) for one in [*trained, *refused]), sep="\n")  # noqa: T201 - seen with pytest -s
        assert len(trained) == len(SIZES)
        assert len(refused) == 1, "a refused export is not tried again"
        assert "broken refused: " in says(refused[0])
        ends = [datetime.fromisoformat(one["end_time"]) for one in trained]
        starts = [datetime.fromisoformat(one["start_time"]) for one in trained]
        assert all(end <= start for end, start in zip(ends, starts[1:], strict=False)), "two retrains overlapped"

    students, catalogs, signals = (store.published(stage) for stage in ("student", "catalog", "ecg"))
    assert [len(store.published(stage)) for stage in _COUNTED] == [len(SIZES)] * len(_COUNTED)
    champion = students[0]
    for student, told in zip(students[1:], map(says, trained[1:]), strict=True):
        assert student.manifest.source["warm_start"] == champion.manifest.content
        assert ("takes the place of" in told) != ("stays: " in told), told
        if "takes the place of" in told:
            champion = student
    totals = [one.manifest.counts["ecgs"] for one in catalogs]
    new = [one.manifest.run.new_keys for one in signals]
    assert new == [totals[0], *(b - a for a, b in pairwise(totals))], "old ECGs were read again"
    assert store.lineage(store.get("production"))["student"] == champion.version
    for before, after in pairwise(sides(store)):
        assert before.items() <= after.items()


_COUNTED: tuple[Stage, ...] = ("student", "catalog", "ecg", "evaluation")
