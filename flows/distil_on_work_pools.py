"""The DAG over work pools: each stage is a run of its own, on a machine that is made for it."""

from typing import Any

from prefect import Task, flow, task
from prefect.cache_policies import NO_CACHE
from prefect.deployments import run_deployment
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run
from prefect.states import Completed, Failed, State
from prefect.task_runners import ThreadPoolTaskRunner

from data_contracts.conventions import STAGES, UPSTREAM, Stage
from flows import distil, request

GPU_STAGE = "stage-gpu"  # deployment of flow `stage` on the work pool of GPUs
_POLL = 2.0  # s between two looks at a stage's run


def run_name(parameters: dict[str, Any]) -> str:
    """What a run is called in the UI: `spread: demo on its simulated export`."""
    return f"spread: {distil.what_on_what(parameters)}"


@flow(
    name="spread",
    flow_run_name=lambda: run_name(flow_run.parameters),
    task_runner=ThreadPoolTaskRunner(max_workers=len(STAGES)),  # type: ignore[arg-type]
    persist_result=False,
)
def spread(
    recipe: request.ShippedRecipe = "demo",
    recipe_file: str = "",
    export: str = "",
    workspace: str = "workspace",
    gpu_stages: list[Stage] = ["teacher", "student", "evaluation"],  # noqa: B006 - as `overrides` of `distil`
    overrides: list[request.Override] = [],  # noqa: B006
) -> State:
    """Train and judge an ECG student, each stage as a run of its own on the work pool for it.

    Export and workspace must be the same folders on every machine. This run waits in a place of its own: the
    worker that takes it must be allowed two runs at once.

    Args:
        recipe: a recipe that comes with the package; paper needs an export.
        recipe_file: path of your own YAML recipe, used instead.
        export: folder of the hospital export; empty for the recipe's simulated one.
        workspace: folder that holds pools and artefacts.
        gpu_stages: stages that run on the work pool of GPUs; the others on that of CPUs.
        overrides: recipe fields to replace.
    """
    order = {"recipe": recipe, "recipe_file": recipe_file, "export": export, "workspace": workspace}
    fields = [one.model_dump() for one in overrides]
    sent: dict[Stage, PrefectFuture[Any]] = {}
    for stage in STAGES:
        where = GPU_STAGE if stage in gpu_stages else "stage"
        run: Task[..., Any] = elsewhere.with_options(task_run_name=f"{stage} on {where}")
        parameters = {"stage": stage, **order, "overrides": fields}
        sent[stage] = run.submit(where, parameters, wait_for=[sent[above] for above in UPSTREAM[stage]])
    fault = distil.first_fault(list(sent.values()))
    return fault or Completed(message=f"{', '.join(STAGES)}: each by a run of its own")


@task(name="elsewhere", cache_policy=NO_CACHE, persist_result=False)
def elsewhere(deployment: str, parameters: dict[str, Any]) -> State:
    """Starts a deployment of flow `stage` and waits for its end; its last words are this task's."""
    run: Any = run_deployment(f"stage/{deployment}", parameters=parameters, poll_interval=_POLL)
    state = run.state
    if state.is_completed():
        return Completed(message=state.message)
    return Failed(message=f"{run.name}: {state.message or state.name}")
