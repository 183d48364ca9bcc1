"""Is a new export still like what a student was trained on? For the command line, the Prefect UI and schedules."""

from typing import cast

from prefect import flow
from prefect.states import Completed, State

from echoingecg.recipe import Recipe
from flows import distil, faults, request
from tasks.base.workspace import Workspace
from tasks.catalog import catalog
from tasks.ecg import ecg
from tasks.operations.drift import DriftResult, recipe_as_trained
from tasks.operations.drift import drift as compare
from tasks.operations.students import StudentWithCard, find_student
from tasks.store import ArtefactStore, Job


@flow(name="drift", flow_run_name="{export} against {student}", persist_result=False)
@faults.one_line_faults
def drift(
    export: str,
    student: str = "production",
    recipe: request.ShippedRecipe = "demo",
    recipe_file: str = "",
    workspace: str = "workspace",
    overrides: list[request.Override] = [],  # noqa: B006 - Prefect's form shows a plain list; it is never changed
) -> State:
    """Compare an export with what a student was trained on: embeddings, prevalence, subgroups, quality findings.

    Only the stages catalog and ecg are run on the export, as the student's own were; a later retrain finds them done.

    Args:
        export: folder of the new export; what the student's own export held is left out.
        student: student or evaluation, by STAGE-VERSION or alias; empty for production, or the only one.
        recipe: a recipe that comes with the package; its section drift is the rule.
        recipe_file: path of your own YAML recipe, used instead.
        workspace: folder that holds pools and artefacts.
        overrides: recipe fields to replace.
    """
    order = request.find_recipe(recipe_file or recipe, [str(one) for one in overrides])
    job, judged = drift_job(order, export, student, workspace)
    listed = catalog.submit(job)
    signals = ecg.submit(job, catalog=listed)
    if fault := distil.first_fault([listed, signals]):
        return fault
    done = faults.last_word(compare.submit(job.store, judged, listed.result(), signals.result(), order.drift))
    if not done.is_completed():
        return done
    found = cast(DriftResult, done.data)
    return Completed(name=found.drift.verdict.capitalize(), message=done.message, data=found)


def drift_job(order: Recipe, export: str, student: str, workspace: str) -> tuple[Job, StudentWithCard]:
    """Checks the order as a whole before anything runs: catalog and ecg of the export, made as the student's were.

    Raises:
        UserError: no such export or student, or what the student was trained on is gone.
    """
    store = ArtefactStore(Workspace(request.folder_of(workspace)))
    judged = find_student(store, student)
    return request.make_job(recipe_as_trained(order, store, judged), export, workspace, only=["catalog", "ecg"]), judged
