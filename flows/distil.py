"""The DAG: from a hospital export to an evaluated student.

One stage alone: for an operator after a fault, or a machine that is made for it.
"""

from typing import Any

from prefect import flow
from prefect.futures import PrefectFuture, wait
from prefect.runtime import flow_run
from prefect.states import Completed, Failed, State
from prefect.task_runners import ThreadPoolTaskRunner

from data_contracts.conventions import Stage
from flows import faults, request
from tasks.catalog import catalog, simulate
from tasks.ecg import ecg
from tasks.evaluation import evaluation
from tasks.pairs import pairs
from tasks.store import Job
from tasks.student import student
from tasks.teacher import teacher


def run_name(parameters: dict[str, Any]) -> str:
    """What a run is called in the UI: `demo on its simulated export, from student`."""
    name = what_on_what(parameters)
    if parameters["start_from"]:
        name += f", from {parameters['start_from']}"
    return f"{name}, only {' '.join(parameters['only'])}" if parameters["only"] else name


def what_on_what(parameters: dict[str, Any]) -> str:
    """Recipe and export of a run: `demo on its simulated export`."""
    return f"{parameters['recipe_file'] or parameters['recipe']} on {parameters['export'] or 'its simulated export'}"


@flow(
    name="distil",
    flow_run_name=lambda: run_name(flow_run.parameters),
    task_runner=ThreadPoolTaskRunner(max_workers=4),  # type: ignore[arg-type]
    persist_result=False,
)
@faults.one_line_faults
def distil(
    recipe: request.ShippedRecipe = "demo",
    recipe_file: str = "",
    export: str = "",
    workspace: str = "workspace",
    start_from: request.FirstStage = "",
    only: list[Stage] = [],  # noqa: B006 - Prefect's form shows a plain list; it is never changed
    force: bool = False,
    overrides: list[request.Override] = [],  # noqa: B006
) -> State:
    """Train and judge an ECG student from an export of ECGs and echo studies.

    Stages whose version exists are shown as cached and cost nothing.

    Args:
        recipe: a recipe that comes with the package; paper needs an export.
        recipe_file: path of your own YAML recipe, used instead.
        export: folder of the hospital export; empty for the recipe's simulated one.
        workspace: folder that holds pools and artefacts.
        start_from: redo this stage and all that depend on it; empty to build only what is missing.
        only: build these stages alone; what they need must be there. Empty for all.
        force: redo every stage that runs.
        overrides: recipe fields to replace.
    """
    order = request.find_recipe(recipe_file or recipe, [str(one) for one in overrides])
    return run_stages(request.make_job(order, export, workspace, start_from, list(only), force))


def run_stages(job: Job) -> State:
    """Submits the DAG and waits for it. Needs a flow run."""
    export_ready = simulate.submit(job)
    listed = catalog.submit(job, wait_for=[export_ready])
    signals = ecg.submit(job, catalog=listed)
    targets = teacher.submit(job, catalog=listed)
    matched = pairs.submit(job, catalog=listed, ecg=signals, teacher=targets)
    trained = student.submit(job, ecg=signals, teacher=targets, pairs=matched)
    judged = evaluation.submit(job, ecg=signals, teacher=targets, pairs=matched, student=trained)

    return conclude([export_ready, listed, signals, targets, matched, trained, judged])


def conclude(futures: list[PrefectFuture[Any]]) -> State:
    """The run's final state: the first fault's own line, or the artefacts by stage."""
    if fault := first_fault(futures):
        return fault
    artefacts = [future.result() for future in futures]
    made = {one.stage: one for one in artefacts if one is not None}
    return Completed(message=", ".join(str(one) for one in made.values()), data=made)


def first_fault(futures: list[PrefectFuture[Any]]) -> State | None:
    """Waits for all; what went wrong first, in their order, as the run's state."""
    wait(futures)
    for future in futures:
        if future.state.is_failed() or future.state.is_crashed():
            return Failed(message=future.state.message, data=future.state.result(raise_on_failure=False))
    return None


def stage_run_name(parameters: dict[str, Any]) -> str:
    """What a run is called in the UI: `ecg alone, again: demo on its simulated export`."""
    return f"{parameters['stage']} alone{', again' if parameters['again'] else ''}: {what_on_what(parameters)}"


@flow(name="stage", flow_run_name=lambda: stage_run_name(flow_run.parameters), persist_result=False)
@faults.one_line_faults
def one_stage(
    stage: Stage,
    again: bool = False,
    recipe: request.ShippedRecipe = "demo",
    recipe_file: str = "",
    export: str = "",
    workspace: str = "workspace",
    overrides: list[request.Override] = [],  # noqa: B006 - Prefect's form shows a plain list; it is never changed
) -> State:
    """Build one stage alone; the stages it needs must have been built before.

    Args:
        stage: what to build.
        again: build it even if its version is there.
        recipe: a recipe that comes with the package; paper needs an export.
        recipe_file: path of your own YAML recipe, used instead.
        export: folder of the hospital export; empty for the recipe's simulated one.
        workspace: folder that holds pools and artefacts.
        overrides: recipe fields to replace.
    """
    order = request.find_recipe(recipe_file or recipe, [str(one) for one in overrides])
    return run_stages(request.make_job(order, export, workspace, only=[stage], force=again))
