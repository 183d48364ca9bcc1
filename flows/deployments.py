"""What can be started from Prefect's UI: one description, served from here or written to prefect.yaml for workers."""

import asyncio
import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml
from prefect import Flow, get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.events import DeploymentEventTrigger, DeploymentTriggerTypes, TriggerTypes
from prefect.exceptions import ObjectNotFound
from prefect.flows import EntrypointType
from prefect.runner import Runner
from prefect.variables import Variable
from prefect.workers.process import ProcessWorker

from echoingecg.common import UserError
from flows import distil, operations, retrain
from flows.prefect_settings import RUN_SETTINGS

TAGS = ["echoingecg"]
_EXPORT_EVENT = "echoingecg.export"  # prefix of the event that says that an export has arrived
_SCHEDULE = "looks"  # slug: Prefect knows a schedule by it, and leaves it paused where a person has paused it
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_SERVING = "echoingecg_serving"  # Prefect variable: which `serve` runs the deployments
_ENDED = {"ended": True}
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_OTHER_POLLS_SECONDS = 25.0  # a live `serve` on another machine asks for runs every 10 s
_PLACES = {"workspace": "{{ $ECHOINGECG_WORKSPACE }}", "inbox": "{{ $ECHOINGECG_INBOX }}"}
_HEAD = """\
# Written by `echoingecg deployments`; a test compares. Deployments for a process worker:
#   for pool in cpu gpu; do prefect work-pool create $pool --type process; done
#   prefect deploy --all; echoingecg worker cpu
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

    def served_name(self, place: str) -> str:
        """Its name where `serve` is called so."""
        return f"{self.name}-{place}" if place else self.name

    def to_serve(self, defaults: dict[str, str], cron: str = "", place: str = "") -> RunnerDeployment:
        """The deployment for `serve`, which runs it in processes of this machine.

        Args:
            defaults: of the forms; those that the flow does not have are left out.
            cron: used instead of its own schedule, where it has one.
            place: what this `serve` is called; empty for the only one of a server.
        """
        deployment = RunnerDeployment.from_flow(
            self.flow,
            name=self.served_name(place),
            description=self.description,
            tags=TAGS,
            parameters=self.parameters(defaults),
            triggers=self.triggers,
            concurrency_limit=self.limit,
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        if self.cron:  # whether it is active is left to the server
            schedule = CronSchedule(cron=cron or self.cron)
            deployment.schedules = [DeploymentScheduleCreate(schedule=schedule, slug=_SCHEDULE)]
        return deployment

    def yaml_entry(self) -> dict[str, Any]:
        """The deployment's entry in prefect.yaml, for a worker."""
        module, function = self.flow.fn.__module__, self.flow.fn.__name__
        step = {f"{__name__}.{keep_pause.__name__}": {"deployment": f"{self.flow.name}/{self.name}"}}
        return {
            "name": self.name,
            "description": self.description,
            **({"build": [step]} if self.cron else {}),
            "entrypoint": f"{module.replace('.', '/')}.py:{function}",
            "tags": TAGS,
            "parameters": self.parameters(_PLACES),
            "schedules": [{"cron": self.cron, "slug": _SCHEDULE}] if self.cron else [],
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
        cron="0 * * * *",
        event=f"{_EXPORT_EVENT}.landed",
    ),
    Deployment(operations.predict, "Reads echo findings off ECG files with a published student. Not for clinical use."),
    Deployment(operations.drift, "Compares a new export with what a student was trained on; says if it has drifted."),
    Deployment(operations.evaluate, "Judges a student on another cohort: its report, and a new card if asked for."),
    Deployment(operations.compare, "Compares two or more students on the test labels that they share, with a figure."),
    Deployment(operations.promote, "Compares two students on the same test patients; moves the alias to the better."),
    Deployment(operations.rollback, "Points an alias at what it named before."),
    Deployment(operations.verify, "Compares every artefact, and every row in the pools, with its checksum."),
    Deployment(operations.gc, "Lists, or deletes, artefacts that nothing needs and leftovers of killed runs."),
)


def serve_all(defaults: dict[str, str], cron: str = "", place: str = "") -> None:
    """Registers every deployment on the server and runs what is started there, until interrupted.

    Args:
        defaults: of the forms, by parameter.
        cron: schedule of the deployment that has one.
        place: what this `serve` is called, where the server has several.

    Raises:
        UserError: not a name, or another `serve` of that name lives.
    """
    if place and not _NAME.fullmatch(place):
        raise UserError(f"--name '{place}': write small letters, digits and dashes, 40 at most")
    with _claimed(place):
        runner = _Runner()
        for deployment in DEPLOYMENTS:
            runner.add_deployment(deployment.to_serve(defaults, cron, place))
        names = ", ".join(deployment.served_name(place) for deployment in DEPLOYMENTS)
        print(f"serving {names}; Ctrl-C ends it")  # noqa: T201
        asyncio.run(runner.start())


def run_worker(pool: str, limit: int, is_probed: bool) -> None:
    """Runs what is started in a work pool, until interrupted.

    Prefect's own command ends before its runs when it is stopped, so that the server shows them as running.

    Args:
        pool: of the type `process`; made if it is not there.
        limit: runs at once; 0 for any number.
        is_probed: offer a page that says whether the worker still asks for runs.
    """
    worker = ProcessWorker(work_pool_name=pool, limit=limit or None)
    asyncio.run(worker.start(with_healthcheck=is_probed))


@contextmanager
def _claimed(place: str) -> Iterator[None]:
    """Holds the names of the deployments on the server, by a Prefect variable, against another `serve`.

    A `serve` that ends pauses its deployments and says so in the variable. A killed one leaves it as it was: what
    is paused then, a person has paused.

    Raises:
        UserError: another `serve` of that name lives.
    """
    name = f"{_SERVING}_{place.replace('-', '_')}" if place else _SERVING
    left = Variable.get(name)
    if isinstance(left, dict) and left != _ENDED:
        if _lives(left, place):
            raise UserError(
                f"another `serve` runs these deployments on this server (process {left.get('process')} on "
                f"{left.get('host')}): stop it, or give this one a --name"
            )
        for deployment in _scheduled(place):
            _keep_pause(deployment)
    Variable.set(name, _myself(), overwrite=True)
    try:
        yield
    finally:
        for deployment in _scheduled(place):
            _pause(deployment)
        Variable.set(name, _ENDED, overwrite=True)


def _scheduled(place: str) -> list[str]:
    """Deployments that start by a schedule, `flow/name`."""
    return [f"{each.flow.name}/{each.served_name(place)}" for each in DEPLOYMENTS if each.cron]


def _pause(deployment: str) -> None:
    """Pauses a deployment that nobody serves any more, so that no runs pile up; a pause of a person's is kept apart."""
    _keep_pause(deployment)
    with get_client(sync_client=True) as client:
        if (existing := _read(client, deployment)) is not None:
            client.pause_deployment(existing.id)


def _myself() -> dict[str, Any]:
    process = psutil.Process()
    return {**_machine(), "process": process.pid, "started": process.create_time()}


def _machine() -> dict[str, Any]:
    return {"host": socket.gethostname(), "boot": _BOOT.read_text().strip() if _BOOT.is_file() else ""}


def _lives(other: dict[str, Any], place: str) -> bool:
    """Whether a `serve` lives: on this machine its process, on another one it asks the server for runs."""
    if all(other.get(what) == value for what, value in _machine().items()):
        try:
            return bool(psutil.Process(other["process"]).create_time() == other["started"])
        except psutil.NoSuchProcess:
            return False
    deployment = DEPLOYMENTS[0]
    name = f"{deployment.flow.name}/{deployment.served_name(place)}"
    with get_client(sync_client=True) as client:
        first, end = _read(client, name), time.monotonic() + _OTHER_POLLS_SECONDS
        while first is not None and time.monotonic() < end:
            time.sleep(1)
            now = _read(client, name)
            if now is not None and now.last_polled != first.last_polled:
                return True
    return False


def _read(client: SyncPrefectClient, name: str) -> DeploymentResponse | None:
    try:
        return client.read_deployment_by_name(name)
    except ObjectNotFound:
        return None


def keep_pause(deployment: str) -> None:
    """Keeps a pause of a person's, which `prefect deploy` would lift: the first step of a deployment with a schedule.

    Args:
        deployment: `flow/name`; it need not be there.
    """
    if Variable.get(_SERVING) == _ENDED:  # the pause is that of a `serve` that has ended
        Variable.unset(_SERVING)
    else:
        _keep_pause(deployment)


def _keep_pause(deployment: str) -> None:
    """Pauses the schedules of a deployment that is paused as a whole: registering it again lifts the latter alone."""
    with get_client(sync_client=True) as client:
        existing = _read(client, deployment)
        if existing is None or not existing.paused:
            return
        for schedule in existing.schedules:
            client.update_deployment_schedule(existing.id, schedule.id, active=False)


class _Runner(Runner):
    """Runs deployments until a signal comes, which this process handles as before: Prefect's own way kills the runs."""

    def __init__(self) -> None:
        super().__init__(pause_on_shutdown=False)
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
