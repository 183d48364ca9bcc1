"""A clock that jumps by years while the stages run: same bytes, and gc still knows what is newest."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.order import find_recipe, make_job
from support import Run, run_stages
from tasks.collect import collect
from tasks.verify import faults

LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
STAGES_UNDER_JUMPS = """
import sys, time
from pathlib import Path
from flows.order import find_recipe, make_job
from tasks.registry import WORKS
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
    assert list(collect(run.job.store, delete=True)) == []

    other = make_job(find_recipe("smoke", ["evaluation.bootstrap_draws=60"]), str(run.job.export), str(workspace))
    newest = run_stages(other)
    gone = list(collect(other.store, delete=True))
    assert gone == [f"deleted artefacts/evaluation/{run.versions['evaluation']}"]
    assert other.store.published("evaluation") == [newest.artefacts["evaluation"]]
