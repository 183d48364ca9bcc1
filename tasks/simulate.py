"""The simulated export of a recipe: written once into the workspace, then used like any other."""

import os
from pathlib import Path

from filelock import FileLock
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, Failed, State

from echoingecg.common import UserError, fingerprint
from echoingecg.recipe import Recipe
from echoingecg.simulator import CODE_VERSION
from tasks.base.progress import Reporter
from tasks.base.workspace import Workspace, writing_to
from tasks.store.job import Job


def simulated_export(workspace: Workspace, recipe: Recipe) -> Path:
    """Where the recipe's simulated export stands, written or not."""
    assert recipe.simulator is not None
    return workspace.exports / f"simulated-{fingerprint([CODE_VERSION, recipe.simulator.model_dump()])}"


@task(name="simulate", task_run_name="simulate", cache_policy=NO_CACHE, persist_result=False)
def simulate(job: Job) -> State:
    """Writes the simulated export if the job uses it and it is not there yet."""
    if job.export.exists():
        return Completed(name="Cached", message=f"export {job.export}")
    from echoingecg.simulator.export import simulate as write  # numpy, OpenCV: not for a cached run

    assert job.recipe.simulator is not None
    try:
        with writing_to(job.workspace.root):
            job.export.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(job.export.with_suffix(".lock")):
                if not job.export.exists():  # another run may have written it while this one waited
                    write(job.recipe.simulator, job.export, Reporter("simulate"), workers=os.cpu_count() or 1)
    except UserError as fault:
        return Failed(message=str(fault), data=fault)
    return Completed(message=f"export {job.export}")
