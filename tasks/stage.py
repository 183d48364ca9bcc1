"""What all six stages share: find the version, or build it and publish it; and what Prefect shows of it."""

import base64
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from prefect import Task, artifacts
from prefect.variables import Variable

from data_contracts import conventions, quarantine
from echoingecg.common import Progress, StoreError, UserError
from tasks.base import progress
from tasks.base.workspace import Workspace, is_s3, writing_to
from tasks.store import Artefact, Built, Inputs, Job, Plan, results_of, seals

ARTEFACTS_URL = "echoingecg_artefacts"  # Prefect variable: where a web server offers <workspace>/artefacts


@dataclass(frozen=True)
class StageWork:
    """What a stage is and does, apart from Prefect.

    Attributes:
        stage: its name.
        contract_version: of data_contracts/<stage>.py.
        code_version: of echoingecg/<stage>, raised by hand when results change.
        build: (job, inputs, folder, progress) -> Built; writes the artefact's files into the folder.
        source: what else the version depends on, such as the export's content or the teacher's weights.
        show: (job, inputs, artefact), for a new artefact: publishes pictures and tables to Prefect, inside the task
            run, and warns.
        report: name of the artefact's file that a person opens; Prefect shows a link to it.
        check: (job, inputs, artefact), in a run, for a new artefact and for one that was there; raises UserError where
            the stages after it would work in vain.
        track: (job, inputs, artefact), in a run, for a new artefact and for one that was there: tells the tracker.
    """

    stage: conventions.Stage
    contract_version: int
    code_version: int
    build: Callable[[Job, Inputs, Path, Progress], Built]
    source: Callable[[Job], dict[str, str]] = lambda job: {}
    show: Callable[[Job, Inputs, Artefact], None] | None = None
    report: str = ""
    check: Callable[[Job, Inputs, Artefact], None] | None = None
    track: Callable[[Job, Inputs, Artefact], None] | None = None

    def plan(self, job: Job, versions: Mapping[conventions.Stage, str]) -> Plan:
        """The version that this recipe and these input versions lead to, whether it exists or not."""
        return Plan(
            stage=self.stage,
            contract_version=self.contract_version,
            code_version=self.code_version,
            recipe=job.recipe.part(self.stage),
            source=self.source(job),
            inputs={stage: versions[stage] for stage in conventions.UPSTREAM[self.stage]},
        )

    def run(self, job: Job, inputs: Inputs) -> tuple[Artefact, bool]:
        """The artefact, and whether it existed before.

        Raises:
            StoreError: the version does not exist and the job may not build this stage.
            UserError: another fault that the user can mend.
        """
        plan = self.plan(job, {stage: artefact.version for stage, artefact in inputs.items()})
        if (existing := self._existing(job, plan)) is not None:
            return existing, True
        if self.stage not in job.build:
            raise StoreError(
                f"{self.stage}-{plan.version} is not there and this run leaves '{self.stage}' out: "
                f"add it to --only, or run without --only"
            )
        from tasks.pools import Pool  # Icechunk and Zarr: not for a cached run

        with job.store.locked(plan):
            if (existing := self._existing(job, plan)) is not None:  # another run has built it while this one waited
                return existing, True
            started = time.monotonic()
            with job.store.building(plan) as folder:
                built = self.build(job, inputs, folder, progress.Reporter(self.stage))
                pa.default_memory_pool().release_unused()  # Arrow keeps the memory of a stage's tables
                artefact = job.store.publish(plan, folder, built, started, Pool.read)
            # Only after it is published: a checkpoint may be days of work.
            shutil.rmtree(job.workspace.scratch(self.stage, plan.version), ignore_errors=True)
            return artefact, False

    def _existing(self, job: Job, plan: Plan) -> Artefact | None:
        """The published version; None where it is to be built, as when files of it or of its pool are lost."""
        if self.stage in job.redo or (artefact := job.store.find(plan.stage, plan.version)) is None:
            return None
        if not (loss := artefact.loss() or _loss_of_pool(job.workspace, artefact)):
            return artefact
        if self.stage not in job.build:
            raise StoreError(f"{loss}: add '{self.stage}' to --only, or run without --only: it is made again")
        progress.logger().warning(f"{loss}: making it again")
        return None


def _loss_of_pool(workspace: Workspace, artefact: Artefact) -> str:
    pool = artefact.manifest.run.pool
    if pool is None or is_s3(pool.path):
        return ""
    fault = seals.loss_of(workspace, pool.path)
    return f"{artefact}: its pool {pool.path} {fault}" if fault else ""


def as_task(work: StageWork) -> Task[..., Any]:
    """The stage as a Prefect task: `task.submit(job, catalog=..., ecg=...)`. An existing version shows as `Cached`."""

    def stage(job: Job, **inputs: Artefact) -> progress.Outcome:
        if work.stage not in job.needed:
            return progress.Outcome("not asked for", name="Skipped")
        used = {name: inputs[name] for name in conventions.UPSTREAM[work.stage]}
        artefact, is_cached = work.run(job, used)
        counts = ", ".join(f"{count} {name}" for name, count in artefact.manifest.counts.items())
        progress.only_shown(lambda: _show(job, used, work, artefact, is_cached))
        if work.track is not None:
            work.track(job, used, artefact)
        if work.check is not None:
            work.check(job, used, artefact)
        return progress.Outcome(f"{artefact}: {counts}", artefact, "Cached" if is_cached else None)

    return progress.as_task(work.stage, stage)


def check_refusals(
    job: Job,
    stage: conventions.Stage,
    refusals: pa.Table,
    tried: int,
    limit: float,
    kind: str = "",
    of_kind: int | None = None,
) -> None:
    """Fails the stage when the share of refused records is over the limit; keeps the quarantine table for the user.

    Args:
        refusals: quarantine table.
        tried: records processed, refused ones included.
        limit: largest share of refusals that the recipe allows.
        kind: what is counted, such as `ECGs`, where the table holds more than that.
        of_kind: number of refused records of that kind; all rows of the table by default.

    Raises:
        UserError: names the share, the limit, the commonest reasons and the table's path.
    """
    refused = refusals.num_rows if of_kind is None else of_kind
    if not tried or refused / tried <= limit:
        return
    folder = job.workspace.root / "scratch" / stage
    with writing_to(job.workspace.root):
        folder.mkdir(parents=True, exist_ok=True)
        quarantine.QUARANTINE.write(refusals, folder)
    common = Counter(refusals["reason"].to_pylist()).most_common(3)
    reasons = ", ".join(f"{count} {reason} ({quarantine.REASONS[reason]})" for reason, count in common)
    raise UserError(
        f"{stage}: {refused} of {tried} {f'{kind} ' if kind else ''}refused, over the recipe's "
        f"{stage}.max_refused_share={limit}: {reasons}; all rows in {folder / quarantine.QUARANTINE.filename}"
    )


def reasons_of(artefact: Artefact) -> Counter[str]:
    """How often each reason stands in an artefact's quarantine table; empty for a stage without one."""
    if quarantine.QUARANTINE.filename not in artefact.manifest.files:
        return Counter()
    return Counter(quarantine.QUARANTINE.read(artefact.folder)["reason"].to_pylist())


def show_samples(artefact: Artefact, what: str, lines: list[str]) -> None:
    """Publishes an artefact's refusals by reason, and a page of samples, to Prefect. Needs a task run.

    Args:
        what: the table's name for records, such as `ECGs`.
        lines: of the page, in Markdown.
    """
    reasons = reasons_of(artefact)
    artifacts.create_table_artifact(
        [
            {"reason": reason, "meaning": quarantine.REASONS[reason], what: count}
            for reason, count in reasons.most_common()
        ],
        key=f"{artefact.stage}-refusals",
        description=f"{artefact}: {reasons.total()} refused",
    )
    artifacts.create_markdown_artifact(
        "\n".join(lines), key=f"{artefact.stage}-samples", description=f"{artefact}: samples"
    )


def png_in_markdown(text: str, png: bytes) -> str:
    """A picture as Markdown that needs no file beside it."""
    return f"![{text}](data:image/png;base64,{base64.b64encode(png).decode('ascii')})"


def _show(job: Job, inputs: Inputs, work: StageWork, artefact: Artefact, is_cached: bool) -> None:
    """Shows the result, a link to the report, and samples of a new artefact in Prefect; refusals in the log."""
    reasons = sorted(reasons_of(artefact).items())
    for reason, count in reasons:
        progress.logger().info(f"{artefact.stage}: refused {count}: {quarantine.REASONS[reason]}")
    if progress.in_run():
        manifest = artefact.manifest
        rows: list[dict[str, Any]] = [{"what": "version", "value": str(artefact)}]
        rows += [{"what": "made", "value": "reused" if is_cached else f"in {manifest.run.seconds:.1f} s"}]
        rows += [{"what": name, "value": count} for name, count in manifest.counts.items()]
        rows += [{"what": name, "value": value} for name, value in results_of(artefact).items()]
        rows += [{"what": f"refused: {reason}", "value": count} for reason, count in reasons]
        rows += [{"what": f"from {stage}", "value": version} for stage, version in manifest.inputs.items()]
        description = f"{artefact}, {'reused' if is_cached else 'made'}"
        artifacts.create_table_artifact(rows, key=f"{artefact.stage}-result", description=description)
    if work.report:
        link = link_to(artefact, work.report)
        artifacts.create_link_artifact(link, f"report of {artefact}", key=f"{artefact.stage}-report", description=link)
    if work.show is not None and not is_cached:
        work.show(job, inputs, artefact)


def link_to(artefact: Artefact, report: str) -> str:
    """Address of the report: on the web server that offers the artefacts, or of the file where there is none."""
    if (base := str(Variable.get(ARTEFACTS_URL, default=""))).startswith(("http://", "https://")):
        return f"{base.rstrip('/')}/{artefact.stage}/{artefact.version}/{report}"
    return (artefact.folder / report).as_uri()
