"""What can be started from Prefect's UI: one description, served from here or written to prefect.yaml for workers."""

from dataclasses import dataclass
from typing import Any, Final

import yaml
from prefect import Flow, serve
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.events import DeploymentEventTrigger, DeploymentTriggerTypes, TriggerTypes
from prefect.flows import EntrypointType

from flows.distil import distil
from flows.drift import drift
from flows.predict import predict
from flows.retrain import retrain
from flows.stage import one_stage
from flows.upkeep import gc, verify

TAGS: Final = ["echoingecg"]
_RESOURCE: Final = "echoingecg.export"  # prefix of the event that says that an export has landed
_HEAD: Final = """\
# Written by `python -m flows.deployments`; a test compares. Deployments for a process worker:
#   prefect work-pool create cpu --type process; ECHOINGECG_HOME=$PWD prefect deploy --all; prefect worker start -p cpu
"""


@dataclass(frozen=True)
class Described:
    """One deployment.

    Attributes:
        flow: what runs; the deployment has its name.
        says: one line for the UI's list.
        collision: what happens to a run that comes while another of this deployment goes on.
        cron: when it starts by itself; empty for never.
        event: name of the event that starts it.
    """

    flow: Flow[..., Any]
    says: str
    collision: ConcurrencyLimitStrategy = ConcurrencyLimitStrategy.ENQUEUE
    cron: str = ""
    event: str = ""

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
            name=self.flow.name,
            description=self.says,
            tags=TAGS,
            parameters={name: value for name, value in defaults.items() if name in self.flow.parameters.properties},
            cron=(cron or self.cron) if self.cron else None,
            triggers=self.triggers,
            concurrency_limit=self.limit,
            entrypoint_type=EntrypointType.MODULE_PATH,
        )

    def written(self) -> dict[str, Any]:
        """As an entry of prefect.yaml, for a worker."""
        module, function = self.flow.fn.__module__, self.flow.fn.__name__
        return {
            "name": self.flow.name,
            "description": self.says,
            "entrypoint": f"{module.replace('.', '/')}.py:{function}",
            "tags": TAGS,
            "schedules": [{"cron": self.cron}] if self.cron else [],
            "triggers": [one.model_dump(mode="json", exclude_defaults=True) for one in self.triggers],
            "concurrency_limit": self.limit.model_dump(mode="json", exclude_none=True),
            "work_pool": {"name": "cpu"},
        }


DEPLOYMENTS: Final = (
    Described(distil, "The whole pipeline: from a hospital export to an evaluated student and its report."),
    Described(one_stage, "One stage alone, on what the stages before it have made."),
    Described(
        retrain,
        "Looks for finished exports, retrains on the newest, lets the new student meet the champion.",
        ConcurrencyLimitStrategy.CANCEL_NEW,
        cron="*/15 * * * *",
        event=f"{_RESOURCE}.landed",
    ),
    Described(predict, "Reads echo findings off ECG files with a published student. Not for clinical use."),
    Described(drift, "Compares a new export with what a student was trained on, and says whether it has drifted."),
    Described(verify, "Compares every artefact, and every row in the pools, with its checksum."),
    Described(gc, "Lists, or deletes, artefacts that nothing needs and leftovers of killed runs."),
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
