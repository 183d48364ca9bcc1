"""Retraining on exports as they arrive: one at a time, each once, by a schedule or an event."""

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.exceptions import TerminationSignal
from prefect.states import Completed, Failed, State

from data_contracts.conventions import Stage
from data_contracts.monitoring import ExportRecord
from echoingecg.common import StoreError, TrainingError, UserError
from echoingecg.recipe import Recipe, with_overrides
from flows import distil, faults, request
from tasks.base.workspace import Workspace
from tasks.operations import retrain as retraining
from tasks.store import Artefact, ArtefactStore, Job


@flow(name="retrain", flow_run_name="what is new in {inbox}", persist_result=False)
@faults.one_line_faults
@faults.with_lease
def retrain(
    recipe: request.ShippedRecipe = "demo",
    recipe_file: str = "",
    inbox: str = "inbox",
    workspace: str = "workspace",
    marker: str = "_COMPLETE",
    quiet_minutes: float = 0,
    alias: str = "production",
    warm_start: bool = True,
    public_data: bool = False,
    overrides: list[request.Override] = [],  # noqa: B006 - Prefect's form shows a plain list; it is never changed
) -> State:
    """Retrain on the newest finished export of the inbox that is not recorded yet; without one, end at once.

    Args:
        recipe: a recipe that comes with the package.
        recipe_file: path of your own YAML recipe, used instead.
        inbox: folder whose folders are exports, each holding all that the one before it held.
        workspace: folder that holds pools and artefacts.
        marker: name of the file that the hospital writes into an export last.
        quiet_minutes: an export without marker counts as finished when no file has changed for this long; 0 for never.
        alias: names the champion.
        warm_start: start from the champion's weights instead of random ones.
        public_data: patients of the exports may be named by anybody, as those of simulated and published data are.
        overrides: recipe fields to replace.
    """
    full_recipe = request.find_recipe(recipe_file or recipe, overrides)
    place = Workspace(request.folder_of(workspace))
    with retraining.retrain_lock(place) as alone:
        if not alone:
            return Completed(name="Skipped", message="another retrain runs in this workspace")
        records = retraining.ExportRecords(place)
        exports = retraining.finished_exports(request.folder_of(inbox), marker, quiet_minutes)
        if not (waiting := records.waiting(exports)):
            return Completed(name="NothingNew", message=f"no finished export waits: {records.summary(exports)}")
        return _train_on_newest(full_recipe, place, records, waiting, alias, warm_start, public_data)


def _train_on_newest(
    recipe: Recipe,
    place: Workspace,
    records: retraining.ExportRecords,
    waiting: list[retraining.FinishedExport],
    alias: str,
    warm_start: bool,
    public_data: bool,
) -> State:
    """Retrains on the newest export that is not refused; older ones, which it contains, are superseded."""
    refusals: list[str] = []
    while waiting:
        export = waiting.pop()
        name, record = export.folder.name, records.get(export)
        job = _job(recipe, place, export, record, alias if warm_start else "", public_data)
        record = record.model_copy(update={"tries": record.tries + 1, "warm_start": job.recipe.student.warm_start})
        records.keep(export, record)
        try:
            state = distil.run_stages(job)
        except (KeyboardInterrupt, TerminationSignal):  # whoever stops a retrain does not use up its tries
            records.keep(export, record.model_copy(update={"tries": record.tries - 1}))
            raise
        if state.is_completed():
            summary, is_frozen = _conclude(job, state.result(), export, alias)
            records.keep(export, record.model_copy(update={"state": "trained", "says": summary}))
            for older in waiting:
                records.keep(older, ExportRecord(export=older.folder.name, state="superseded", says=name))
            message = "; ".join([summary, *refusals])
            return Failed(name="Frozen", message=message) if is_frozen else Completed(message=message)
        fault = state.result(raise_on_failure=False)
        if not isinstance(fault, UserError) or isinstance(fault, StoreError | TrainingError):
            return Failed(message=f"{name}, try {record.tries} of {retraining.MAX_TRIES}: {state.message}", data=fault)
        records.keep(export, record.model_copy(update={"state": "refused", "says": str(fault)}))
        refusals.append(f"{name} refused: {fault}")
        create_table_artifact([{"refused": line} for line in refusals], key="retrain-refused")
    return Failed(message=f"{'; '.join(refusals)}; mend it, then renew its marker", data=UserError(refusals[0]))


def _job(
    recipe: Recipe,
    place: Workspace,
    export: retraining.FinishedExport,
    record: ExportRecord,
    alias: str,
    public_data: bool,
) -> Job:
    """The job of one try.

    A try after the first starts from the same student as the first, even if the champion has changed: so its stages
    are reused.
    """
    start = record.warm_start
    if not record.tries and alias and (champion := retraining.champion_of(ArtefactStore(place), alias)):
        start = f"student-{ArtefactStore(place).lineage(champion)['student']}"
    recipe = with_overrides(recipe, [f"student.warm_start={start}"]) if start else recipe
    return request.make_job(recipe, str(export.folder), str(place.root), public_data=public_data)


def _conclude(
    job: Job, artefacts: dict[Stage, Artefact], export: retraining.FinishedExport, alias: str
) -> tuple[str, bool]:
    """Shows what was new, promotes the new student if better: a line on both, and whether that was impossible."""
    rows = retraining.export_growth(job.store, artefacts, retraining.champion_of(job.store, alias))
    decision = retraining.promote_if_better(job.store, artefacts["evaluation"], alias, job.recipe.promotion)
    create_table_artifact(rows, key="retrain-growth", description=f"{export.folder.name}: {decision.line}")
    if decision.labels:
        create_table_artifact(list(decision.labels), key="retrain-labels", description=decision.line)
    new = ", ".join(f"{row['new']} new and {row['reused']} known {row['what']}" for row in rows)
    return f"{export.folder.name}: {new}; {decision.line}", decision.is_frozen
