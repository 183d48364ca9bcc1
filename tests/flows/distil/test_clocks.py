"""A clock that jumps: by years while the stages run, by hours under the server, its scheduler and a retrain."""

import math
import os
import shutil
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from data_contracts.conventions import STAGES
from echoingecg.recipe import write_recipe
from flows.request import find_recipe
from helpers.cases.public_jobs import make_job
from helpers.cases.stage_runs import Run, run_stages
from helpers.servers.clock import clock as a_clock
from helpers.servers.prefect_server import LIMIT, Server, server_at, serving, started, wait_for
from tasks.base.workspace import Workspace
from tasks.operations.verify_and_collect import faults, garbage_collect
from tasks.store import ArtefactStore

LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
JUMP, HOUR = 14400, 3600  # s; looks are an hour apart
MISSED = 3  # looks that Prefect has planned ahead, and that the jump makes late
STAGES_UNDER_JUMPS = """
import sys, time
from pathlib import Path
from flows.request import find_recipe
from helpers.cases.public_jobs import make_job
from tasks.all_stages import WORKS
from data_contracts.conventions import UPSTREAM

clock, export, workspace = sys.argv[1:]
job = make_job(find_recipe("smoke", []), export, workspace)
made = {}
for stage, offset in zip(WORKS, ("+900d", "+400s", "-400s", "-3000d", "+5000d", "-40d"), strict=True):
    Path(clock).write_text(offset)
    print(stage, time.strftime("%Y-%m-%d"), flush=True)
    made[stage], cached = WORKS[stage].run(job, {above: made[above] for above in UPSTREAM[stage]})
    assert not cached
"""


@pytest.mark.slow
@pytest.mark.skipif(LIBRARY is None, reason="needs libfaketime: apt-get install faketime")
def test_a_clock_that_jumps_between_the_stages(finished: Run, tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    clock.write_text("+0")
    jumping = os.environ | {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",  # the system's does not jump either
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    workspace = tmp_path / "workspace"
    code = [sys.executable, "-c", STAGES_UNDER_JUMPS, str(clock), str(finished.job.export), str(workspace)]
    done = subprocess.run(code, env=jumping, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    years = {line.split()[1][:4] for line in done.stdout.splitlines()}
    assert len(years) >= 4, f"the clock did not jump: {done.stdout}"

    run = run_stages(make_job(finished.job.recipe, str(finished.job.export), str(workspace)))
    assert all(run.cached.values())
    assert run.content == finished.content
    assert [fault for one in run.artefacts.values() for fault in faults(run.job.store, one)] == []
    assert list(garbage_collect(run.job.store, delete=True)) == []

    other = make_job(find_recipe("smoke", ["evaluation.bootstrap_draws=60"]), str(run.job.export), str(workspace))
    newest = run_stages(other)
    gone = list(garbage_collect(other.store, delete=True, force=True))
    assert gone == [f"deleted artefacts/evaluation/{run.versions['evaluation']}"]
    assert other.store.published("evaluation") == [newest.artefacts["evaluation"]]


def looks(server: Server, **asked: object) -> list[dict[str, Any]]:
    """Retrains in the order of their time."""
    wanted = {"flows": {"name": {"any_": ["retrain"]}}, "flow_runs": asked, "sort": "EXPECTED_START_TIME_ASC"}
    return list(server.post("flow_runs/filter", wanted))


def seconds_to_next_look(server: Server) -> float:
    """By the true clock; endless while none is planned."""
    planned = looks(server, state={"type": {"any_": ["SCHEDULED"]}})
    times = (datetime.fromisoformat(one["expected_start_time"]).timestamp() for one in planned)
    return min(times, default=math.inf) - time.time()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_clock_that_jumps_under_the_scheduler(export: Path, tmp_path: Path) -> None:
    """Two hours ahead in the middle of a retrain, and back: no look runs beside another, nothing is trained twice."""
    clock = a_clock(tmp_path)
    server = server_at(tmp_path, **clock.environment)
    shutil.copytree(export, tmp_path / "inbox" / "one")
    (tmp_path / "inbox" / "one" / "_COMPLETE").touch()
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(write_recipe(find_recipe("smoke", ["catalog.public_key=''"])))
    places = (str(recipe), "--workspace", str(tmp_path / "workspace"), "--inbox", str(tmp_path / "inbox"))
    with started(server, tmp_path), serving(server, tmp_path, *places):
        wait_for(lambda: len(looks(server)) >= MISSED, "the schedule")
        run = server.start_run("retrain/retrain")
        wait_for(lambda: server.state(run)["type"] == "RUNNING", "the retrain")
        clock.set_ahead(JUMP)
        wait_for(lambda: server.state(run)["type"] == "COMPLETED", "its true end", 4 * LIMIT)
        wait_for(lambda: seconds_to_next_look(server) > JUMP, "the end of the looks that were missed")
        missed = [one["state"]["name"] for one in looks(server) if one["id"] != run]
        ran = [name for name in missed if name not in ("Cancelled", "Scheduled")]
        assert len(missed) - missed.count("Scheduled") >= MISSED
        assert set(ran) <= {"Skipped", "NothingNew"}, missed
        clock.set_ahead(0)
        time.sleep(70)  # the scheduler looks every minute
        assert seconds_to_next_look(server) > JUMP - HOUR, "Prefect has no more looks until the clock is there"
    with started(server, tmp_path):
        server.prefect("deployment", "delete", "retrain/retrain")  # whose looks of these hours count as done
        with serving(server, tmp_path, *places):
            wait_for(lambda: seconds_to_next_look(server) <= HOUR, "the schedule made anew")
    store = ArtefactStore(Workspace(tmp_path / "workspace"))
    assert [len(store.published(stage)) for stage in STAGES] == [1] * len(STAGES)
