"""What all six stages share: find the version, or build it and publish it."""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from prefect import Task, task
from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, Failed, State
from prefect.variables import Variable

from data_contracts.conventions import UPSTREAM, Stage
from data_contracts.quarantine import QUARANTINE, REASONS
from echoingecg.common import Progress, StoreError, UserError
from tasks.base.progress import Reporter, in_run, logger, only_shown
from tasks.base.workspace import Workspace, writing_to
from tasks.store.artefact import Artefact, Built, Inputs, Plan
from tasks.store.job import Job

ARTEFACTS_URL = "echoingecg_artefacts"  # Prefect variable: where a web server offers <workspace>/artefacts


def _nothing_else(job: Job) -> dict[str, str]:
    return {}


@dataclass(frozen=True)
class StageWork:
    """What a stage is and does, apart from Prefect.

    Attributes:
        stage: its name.
        contract_version: of data_contracts/<stage>.py.
        code_version: of echoingecg/<stage>, raised by hand when results change.
        build: (job, inputs, folder, progress) -> Built; writes the artefact's files into the folder.
        source: what else the version depends on: the export's content, the teacher's weights.
        show: publishes a look at a new artefact to Prefect, inside the task run.
        report: name of the artefact's file that a person opens; Prefect shows a link to it.
    """

    stage: Stage
    contract_version: int
    code_version: int
    build: Callable[[Job, Inputs, Path, Progress], Built]
    source: Callable[[Job], dict[str, str]] = _nothing_else
    show: Callable[[Workspace, Artefact], None] | None = None
    report: str = ""

    def plan(self, job: Job, versions: Mapping[Stage, str]) -> Plan:
        """The version that this recipe and these input versions lead to, whether it exists or not."""
        return Plan(
            stage=self.stage,
            contract_version=self.contract_version,
            code_version=self.code_version,
            recipe=job.recipe.part(self.stage),
            source=self.source(job),
            inputs={stage: versions[stage] for stage in UPSTREAM[self.stage]},
        )

    def run(self, job: Job, inputs: Inputs) -> tuple[Artefact, bool]:
        """The artefact, and whether it was there already.

        Raises:
            StoreError: the version is absent and the job leaves this stage out.
            UserError: whatever else the user can mend.
        """
        plan = self.plan(job, {stage: one.version for stage, one in inputs.items()})
        if (found := self._found(job, plan)) is not None:
            return found, True
        if self.stage not in job.build:
            raise StoreError(
                f"{self.stage}-{plan.version} is not there and this run leaves '{self.stage}' out: "
                f"add it to --only, or run without --only"
            )
        from tasks.pools.pool import Pool  # Icechunk and Zarr: not for a cached run

        with job.store.locked(plan):
            if (found := self._found(job, plan)) is not None:  # another run has built it while this one waited
                return found, True
            started = time.monotonic()
            with job.store.building(plan) as folder:
                built = self.build(job, inputs, folder, Reporter(self.stage))
                pa.default_memory_pool().release_unused()  # Arrow keeps what a stage's tables took
                artefact = job.store.publish(plan, folder, built, started, Pool.read)
            # Not before it is published: a checkpoint may be days of work.
            shutil.rmtree(job.workspace.scratch(self.stage, plan.version), ignore_errors=True)
            return artefact, False

    def _found(self, job: Job, plan: Plan) -> Artefact | None:
        return None if self.stage in job.redo else job.store.find(plan.stage, plan.version)


def as_task(work: StageWork) -> Task[..., Any]:
    """The stage as a Prefect task: `task.submit(job, catalog=..., ecg=...)`.

    A version that exists shows as `Cached`. A fault the user can mend becomes a failed state whose
    message is that one line; other exceptions keep their traceback.
    """

    @task(name=work.stage, task_run_name=work.stage, cache_policy=NO_CACHE, persist_result=False)
    def stage(job: Job, **inputs: Artefact) -> State:
        if work.stage not in job.needed:
            return Completed(name="Skipped", message="not asked for", data=None)
        try:
            artefact, cached = work.run(job, {name: inputs[name] for name in UPSTREAM[work.stage]})
        except UserError as fault:
            return Failed(message=str(fault), data=fault)
        counts = ", ".join(f"{count} {name}" for name, count in artefact.manifest.counts.items())
        only_shown(lambda: _show(job.workspace, work, artefact, cached))
        if cached:
            return Completed(name="Cached", message=f"{artefact}: {counts}", data=artefact)
        return Completed(message=f"{artefact}: {counts}", data=artefact)

    return stage


def check_refusals(job: Job, stage: Stage, quarantine: pa.Table, tried: int, limit: float) -> None:
    """Fails the stage when too many records were refused; the quarantine table is kept beside the error.

    Args:
        quarantine: QUARANTINE table.
        tried: records looked at, refused ones included.
        limit: largest share of refusals that the recipe allows.

    Raises:
        UserError: share, limit, the commonest reasons and where the table is.
    """
    refused = quarantine.num_rows
    if not tried or refused / tried <= limit:
        return
    folder = job.workspace.root / "scratch" / stage
    with writing_to(job.workspace.root):
        folder.mkdir(parents=True, exist_ok=True)
        QUARANTINE.write(quarantine, folder)
    common = Counter(quarantine["reason"].to_pylist()).most_common(3)
    reasons = ", ".join(f"{count} {reason} ({REASONS[reason]})" for reason, count in common)
    raise UserError(
        f"{stage}: {refused} of {tried} refused, over the recipe's {stage}.max_refused_share={limit}: {reasons}; "
        f"all rows in {folder / QUARANTINE.filename}"
    )


def _show(workspace: Workspace, work: StageWork, artefact: Artefact, cached: bool) -> None:
    """What Prefect shows of a stage: its result, a link to its report, a look at what is new."""
    _table(artefact, cached)
    if work.report:
        _link(artefact, work.report)
    if work.show is not None and not cached:
        work.show(workspace, artefact)


def _table(artefact: Artefact, cached: bool) -> None:
    """The result as a Prefect table artifact, and refusals in the log."""
    manifest = artefact.manifest
    path = artefact.folder / QUARANTINE.filename
    reasons = Counter(pq.read_table(path, columns=["reason"])["reason"].to_pylist()) if path.is_file() else Counter()
    for reason, count in sorted(reasons.items()):
        logger().info(f"{artefact.stage}: refused {count}: {REASONS[reason]}")
    if not in_run():
        return
    rows: list[dict[str, Any]] = [{"what": "version", "value": str(artefact)}]
    rows += [{"what": "made", "value": "reused" if cached else f"in {manifest.run.seconds:.1f} s"}]
    rows += [{"what": name, "value": count} for name, count in manifest.counts.items()]
    rows += [{"what": f"refused: {reason}", "value": count} for reason, count in sorted(reasons.items())]
    rows += [{"what": f"from {stage}", "value": version} for stage, version in manifest.inputs.items()]
    create_table_artifact(
        rows, key=f"{artefact.stage}-result", description=f"{artefact}, {'reused' if cached else 'made'}"
    )


def _link(artefact: Artefact, report: str) -> None:
    """A Prefect link artifact: to the web server that offers the artefacts, or to the file where there is none."""
    if (base := str(Variable.get(ARTEFACTS_URL, default=""))).startswith(("http://", "https://")):
        link = f"{base.rstrip('/')}/{artefact.stage}/{artefact.version}/{report}"
    else:
        link = (artefact.folder / report).as_uri()
    create_link_artifact(link, f"report of {artefact}", key=f"{artefact.stage}-report", description=link)
