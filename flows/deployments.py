"""What can be started from Prefect's UI: one description, served from here or written to prefect.yaml for workers."""

from dataclasses import dataclass
from typing import Any

import yaml
from prefect import Flow, serve
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.events import DeploymentEventTrigger, DeploymentTriggerTypes, TriggerTypes
from prefect.flows import EntrypointType

from flows import distil_on_work_pools, maintenance
from flows.distil import distil, one_stage
from flows.drift import drift
from flows.predict import predict
from flows.prefect_settings import RUN_SETTINGS
from flows.retrain import retrain

TAGS = ["echoingecg"]
_RESOURCE = "echoingecg.export"  # prefix of the event that says that an export has landed
_PLACES = {"workspace": "{{ $ECHOINGECG_WORKSPACE }}", "inbox": "{{ $ECHOINGECG_INBOX }}"}
_HEAD = """\
# Written by `python -m flows.deployments`; a test compares. Deployments for a process worker:
#   for pool in cpu gpu; do prefect work-pool create $pool --type process; done
#   prefect deploy --all; prefect worker start --pool cpu
# `deploy` needs ECHOINGECG_HOME (this folder), ECHOINGECG_WORKSPACE and ECHOINGECG_INBOX set; a worker the first.
"""


@dataclass(frozen=True)
class Described:
    """One deployment.

    Attributes:
        flow: what runs.
        says: one line for the UI's list.
        collision: what happens to a run that comes while another of this deployment goes on.
        cron: when it starts by itself; empty for never.
        event: name of the event that starts it.
        pool: work pool of the machines that run it.
        called: its name, where that is not the flow's.
    """

    flow: Flow[..., Any]
    says: str
    collision: ConcurrencyLimitStrategy = ConcurrencyLimitStrategy.ENQUEUE
    cron: str = ""
    event: str = ""
    pool: str = "cpu"
    called: str = ""

    @property
    def name(self) -> str:
        return self.called or self.flow.name

    def fields(self, values: dict[str, str]) -> dict[str, str]:
        """Those of the values that the flow has a parameter for."""
        return {name: value for name, value in values.items() if name in self.flow.parameters.properties}

    @property
    def limit(self) -> ConcurrencyLimitConfig:
        return ConcurrencyLimitConfig(limit=1, collision_strategy=self.collision)

    @property
    def triggers(self) -> list[DeploymentTriggerTypes | TriggerTypes]:
        if not self.event:
            return []
        return [DeploymentEventTrigger(expect={self.event}, match={"prefect.resource.id": f"{_RESOURCE}.*"})]

    def served(self, defaults: dict[str, str], cron: str = "") -> RunnerDeployment:
        """For `serve`, run in processes of this machine.

        Args:
            defaults: of the forms; those that the flow does not have are left out.
            cron: instead of its own, where it has one.
        """
        return RunnerDeployment.from_flow(
            self.flow,
            name=self.name,
            description=self.says,
            tags=TAGS,
            parameters=self.fields(defaults),
            cron=(cron or self.cron) if self.cron else None,
            triggers=self.triggers,
            concurrency_limit=self.limit,
            entrypoint_type=EntrypointType.MODULE_PATH,
        )

    def written(self) -> dict[str, Any]:
        """As an entry of prefect.yaml, for a worker."""
        module, function = self.flow.fn.__module__, self.flow.fn.__name__
        return {
            "name": self.name,
            "description": self.says,
            "entrypoint": f"{module.replace('.', '/')}.py:{function}",
            "tags": TAGS,
            "parameters": self.fields(_PLACES),
            "schedules": [{"cron": self.cron}] if self.cron else [],
            "triggers": [one.model_dump(mode="json", exclude_defaults=True) for one in self.triggers],
            "concurrency_limit": self.limit.model_dump(mode="json", exclude_none=True),
            "work_pool": {"name": self.pool, "job_variables": {"env": RUN_SETTINGS}},
        }


DEPLOYMENTS = (
    Described(distil, "The whole pipeline: from a hospital export to an evaluated student and its report."),
    Described(one_stage, "One stage alone, on what the stages before it have made."),
    Described(one_stage, "The same on a machine with a GPU.", pool="gpu", called=distil_on_work_pools.GPU_STAGE),
    Described(distil_on_work_pools.spread, "The whole pipeline, each stage on a machine that is made for it."),
    Described(
        retrain,
        "Looks for finished exports, retrains on the newest, lets the new student meet the champion.",
        ConcurrencyLimitStrategy.CANCEL_NEW,
        cron="*/15 * * * *",
        event=f"{_RESOURCE}.landed",
    ),
    Described(predict, "Reads echo findings off ECG files with a published student. Not for clinical use."),
    Described(drift, "Compares a new export with what a student was trained on, and says whether it has drifted."),
    Described(maintenance.verify, "Compares every artefact, and every row in the pools, with its checksum."),
    Described(maintenance.gc, "Lists, or deletes, artefacts that nothing needs and leftovers of killed runs."),
)


def serve_all(defaults: dict[str, str], cron: str = "") -> None:
    """Registers every deployment and runs what is started, until interrupted.

    Args:
        defaults: of the forms, by parameter.
        cron: of the deployment that has a schedule.
    """
    serve(*(one.served(defaults, cron) for one in DEPLOYMENTS))


def prefect_yaml() -> str:
    """The whole prefect.yaml."""
    pull = [{"prefect.deployments.steps.set_working_directory": {"directory": "{{ $ECHOINGECG_HOME }}"}}]
    entries = {"name": "echoingecg", "pull": pull, "deployments": [one.written() for one in DEPLOYMENTS]}
    return _HEAD + yaml.dump(entries, Dumper=_NoAnchors, sort_keys=False, width=120)


class _NoAnchors(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


if __name__ == "__main__":
    print(prefect_yaml(), end="")  # noqa: T201
