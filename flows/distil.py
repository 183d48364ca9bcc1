"""The pipeline as flows: all stages from a hospital export to an evaluated student, one stage, or one run a stage."""

from typing import Any

from prefect import Task, flow, task
from prefect.cache_policies import NO_CACHE
from prefect.deployments import run_deployment
from prefect.futures import PrefectFuture
from prefect.runtime import deployment as served_as
from prefect.runtime import flow_run
from prefect.states import Completed, Failed, State
from prefect.task_runners import ThreadPoolTaskRunner

from data_contracts.conventions import STAGES, UPSTREAM, Stage
from echoingecg.common import UserError
from flows import faults, request
from tasks import catalog, ecg, evaluation, known_exports, pairs, student, teacher
from tasks.base.workspace import Workspace
from tasks.store import Job, leases

GPU_STAGE = "stage-gpu"  # deployment of the flow `stage` on the work pool of machines with a GPU
_POLL_SECONDS = 2.0  # between two looks at a stage's run


def run_name(parameters: dict[str, Any]) -> str:
    """Name of a run in the UI: `demo on its simulated export, from student`."""
    name = recipe_and_export(parameters)
    if parameters["start_from"]:
        name += f", from {parameters['start_from']}"
    return f"{name}, only {' '.join(parameters['only'])}" if parameters["only"] else name


def recipe_and_export(parameters: dict[str, Any]) -> str:
    """Recipe and export of a run: `demo on its simulated export`."""
    exports = [parameters["export"] or "its simulated export", *parameters.get("more_exports", ())]
    try:
        recipe = request.chosen_recipe(parameters["recipe"], parameters["recipe_file"])
    except UserError:
        recipe = "two recipes"
    return f"{recipe} on {', '.join(exports)}"


@flow(
    name="distil",
    flow_run_name=lambda: run_name(flow_run.parameters),
    task_runner=ThreadPoolTaskRunner(max_workers=4),  # type: ignore[arg-type]
    persist_result=False,
)
@faults.one_line_faults
@faults.with_lease
def distil(
    recipe: request.RecipeChoice = "",
    recipe_file: str = "",
    export: str = "",
    workspace: str = "workspace",
    start_from: request.FirstStage = "",
    only: list[Stage] = [],  # noqa: B006 - Prefect's form shows a plain list; it is never changed
    force: bool = False,
    more_exports: list[str] = [],  # noqa: B006
    public_data: bool = False,
    overrides: list[request.Override] = [],  # noqa: B006
) -> State:
    """Train and evaluate an ECG student from an export of ECGs and echo studies.

    Stages whose version exists are shown as cached and cost nothing.

    Args:
        recipe: a recipe that comes with the package (paper needs an export); empty for recipe_file, or for demo.
        recipe_file: path of your own YAML recipe, instead of recipe.
        export: folder of the hospital export, or SITE=FOLDER; empty for the recipe's simulated one.
        workspace: folder that holds pools and artefacts.
        start_from: redo this stage and all that depend on it; empty to build only what is missing.
        only: build these stages alone; what they need must be there. Empty for all.
        force: redo every stage that runs.
        more_exports: further exports of the same run, each SITE=FOLDER.
        public_data: patients of the export may be named by anybody, as those of simulated and published data are.
        overrides: recipe fields to replace.
    """
    full_recipe = request.find_recipe(request.chosen_recipe(recipe, recipe_file), overrides)
    job = request.make_job(
        full_recipe, export, workspace, start_from, list(only), force, more_exports, public_data=public_data
    )
    return run_stages(job)


def run_stages(job: Job) -> State:
    """Submits all stages, waits for them, and returns the run's state. Must be called in a flow run.

    Returns:
        The first fault's own line, or the artefacts by stage.
    """
    return end_of(job, submit_stages(job, submit_catalog(job)))


def submit_catalog(job: Job) -> dict[str, PrefectFuture[Any]]:
    """Submits the stages up to the catalog; returns them by name. Must be called in a flow run."""
    export_ready = catalog.simulate.submit(job)
    return {"simulate": export_ready, "catalog": catalog.catalog.submit(job, wait_for=[export_ready])}


def submit_stages(job: Job, begun: dict[str, PrefectFuture[Any]]) -> dict[str, PrefectFuture[Any]]:
    """Submits the stages after the catalog; returns all by name. Must be called in a flow run."""
    cataloged: Any = begun["catalog"]
    signals = ecg.ecg.submit(job, catalog=cataloged)
    targets = teacher.teacher.submit(job, catalog=cataloged)
    matched = pairs.pairs.submit(job, catalog=cataloged, ecg=signals, teacher=targets)
    trained = student.student.submit(job, ecg=signals, teacher=targets, pairs=matched)
    evaluated = evaluation.evaluation.submit(job, ecg=signals, teacher=targets, pairs=matched, student=trained)
    made = {"ecg": signals, "teacher": targets, "pairs": matched, "student": trained, "evaluation": evaluated}
    return {**begun, **made}


def end_of(job: Job, submitted: dict[str, PrefectFuture[Any]]) -> State:
    """Waits for submitted stages. A run that goes through keeps its catalog in mind, for the export's next one.

    Returns:
        The first fault's own line, or the artefacts by stage.
    """
    futures = list(submitted.values())
    if fault := faults.first_fault(futures):
        return fault
    artefacts = {artefact.stage: artefact for future in futures if (artefact := future.result()) is not None}
    if "catalog" in artefacts:
        known_exports.keep(job, artefacts["catalog"])
    return Completed(message=", ".join(str(artefact) for artefact in artefacts.values()), data=artefacts)


def stage_run_name(parameters: dict[str, Any]) -> str:
    """Name of a run in the UI: `ecg alone, again: demo on its simulated export`."""
    again = ", again" if parameters["again"] else ""
    return f"{parameters['stage']} alone{again}: {recipe_and_export(parameters)}"


@flow(name="stage", flow_run_name=lambda: stage_run_name(flow_run.parameters), persist_result=False)
@faults.one_line_faults
@faults.with_lease
def one_stage(
    stage: Stage,
    again: bool = False,
    recipe: request.RecipeChoice = "",
    recipe_file: str = "",
    export: str = "",
    workspace: str = "workspace",
    more_exports: list[str] = [],  # noqa: B006 - see distil
    public_data: bool = False,
    overrides: list[request.Override] = [],  # noqa: B006
) -> State:
    """Build one stage alone; the stages it needs must have been built before.

    Args:
        stage: what to build.
        again: build it even if its version is there.
        recipe: a recipe that comes with the package (paper needs an export); empty for recipe_file, or for demo.
        recipe_file: path of your own YAML recipe, instead of recipe.
        export: folder of the hospital export; empty for the recipe's simulated one.
        workspace: folder that holds pools and artefacts.
        more_exports: further exports of the same run, each SITE=FOLDER.
        public_data: patients of the export may be named by anybody, as those of simulated and published data are.
        overrides: recipe fields to replace.
    """
    full_recipe = request.find_recipe(request.chosen_recipe(recipe, recipe_file), overrides)
    job = request.make_job(
        full_recipe, export, workspace, only=[stage], force=again, more_exports=more_exports, public_data=public_data
    )
    return run_stages(job)


@flow(
    name="spread",
    flow_run_name=lambda: f"spread: {recipe_and_export(flow_run.parameters)}",
    task_runner=ThreadPoolTaskRunner(max_workers=len(STAGES)),  # type: ignore[arg-type]
    persist_result=False,
)
@faults.one_line_faults
def distil_on_work_pools(
    recipe: request.RecipeChoice = "",
    recipe_file: str = "",
    export: str = "",
    workspace: str = "workspace",
    gpu_stages: list[Stage] = ["teacher", "student", "evaluation"],  # noqa: B006 - see distil
    more_exports: list[str] = [],  # noqa: B006
    public_data: bool = False,
    overrides: list[request.Override] = [],  # noqa: B006
) -> State:
    """Train and evaluate an ECG student, each stage as a run of its own on the work pool for it.

    Export and workspace must be the same folders on every machine. This run waits in a place of its own: the
    worker that takes it must be allowed two runs at once.

    Args:
        recipe: a recipe that comes with the package (paper needs an export); empty for recipe_file, or for demo.
        recipe_file: path of your own YAML recipe, instead of recipe.
        export: folder of the hospital export; empty for the recipe's simulated one.
        workspace: folder that holds pools and artefacts.
        gpu_stages: stages that run on the work pool of machines with a GPU; the others run on that of CPUs.
        more_exports: further exports of the same run, each SITE=FOLDER.
        public_data: patients of the export may be named by anybody, as those of simulated and published data are.
        overrides: recipe fields to replace.
    """
    chosen = request.chosen_recipe(recipe, recipe_file)
    request.find_recipe(chosen, overrides)  # fail before a stage does
    parameters = {
        **request.recipe_field(chosen),
        "export": export,
        "workspace": workspace,
        "more_exports": list(more_exports),
        "public_data": public_data,
        "overrides": [override.model_dump() for override in overrides],
    }
    runs: dict[Stage, PrefectFuture[Any]] = {}
    place = str(served_as.name or "").removeprefix("spread")  # of a `serve --name north`: -north
    with leases.held(Workspace(request.folder_of(workspace)), leases.EVERYTHING):  # a stage's own ends with the stage
        for stage in STAGES:
            deployment = f"{GPU_STAGE if stage in gpu_stages else 'stage'}{place}"
            run: Task[..., Any] = run_stage_deployment.with_options(task_run_name=f"{stage} on {deployment}")
            above = [runs[needed] for needed in UPSTREAM[stage]]
            runs[stage] = run.submit(deployment, {"stage": stage, **parameters}, wait_for=above)
        fault = faults.first_fault(list(runs.values()))
    return fault or Completed(message=f"{', '.join(STAGES)}: each by a run of its own")


@task(name="run-stage-deployment", cache_policy=NO_CACHE, persist_result=False)
def run_stage_deployment(deployment: str, parameters: dict[str, Any]) -> State:
    """Starts a deployment of the flow `stage` and waits for its end. The run's message is this task's message."""
    run: Any = run_deployment(f"stage/{deployment}", parameters=parameters, poll_interval=_POLL_SECONDS)
    state = run.state
    if state.is_completed():
        return Completed(message=state.message)
    return Failed(message=f"{run.name}: {state.message or state.name}")
