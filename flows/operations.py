"""Flows around a published student and its workspace, from predict to gc; and teach."""

from collections.abc import Sequence
from typing import Annotated, Any, cast

from prefect import flow
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.states import Completed, Failed, State
from pydantic import Field

from echoingecg.common import UserError
from echoingecg.recipe import ExecutionSettings, PromotionSettings, Recipe
from flows import faults, request
from tasks import catalog, ecg
from tasks.base.progress import Reporter
from tasks.operations import drift as drift_task
from tasks.operations import evaluate as judge_task
from tasks.operations import retrain as champions
from tasks.operations import students as student_tasks
from tasks.operations import teachers, verify_and_collect
from tasks.store import Job


@flow(name="predict", flow_run_name="{student} on ECG files", persist_result=False)
@faults.one_line_faults
@faults.with_lease
def predict(
    files: list[str],
    output: str,
    student: str = "production",
    protocol: request.Protocol = "",
    recipe: request.ShippedRecipe = "paper",
    workspace: str = "workspace",
    workers: int = 1,
    dask: str = "",
) -> State:
    """Read echo findings off ECG files, with uncertainty and refer-to-echo. Not for clinical use.

    Args:
        files: ECG files of any accepted format, WFDB records, or folders of them.
        output: Parquet file to write: a row for each ECG and endpoint, one for a refused file.
        student: student or evaluation, by STAGE-VERSION or alias.
        protocol: how scores are computed; empty for the choice of the evaluation's recipe, which also decides which of
            them its students know.
        recipe: whose questions a student without a reading card is asked, by zero_shot alone.
        workspace: folder that holds pools and artefacts.
        workers: processes that read; 1 means two threads of this process.
        dask: address of an existing Dask scheduler instead.
    """
    execution = ExecutionSettings(workers=workers, dask=dask)
    store, target = request.open_store(workspace), request.folder_of(output)
    questions = request.find_recipe(recipe, []).evaluation.endpoints
    return faults.final_state(
        student_tasks.predict.submit(store, student, files, target, protocol, execution, questions)
    )


@flow(name="drift", flow_run_name="{export} against {student}", persist_result=False)
@faults.one_line_faults
@faults.with_lease
def drift(
    export: str,
    student: str = "production",
    recipe: request.RecipeChoice = "",
    recipe_file: str = "",
    workspace: str = "workspace",
    public_data: bool = False,
    overrides: list[request.Override] = [],  # noqa: B006 - Prefect's form shows a plain list; it is never changed
) -> State:
    """Compare an export with what a student was trained on: embeddings, prevalence, subgroups, quality findings.

    Only the stages catalog and ecg are run on the export, with the student's own settings; a later retrain reuses them.

    Args:
        export: folder of the new export; what the student's own export held is left out.
        student: student or evaluation, by STAGE-VERSION or alias; empty for production, or the only one.
        recipe: a recipe that comes with the package; its section drift is the rule; empty for recipe_file, or for demo.
        recipe_file: path of your own YAML recipe, instead of recipe.
        workspace: folder that holds pools and artefacts.
        public_data: patients of the export may be named by anybody, as those of simulated and published data are.
        overrides: recipe fields to replace.
    """
    full_recipe = request.find_recipe(request.chosen_recipe(recipe, recipe_file), overrides)
    job, judged = drift_job(full_recipe, export, student, workspace, public_data)
    cataloged = catalog.catalog.submit(job)
    signals = ecg.ecg.submit(job, catalog=cataloged)
    if fault := faults.first_fault([cataloged, signals]):
        return fault
    compared = drift_task.drift.submit(job.store, judged, cataloged.result(), signals.result(), full_recipe.drift)
    state = faults.final_state(compared)
    if not state.is_completed():
        return state
    result = cast(drift_task.DriftResult, state.data)
    return Completed(name=result.drift.verdict.capitalize(), message=state.message, data=result)


def drift_job(
    recipe: Recipe, export: str, student: str, workspace: str, public_data: bool = False
) -> tuple[Job, student_tasks.StudentWithCard]:
    """Checks a request for drift before anything runs.

    Returns:
        The job that builds catalog and ecg of the export with the student's own settings, and the student.

    Raises:
        UserError: no such export or student, or what the student was trained on is gone or made in another way.
    """
    store = request.open_store(workspace)
    judged = student_tasks.find_student(store, student)
    student_tasks.check_signals(store, judged.student)
    own_recipe = drift_task.recipe_as_trained(recipe, store, judged)
    return request.make_job(own_recipe, export, workspace, only=["catalog", "ecg"], public_data=public_data), judged


@flow(name="evaluate", flow_run_name="{student} on {export}", persist_result=False)
@faults.one_line_faults
@faults.with_lease
def evaluate(
    export: str,
    student: str = "production",
    recipe_file: str = "",
    labels: str = "",
    new_card: bool = False,
    output: str = "",
    workspace: str = "workspace",
    public_data: bool = False,
    overrides: list[request.Override] = [],  # noqa: B006 - see drift
) -> State:
    """Judge a student on another cohort, without a teacher: the student's thresholds as they are, or a new card.

    Only the stages catalog and ecg are run on the export, with the student's own settings.

    Args:
        export: folder of the cohort.
        student: student or evaluation, by STAGE-VERSION or alias; empty for production, or the only one.
        recipe_file: path of a YAML recipe whose questions, label rules and layout count; empty for the student's own.
        labels: CSV table of labels, a row for each ECG; empty for the export's measurements.
        new_card: choose thresholds and calibrators anew, on a part of the cohort; always so without a card.
        output: new or empty folder for report and tables; empty for one in the workspace.
        workspace: folder that holds pools and artefacts.
        public_data: patients of the export may be named by anybody, as those of simulated and published data are.
        overrides: recipe fields to replace.
    """
    job, judged = evaluate_job(export, student, recipe_file, new_card, workspace, overrides, public_data, output)
    cataloged = catalog.catalog.submit(job)
    signals = ecg.ecg.submit(job, catalog=cataloged)
    if fault := faults.first_fault([cataloged, signals]):
        return fault
    table = request.folder_of(labels) if labels else None
    folder = request.folder_of(output) if output else None
    return faults.final_state(judge_task.judge.submit(job, judged, cataloged.result(), signals.result(), table, folder))


def evaluate_job(
    export: str,
    student: str,
    recipe_file: str,
    new_card: bool,
    workspace: str,
    overrides: Sequence[request.Override | str],
    public_data: bool = False,
    output: str = "",
) -> tuple[Job, judge_task.JudgedStudent]:
    """Checks a request for an evaluation before anything runs.

    Returns:
        The job that builds catalog and ecg of the cohort, and the student with the recipe that it is judged by.

    Raises:
        UserError: no such export, student or recipe; or a folder for what is published in the workspace.
    """
    store = request.open_store(workspace)
    recipe = request.find_recipe(recipe_file, overrides) if recipe_file else None
    base, assignments = request.find_recipe("demo", []), [str(override) for override in overrides]
    judged = judge_task.student_to_judge(store, student, recipe, base, new_card, assignments)
    if output and judged.evaluation is None:
        raise UserError(
            "output: an evaluation with a new card is published in the workspace; "
            "'echoingecg artefacts report EVALUATION --out DIR' writes its pages elsewhere"
        )
    return request.make_job(judged.recipe, export, workspace, only=["catalog", "ecg"], public_data=public_data), judged


@flow(name="promote", flow_run_name="{challenger} over {alias}", persist_result=False)
@faults.one_line_faults
@faults.with_lease
def promote(
    challenger: str,
    alias: str = "production",
    recipe: request.RecipeChoice = "",
    recipe_file: str = "",
    workspace: str = "workspace",
    overrides: list[request.Override] = [],  # noqa: B006 - see drift
) -> State:
    """Compare two students on the same test patients, and move the alias if the recipe's rule says so.

    Args:
        challenger: student or evaluation, by STAGE-VERSION or alias.
        alias: names the champion; made if it is not there.
        recipe: a recipe that comes with the package, its section promotion is the rule; empty for recipe_file, or for
            demo.
        recipe_file: path of your own YAML recipe, instead of recipe.
        workspace: folder that holds pools and artefacts.
        overrides: recipe fields to replace.
    """
    rule = request.find_recipe(request.chosen_recipe(recipe, recipe_file), overrides).promotion
    decision, _ = champions.promote(request.open_store(workspace), challenger, alias, rule)
    rows = [endpoint.model_dump() for endpoint in decision.compared]
    create_table_artifact(rows, key="promotion", description=f"{decision.verdict}: {decision.says}")
    message = f"{alias}: {decision.challenger} against {decision.champion or 'nobody'}: {decision.says}"
    if decision.verdict == "frozen":
        return Failed(name="Frozen", message=message)
    return Completed(name="Promoted" if decision.verdict == "promote" else "Kept", message=message)


@flow(name="compare", flow_run_name="{students}", persist_result=False)
@faults.one_line_faults
@faults.with_lease
def compare(
    students: list[str],
    protocol: request.TestedProtocol = "zero_shot",
    workspace: str = "workspace",
) -> State:
    """Compare two or more students on the test labels that they share: metrics, paired differences, a figure.

    Args:
        students: students or evaluations, by STAGE-VERSION or alias; others are compared with the first.
        protocol: how scores are computed.
        workspace: folder that holds pools and artefacts.
    """
    compared = student_tasks.compare(request.open_store(workspace), students, PromotionSettings(protocol=protocol))
    title = f"{len(compared.students)} students, compared with {students[0]}"
    create_markdown_artifact(compared.page(as_markdown=True), key="comparison", description=title)
    return Completed(message=f"{title}: {', '.join(students[1:])}")


@flow(name="rollback", flow_run_name="{alias} as it was", persist_result=False)
@faults.one_line_faults
def rollback(alias: str = "production", why: str = "", workspace: str = "workspace") -> State:
    """Point an alias at what it named before.

    Args:
        alias: such as production.
        why: reason, for the workspace's file of moves.
        workspace: folder that holds pools and artefacts.
    """
    left, target = champions.roll_back(request.open_store(workspace), alias, why)
    return Completed(message=f"{alias}: {target} takes the place of {left} again")


@flow(name="verify", flow_run_name="verify {workspace}", persist_result=False)
@faults.one_line_faults
def verify(
    workspace: str = "workspace",
    artefacts: list[str] = [],  # noqa: B006 - see drift
    shared: bool = False,
) -> State:
    """Compare every file of the artefacts, and every row in the pools, with its checksum.

    Args:
        workspace: folder that holds pools and artefacts.
        artefacts: STAGE-VERSION or aliases; empty for all.
        shared: look at the copies in the shared store that the workspace has joined.
    """
    store = request.open_store(workspace, "artefacts")
    examined = verify_and_collect.verify_artefacts(store, artefacts, shared, Reporter("verify"))
    rows = [{"artefact": name, "fault": fault} for name, lines in examined.items() for fault in lines]
    summary = f"{len(examined)} artefacts, {len(rows)} faults"
    if not rows:
        return Completed(message=summary)
    create_table_artifact(rows, key="verify-faults", description=summary)
    return Failed(message=f"{summary}, the first: {rows[0]['fault']}; run again from the stage at fault")


@flow(name="gc", flow_run_name="gc {workspace}", persist_result=False)
@faults.one_line_faults
def gc(
    workspace: str = "workspace",
    delete: bool = False,
    shared: bool = False,
    force: bool = False,
    keep_last: Annotated[int, Field(ge=1)] = 1,
    unused_days: Annotated[float, Field(ge=0)] = 0,
) -> State:
    """List, or delete, artefacts that no alias and no newest evaluation needs, and leftovers of killed runs.

    Args:
        workspace: folder that holds pools and artefacts.
        delete: delete them; without it, they are only listed.
        shared: in the shared store that the workspace has joined, for all machines.
        force: artefacts of the workspace that are younger than a day, too.
        keep_last: newest evaluations to keep, each with its student and all that it was made of.
        unused_days: also the private indexes of exports that no run has looked at for so many days; 0 for none.
    """
    store = request.open_store(workspace, "artefacts")
    removed = (
        verify_and_collect.garbage_collect_shared(store, delete)
        if shared
        else verify_and_collect.garbage_collect(store, delete, force, keep_last, unused_days)
    )
    lines = list(removed)
    create_table_artifact([{"folder": line} for line in lines], key="gc-folders", description=f"{len(lines)} folders")
    return Completed(message=f"{len(lines)} folders {'deleted' if delete else 'would be deleted'}")


@flow(name="teach", flow_run_name="{recipe} into {folder}", persist_result=False)
@faults.one_line_faults
@faults.with_lease
def teach(
    folder: str,
    recipe: str = "teacher",
    export: str = "",
    workspace: str = "workspace",
    public_data: bool = False,
    overrides: list[str] = [],  # noqa: B006 - see drift
) -> State:
    """Train a small teacher on echo frames and report sentences, and measure it on patients it has not seen.

    Args:
        folder: receives weights, configuration and model card; `teacher.model: local-dir:FOLDER` uses it.
        recipe: name of a shipped recipe, or path of a YAML file, with a teaching section.
        export: folder of an export; empty for the recipe's simulated one.
        workspace: folder that holds the simulated export and its catalog.
        public_data: patients of the export may be named by anybody, as those of simulated and published data are.
        overrides: recipe fields to replace, `section.field=value`.
    """
    job = request.make_teaching_job(request.find_recipe(recipe, overrides), export, workspace, public_data)
    cataloged: Any = catalog.catalog.submit(job, wait_for=[catalog.simulate.submit(job)])
    return faults.final_state(teachers.teaching.submit(job, cataloged, folder))
