"""What can be started from Prefect's UI: one description, served from here or written to prefect.yaml for workers."""

import asyncio
import signal
from dataclasses import dataclass
from typing import Any

import yaml
from prefect import Flow
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.events import DeploymentEventTrigger, DeploymentTriggerTypes, TriggerTypes
from prefect.flows import EntrypointType
from prefect.runner import Runner

from flows import distil, operations, retrain
from flows.prefect_settings import RUN_SETTINGS

TAGS = ["echoingecg"]
_EXPORT_EVENT = "echoingecg.export"  # prefix of the event that says that an export has arrived
_PLACES = {"workspace": "{{ $ECHOINGECG_WORKSPACE }}", "inbox": "{{ $ECHOINGECG_INBOX }}"}
_HEAD = """\
# Written by `echoingecg deployments`; a test compares. Deployments for a process worker:
#   for pool in cpu gpu; do prefect work-pool create $pool --type process; done
#   prefect deploy --all; prefect worker start --pool cpu
# `deploy` needs ECHOINGECG_HOME (this folder), ECHOINGECG_WORKSPACE and ECHOINGECG_INBOX set; a worker the first.
"""


@dataclass(frozen=True)
class Deployment:
    """One deployment.

    Attributes:
        flow: what runs.
        description: one line for the UI's list.
        collision: what happens to a run that comes while another of this deployment goes on.
        cron: when it starts by itself; empty for never.
        event: name of the event that starts it.
        pool: work pool of the machines that run it.
        own_name: its name, where that is not the flow's.
    """

    flow: Flow[..., Any]
    description: str
    collision: ConcurrencyLimitStrategy = ConcurrencyLimitStrategy.ENQUEUE
    cron: str = ""
    event: str = ""
    pool: str = "cpu"
    own_name: str = ""

    @property
    def name(self) -> str:
        return self.own_name or self.flow.name

    def parameters(self, values: dict[str, str]) -> dict[str, str]:
        """The values that the flow has a parameter for."""
        return {name: value for name, value in values.items() if name in self.flow.parameters.properties}

    @property
    def limit(self) -> ConcurrencyLimitConfig:
        return ConcurrencyLimitConfig(limit=1, collision_strategy=self.collision)

    @property
    def triggers(self) -> list[DeploymentTriggerTypes | TriggerTypes]:
        if not self.event:
            return []
        return [DeploymentEventTrigger(expect={self.event}, match={"prefect.resource.id": f"{_EXPORT_EVENT}.*"})]

    def to_serve(self, defaults: dict[str, str], cron: str = "") -> RunnerDeployment:
        """The deployment for `serve`, which runs it in processes of this machine.

        Args:
            defaults: of the forms; those that the flow does not have are left out.
            cron: used instead of its own schedule, where it has one.
        """
        return RunnerDeployment.from_flow(
            self.flow,
            name=self.name,
            description=self.description,
            tags=TAGS,
            parameters=self.parameters(defaults),
            cron=(cron or self.cron) if self.cron else None,
            triggers=self.triggers,
            concurrency_limit=self.limit,
            entrypoint_type=EntrypointType.MODULE_PATH,
        )

    def yaml_entry(self) -> dict[str, Any]:
        """The deployment's entry in prefect.yaml, for a worker."""
        module, function = self.flow.fn.__module__, self.flow.fn.__name__
        return {
            "name": self.name,
            "description": self.description,
            "entrypoint": f"{module.replace('.', '/')}.py:{function}",
            "tags": TAGS,
            "parameters": self.parameters(_PLACES),
            "schedules": [{"cron": self.cron}] if self.cron else [],
            "triggers": [trigger.model_dump(mode="json", exclude_defaults=True) for trigger in self.triggers],
            "concurrency_limit": self.limit.model_dump(mode="json", exclude_none=True),
            "work_pool": {"name": self.pool, "job_variables": {"env": RUN_SETTINGS}},
        }


DEPLOYMENTS = (
    Deployment(distil.distil, "The whole pipeline: from a hospital export to an evaluated student and its report."),
    Deployment(distil.one_stage, "One stage alone, on what the stages before it have made."),
    Deployment(distil.one_stage, "One stage alone, on a machine with a GPU.", pool="gpu", own_name=distil.GPU_STAGE),
    Deployment(distil.distil_on_work_pools, "The whole pipeline, each stage on a machine that is made for it."),
    Deployment(
        retrain.retrain,
        "Looks for finished exports, retrains on the newest, compares the new student with the champion.",
        ConcurrencyLimitStrategy.CANCEL_NEW,
        cron="*/15 * * * *",
        event=f"{_EXPORT_EVENT}.landed",
    ),
    Deployment(operations.predict, "Reads echo findings off ECG files with a published student. Not for clinical use."),
    Deployment(operations.drift, "Compares a new export with what a student was trained on; says if it has drifted."),
    Deployment(operations.evaluate, "Judges a student on another cohort: its report, and a new card if asked for."),
    Deployment(operations.verify, "Compares every artefact, and every row in the pools, with its checksum."),
    Deployment(operations.gc, "Lists, or deletes, artefacts that nothing needs and leftovers of killed runs."),
)


def serve_all(defaults: dict[str, str], cron: str = "") -> None:
    """Registers every deployment on the server and runs what is started there, until interrupted.

    Args:
        defaults: of the forms, by parameter.
        cron: schedule of the deployment that has one.
    """
    runner = _Runner()
    for deployment in DEPLOYMENTS:
        runner.add_deployment(deployment.to_serve(defaults, cron))
    print(f"serving {', '.join(deployment.name for deployment in DEPLOYMENTS)}; Ctrl-C ends it")  # noqa: T201
    asyncio.run(runner.start())


class _Runner(Runner):
    """Runs deployments until a signal comes, which this process handles as before: Prefect's own way kills the runs."""

    def __init__(self) -> None:
        super().__init__()
        self._on_sigterm = signal.getsignal(signal.SIGTERM)

    def handle_sigterm(self, *args: Any, **kwargs: Any) -> None:
        assert callable(self._on_sigterm)
        self._on_sigterm(signal.SIGTERM, None)


def prefect_yaml() -> str:
    """The content of prefect.yaml."""
    pull = [{"prefect.deployments.steps.set_working_directory": {"directory": "{{ $ECHOINGECG_HOME }}"}}]
    deployments = [deployment.yaml_entry() for deployment in DEPLOYMENTS]
    content = {"name": "echoingecg", "pull": pull, "deployments": deployments}
    return _HEAD + yaml.dump(content, Dumper=_NoAnchors, sort_keys=False, width=120)


class _NoAnchors(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True
