"""Retraining on exports as they arrive: one at a time, each once, by a schedule or an event."""

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.states import Completed, Failed, State

from data_contracts.monitoring import ExportRecord
from echoingecg.common import StoreError, TrainingError, UserError
from echoingecg.recipe import Recipe, with_overrides
from flows import distil, faults, request
from tasks.base.workspace import Workspace
from tasks.operations import retrain as retraining
from tasks.operations.retrain import FinishedExport
from tasks.store import ArtefactStore, Job


@flow(name="retrain", flow_run_name="what is new in {inbox}", persist_result=False)
@faults.one_line_faults
def retrain(
    recipe: request.ShippedRecipe = "demo",
    recipe_file: str = "",
    inbox: str = "inbox",
    workspace: str = "workspace",
    marker: str = "_COMPLETE",
    quiet_minutes: float = 0,
    alias: str = "production",
    warm_start: bool = True,
    overrides: list[request.Override] = [],  # noqa: B006 - Prefect's form shows a plain list; it is never changed
) -> State:
    """Retrain on the newest finished export of the inbox that is not recorded yet; nothing to do is a quick end.

    Args:
        recipe: a recipe that comes with the package.
        recipe_file: path of your own YAML recipe, used instead.
        inbox: folder whose folders are exports, each holding all that the one before it held.
        workspace: folder that holds pools and artefacts.
        marker: name of the file that the hospital writes into an export last.
        quiet_minutes: an export without marker is finished when no file has changed for so long; 0 for never.
        alias: names the champion.
        warm_start: start from the champion's weights instead of from nothing.
        overrides: recipe fields to replace.
    """
    order = request.find_recipe(recipe_file or recipe, [str(one) for one in overrides])
    place = Workspace(request.folder_of(workspace))
    with retraining.retrain_lock(place) as alone:
        if not alone:
            return Completed(name="Skipped", message="another retrain runs in this workspace")
        records, exports = (
            retraining.ExportRecords(place),
            retraining.finished_exports(request.folder_of(inbox), marker, quiet_minutes),
        )
        if not (waiting := records.waiting(exports)):
            return Completed(name="NothingNew", message=f"no finished export waits: {records.summary(exports)}")
        return _newest_sound_one(order, place, records, waiting, alias, warm_start)


def _newest_sound_one(
    order: Recipe,
    place: Workspace,
    records: retraining.ExportRecords,
    waiting: list[FinishedExport],
    alias: str,
    warm_start: bool,
) -> State:
    """Retrains on the newest export that is not refused; older ones, which it contains, are superseded."""
    refused: list[str] = []
    while waiting:
        one = waiting.pop()
        record = records.get(one)
        job = _job(order, place, one, record, alias if warm_start else "")
        record = record.model_copy(update={"tries": record.tries + 1, "warm_start": job.recipe.student.warm_start})
        records.keep(one, record)
        state = distil.run_stages(job)
        if state.is_completed():
            says = _conclude(job, state.result(), one, alias)
            records.keep(one, record.model_copy(update={"state": "trained", "says": says}))
            for older in waiting:
                records.keep(older, ExportRecord(export=older.folder.name, state="superseded", says=one.folder.name))
            return Completed(message="; ".join([says, *refused]))
        fault = state.result(raise_on_failure=False)
        if not isinstance(fault, UserError) or isinstance(fault, StoreError | TrainingError):
            return Failed(
                message=f"{one.folder.name}, try {record.tries} of {retraining.MAX_TRIES}: {state.message}", data=fault
            )
        records.keep(one, record.model_copy(update={"state": "refused", "says": str(fault)}))
        refused.append(f"{one.folder.name} refused: {fault}")
        create_table_artifact([{"refused": line} for line in refused], key="retrain-refused")
    return Failed(message=f"{'; '.join(refused)}; mend it, then renew its marker", data=UserError(refused[0]))


def _job(order: Recipe, place: Workspace, one: FinishedExport, record: ExportRecord, alias: str) -> Job:
    """A try after the first starts from the same student, whoever is champion by then: its stages are reused."""
    start = record.warm_start
    if not record.tries and alias and (champion := retraining.champion_of(ArtefactStore(place), alias)):
        start = f"student-{ArtefactStore(place).lineage(champion)['student']}"
    recipe = with_overrides(order, [f"student.warm_start={start}"]) if start else order
    return request.make_job(recipe, str(one.folder), str(place.root))


def _conclude(job: Job, made: dict, one: FinishedExport, alias: str) -> str:
    """Shows what was new, lets the challenger meet the champion, and says how it ended."""
    rows = retraining.export_growth(job.store, made, retraining.champion_of(job.store, alias))
    says = retraining.promote_if_better(job.store, made["evaluation"], alias, job.recipe.promotion)
    create_table_artifact(rows, key="retrain-growth", description=f"{one.folder.name}: {says}")
    new = ", ".join(f"{row['new']} new and {row['reused']} known {row['what']}" for row in rows)
    return f"{one.folder.name}: {new}; {says}"
