"""Runs the six stages as plain functions, in one process or in one that is to be killed."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from data_contracts.conventions import UPSTREAM, Stage
from helpers.cases.public_jobs import make_job
from helpers.paths import TESTS
from tasks.all_stages import WORKS
from tasks.store import Artefact, Job


@dataclass(frozen=True)
class Run:
    """A job, the artefacts it led to, and whether each was there already."""

    job: Job
    artefacts: dict[Stage, Artefact]
    cached: dict[Stage, bool]

    @property
    def versions(self) -> dict[Stage, str]:
        return {stage: one.version for stage, one in self.artefacts.items()}

    @property
    def content(self) -> dict[Stage, str]:
        """Digest of each artefact's bytes."""
        return {stage: one.manifest.content for stage, one in self.artefacts.items()}


def run_stages(job: Job, *stages: Stage) -> Run:
    """Runs the stages (all by default) in order."""
    artefacts: dict[Stage, Artefact] = {}
    cached: dict[Stage, bool] = {}
    for stage in stages or tuple(WORKS):
        inputs = {above: artefacts[above] for above in UPSTREAM[stage]}
        artefacts[stage], cached[stage] = WORKS[stage].run(job, inputs)
    return Run(job, artefacts, cached)


def copy_of(run: Run, workspace: Path) -> Run:
    """The run in a workspace of its own, which does not exist yet."""
    shutil.copytree(run.job.workspace.root, workspace)
    return Run(make_job(run.job.recipe, str(run.job.export), str(workspace)), run.artefacts, {})


def run_and_kill(job: Job, recipe: str, stage: Stage, after: int) -> None:
    """The same in another process, which kills itself with SIGKILL once the stage reports `after` done."""
    code = f"""
import os, signal, sys
sys.path.insert(0, {str(TESTS)!r})
from flows.request import find_recipe
from helpers.cases.public_jobs import make_job
from tasks.base import progress
from helpers.cases.stage_runs import run_stages

def deadly(self, done, total, note=""):
    if self.stage == {stage!r} and done >= {after}:
        os.kill(os.getpid(), signal.SIGKILL)

progress.Reporter.__call__ = deadly
run_stages(make_job(find_recipe({recipe!r}, []), {str(job.export)!r}, {str(job.workspace.root)!r}))
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
