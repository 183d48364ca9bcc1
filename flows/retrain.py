"""Retraining on exports as they arrive: one at a time, each once, by a schedule or an event."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from prefect import flow, get_client
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateName,
)
from prefect.events import emit_event
from prefect.exceptions import ObjectNotFound, TerminationSignal
from prefect.runtime import deployment as served_as
from prefect.states import Completed, Failed, State

from data_contracts.conventions import Stage
from data_contracts.monitoring import ExportRecord
from echoingecg.common import StoreError, TrainingError, UserError
from echoingecg.recipe import Recipe, with_overrides
from flows import distil, faults, request, stopping
from tasks import known_exports
from tasks.base.progress import only_shown
from tasks.base.workspace import Workspace
from tasks.operations import retrain as retraining
from tasks.store import Artefact, ArtefactStore, Job

_NOTHING_NEW = "NothingNew"  # state of a run that trained nothing
_IDLE = "no finished export waits"  # start of its message where it found no export
_SET_ASIDE = "SetAside"  # state of a run that leaves an export until its marker is renewed


@flow(name="retrain", flow_run_name="what is new in {inbox}", persist_result=False)
@faults.one_line_faults
@faults.with_lease
def retrain(
    recipe: request.RecipeChoice = "",
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
        recipe: a recipe that comes with the package; empty for recipe_file, or for demo.
        recipe_file: path of your own YAML recipe, instead of recipe.
        inbox: folder whose folders are exports, each holding all that the one before it held.
        workspace: folder that holds pools and artefacts.
        marker: name of the file that the hospital writes into an export last.
        quiet_minutes: an export without marker counts as finished when no file has changed for this long; 0 for never.
        alias: names the champion.
        warm_start: start from the champion's weights instead of random ones.
        public_data: patients of the exports may be named by anybody, as those of simulated and published data are.
        overrides: recipe fields to replace.
    """
    full_recipe = request.find_recipe(request.chosen_recipe(recipe, recipe_file), overrides)
    place = Workspace(request.folder_of(workspace))
    with retraining.retrain_lock(place) as alone:
        if not alone:
            return Completed(name="Skipped", message="another retrain runs in this workspace")
        records = retraining.ExportRecords(place)
        exports = retraining.finished_exports(request.folder_of(inbox), marker, quiet_minutes)
        if not (waiting := records.waiting(exports)):
            only_shown(_delete_idle_runs)
            return Completed(name=_NOTHING_NEW, message=f"{_IDLE}: {records.summary(exports)}")
        job = partial(_job, full_recipe, place, alias if warm_start else "", request.folder_of(inbox), public_data)
        return _train_on_newest(records, waiting, job, alias)


def _delete_idle_runs() -> None:
    """Deletes the earlier runs of this deployment that found no export: the newest says all, and the others fill the
    server's database. Runs that came to anything else stay.
    """
    if not (deployment := served_as.id):
        return
    idle = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[UUID(deployment)]),
        state=FlowRunFilterState(name=FlowRunFilterStateName(any_=[_NOTHING_NEW])),
    )
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_run_filter=idle):
            if run.state is not None and (run.state.message or "").startswith(_IDLE):
                with suppress(ObjectNotFound):  # a person was quicker
                    client.delete_flow_run(run.id)


def _train_on_newest(
    records: retraining.ExportRecords,
    waiting: list[retraining.FinishedExport],
    job_of: Callable[[retraining.FinishedExport, ExportRecord], Job],
    alias: str,
) -> State:
    """Retrains on the newest export that is not refused and brings something; older ones are contained in it."""
    set_aside: list[str] = []
    known: list[str] = []
    while waiting:
        export = waiting.pop()
        name, record = export.folder.name, records.get(export)
        job = job_of(export, record)
        record = record.model_copy(update={"tries": record.tries + 1, "warm_start": job.recipe.student.warm_start})
        records.keep(export, record)
        try:
            brought = _run_stages(job)
        except (KeyboardInterrupt, TerminationSignal):  # whoever stops a retrain does not use up its tries
            with stopping.deaf():  # Ctrl-C at a terminal comes from there and, as SIGTERM, from `serve`
                records.keep(export, record.model_copy(update={"tries": record.tries - 1}))
            raise
        state = brought.state
        if brought.nothing_new:
            known.append(f"{name}: {brought.nothing_new}")
            records.keep(export, record.model_copy(update={"state": "known", "says": brought.nothing_new}))
            continue
        if state.is_completed():
            summary, is_frozen = _conclude(job, brought, export, alias)
            records.keep(export, record.model_copy(update={"state": "trained", "says": summary}))
            for older in waiting:
                records.keep(older, ExportRecord(export=older.folder.name, state="superseded", says=name))
            message = "; ".join([summary, *known, *set_aside])
            return Failed(name="Frozen", message=message) if is_frozen else Completed(message=message)
        fault = state.result(raise_on_failure=False)
        if not isinstance(fault, UserError) or isinstance(fault, StoreError | TrainingError):
            message = f"{name}, try {record.tries} of {retraining.MAX_TRIES}: {state.message}"
            if is_last := record.tries == retraining.MAX_TRIES:
                _say_set_aside(export, message)
            return Failed(name=_SET_ASIDE if is_last else None, message=message, data=fault)
        records.keep(export, record.model_copy(update={"state": "refused", "says": str(fault)}))
        set_aside.append(f"{name} refused: {fault}")
        _say_set_aside(export, set_aside[-1])
        create_table_artifact([{"refused": line} for line in set_aside], key="retrain-refused")
    if not set_aside:
        return Completed(name=_NOTHING_NEW, message="; ".join(known))
    message = f"{'; '.join([*set_aside, *known])}; mend it, then renew its marker"
    return Failed(name=_SET_ASIDE, message=message, data=UserError(set_aside[0]))


def _say_set_aside(export: retraining.FinishedExport, reason: str) -> None:
    """Emits the event that notifications wait for: the run itself may end well, with an older export."""
    resource = {"prefect.resource.id": f"{faults.SET_ASIDE}.{export.mark}", "prefect.resource.name": export.folder.name}
    emit_event(faults.SET_ASIDE, resource, payload={"says": reason})


def _job(
    recipe: Recipe,
    place: Workspace,
    alias: str,
    inbox: Path,
    public_data: bool,
    export: retraining.FinishedExport,
    record: ExportRecord,
) -> Job:
    """The job of one try.

    A try after the first starts from the same student as the first, even if the champion has changed: so its stages
    are reused.
    """
    start = record.warm_start
    if not record.tries and alias and (champion := retraining.champion_of(ArtefactStore(place), alias)):
        start = f"student-{ArtefactStore(place).lineage(champion)['student']}"
    recipe = with_overrides(recipe, [f"student.warm_start={start}"]) if start else recipe
    return request.make_job(recipe, str(export.folder), str(place.root), public_data=public_data, series=str(inbox))


class _Brought(NamedTuple):
    """What the stages made of an export.

    Attributes:
        state: of the stages; its data are the artefacts.
        changed: what the export has lost and gained since the one before.
        built: stages that this run has built.
        nothing_new: why no student was trained; empty where one was.
    """

    state: State
    changed: list[known_exports.Change]
    built: frozenset[str] = frozenset()
    nothing_new: str = ""


def _run_stages(job: Job) -> _Brought:
    """Runs the catalog, and all other stages unless the export holds nothing new."""
    begun = distil.submit_catalog(job)
    if fault := faults.first_fault(list(begun.values())):
        return _Brought(fault, [])
    listed: Artefact = begun["catalog"].result()
    known = known_exports.last(job)
    changed = known_exports.changes(job, known, listed) if known else []
    if known and known_exports.holds_nothing_new(known, listed, changed):
        counts = listed.manifest.counts
        gone = [f"{change.gone} {change.what}" for change in changed if change.gone]
        less = f"; the export before it holds {', '.join(gone)} more" if gone else ""
        line = f"0 new and {counts['ecgs']} known ECGs, 0 new and {counts['echoes']} known echo clips{less}"
        return _Brought(Completed(), changed, nothing_new=f"{line}: nothing to train on")
    submitted = distil.submit_stages(job, begun)
    state = distil.end_of(job, submitted)
    built = frozenset(stage for stage, future in submitted.items() if future.state.name != "Cached")
    return _Brought(state, changed, built)


def _conclude(job: Job, brought: _Brought, export: retraining.FinishedExport, alias: str) -> tuple[str, bool]:
    """Shows what was new, promotes the new student if better: a line on both, and whether that was impossible."""
    artefacts: dict[Stage, Artefact] = brought.state.result()
    champion = retraining.champion_of(job.store, alias)
    rows = retraining.export_growth(job.store, artefacts, brought.built, brought.changed, champion)
    decision = retraining.promote_if_better(job.store, artefacts["evaluation"], alias, job.recipe.promotion)
    create_table_artifact(rows, key="retrain-growth", description=f"{export.folder.name}: {decision.line}")
    if decision.labels:
        create_table_artifact(list(decision.labels), key="retrain-labels", description=decision.line)
    new = ", ".join(_counted(row) for row in rows)
    return f"{export.folder.name}: {new}; {decision.line}", decision.is_frozen


def _counted(row: dict[str, Any]) -> str:
    gone = f" ({row['gone']} gone)" if row["gone"] else ""
    return f"{row['new']} new and {row['known']} known {row['what']}{gone}"
