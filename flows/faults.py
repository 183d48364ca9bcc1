"""How runs end badly: a fault that the user can mend is one line, a killed run is marked as crashed, and who is told.

When a run's process and its worker are both killed, Prefect alone shows the run as `Running` for ever. It keeps the one
place of its deployment, so nothing scheduled starts again. An automation on the server ends that: it marks a run as
crashed when its heartbeat stays away. `echoingecg serve` and `echoingecg crashed` create the automation.
"""

import json
import logging
import signal
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from datetime import timedelta
from functools import partial, wraps
from inspect import signature
from typing import Any, ParamSpec, cast
from uuid import UUID

from prefect import get_client
from prefect.automations import Automation, ChangeFlowRunState, EventTrigger, Posture
from prefect.client.schemas.objects import StateType
from prefect.events.actions import CallWebhook, SendNotification
from prefect.exceptions import FailedRun, ObjectNotFound, TerminationSignal
from prefect.futures import PrefectFuture, wait
from prefect.runtime import flow_run
from prefect.states import Completed, Crashed, Failed, State

from echoingecg.common import UserError, running
from flows import stopping
from flows.request import folder_of
from tasks.base.workspace import Workspace
from tasks.store import leases

SET_ASIDE = "echoingecg.export.set-aside"  # event
AUTOMATION = "echoingecg: a run without heartbeat has crashed"
MAX_SILENCE = timedelta(minutes=3)  # a server or database that is away for a minute must not cost a run

Parameters = ParamSpec("Parameters")


def _is_a_bug(record: logging.LogRecord) -> bool:
    """Whether a record of Prefect's engine is worth its traceback: a run that has ended with one line is not.

    Where a deployment runs, Prefect raises the fault once more after the run's state is known, and would show it so.
    """
    fault = record.exc_info[1] if record.exc_info else None
    return not isinstance(fault, UserError | FailedRun)


for name in ("prefect.flow_runs", "prefect.engine"):
    logging.getLogger(name).addFilter(_is_a_bug)


def one_line_faults(body: Callable[Parameters, State]) -> Callable[Parameters, State]:
    """Turns a UserError of a flow's body into a failed state with that one line; a bug keeps its traceback.

    Ctrl-C and SIGTERM ask the stages to stop. Prefect then waits for them, and calls the run crashed, or cancelled
    where it has sent the signal itself.
    """

    @wraps(body)
    def guarded(*args: Parameters.args, **kwargs: Parameters.kwargs) -> State:
        running.forget_stop()
        try:
            return body(*args, **kwargs)
        except UserError as fault:
            return Failed(message=str(fault), data=fault)
        except (KeyboardInterrupt, stopping.Interrupted, TerminationSignal) as end:
            number = signal.SIGTERM if isinstance(end, TerminationSignal) else signal.SIGINT
            stopping.ask_stages_to_stop(number, partial(copy_context().run, _say_crashed, flow_run.id))
            raise

    return guarded


def _say_crashed(run: str | None) -> None:
    """Tells the server that this run has crashed: its process ends before its stages do."""
    if run:
        with suppress(Exception), get_client(sync_client=True) as client:  # the process ends anyhow
            message = "stopped by a signal; a stage was cut off: run it again, it goes on from its last commit"
            client.set_flow_run_state(UUID(run), Crashed(message=message))  # none over Cancelling


def with_lease(body: Callable[Parameters, State]) -> Callable[Parameters, State]:
    """Holds the artefacts that a flow uses in its parameter `workspace`, against `artefacts gc`, until it ends."""
    names = signature(body)

    @wraps(body)
    def holding(*args: Parameters.args, **kwargs: Parameters.kwargs) -> State:
        given = names.bind(*args, **kwargs)
        given.apply_defaults()
        with leases.held(Workspace(folder_of(given.arguments["workspace"]))):
            return body(*args, **kwargs)

    return holding


def first_fault(futures: list[PrefectFuture[Any]]) -> State | None:
    """Waits for all tasks. The state of the first one that failed, in the order given; None if all are well."""
    wait(futures)
    for future in futures:
        if future.state.is_failed() or future.state.is_crashed():
            return Failed(message=future.state.message, data=future.state.result(raise_on_failure=False))
    return None


def final_state(future: PrefectFuture[Any]) -> State:
    """Waits for a flow's last task. The flow's state is that of the task, with its message and result."""
    future.wait()
    if not future.state.is_completed():
        return Failed(message=future.state.message, data=future.state.result(raise_on_failure=False))
    return Completed(message=future.state.message, data=future.result())


def watch_for_crashes(max_silence: timedelta = MAX_SILENCE) -> None:
    """Creates the automation on the server at PREFECT_API_URL, or updates it.

    Args:
        max_silence: time without heartbeat after which a run counts as crashed.
    """
    wanted = Automation(
        name=AUTOMATION,
        description="Ships with echoingecg: docs/operations.md, After a fault.",
        trigger=EventTrigger(
            match={"prefect.resource.id": "prefect.flow-run.*"},
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.*"},  # any event: final states have names of our own, such as NothingNew
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=max_silence,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                message=f"no heartbeat for {max_silence.total_seconds():.0f} s: the process was killed or the machine "
                "is gone; run it again, it goes on from its last commit",
            )
        ],
    )
    existing = _automation(AUTOMATION)
    if existing is None:
        wanted.create()
    elif existing.trigger != wanted.trigger or not existing.enabled:
        wanted.id = existing.id
        wanted.update()


def notify_by(block: str) -> list[str]:
    """Creates, or replaces, the automations on the server at PREFECT_API_URL that send a message by a block.

    Args:
        block: `type/name`, as the UI shows it: any block that notifies, or `webhook/NAME`; empty to send nothing more.

    Returns:
        The automations' names.

    Raises:
        UserError: no such block.
    """
    action = _sender(block) if block else None
    for name, (trigger, body) in _NOTICES.items():
        if (existing := _automation(name)) is not None:
            existing.delete()
        if action is not None:
            description = "Ships with echoingecg: docs/operations.md, Notifications."
            actions = [action(f"echoingecg: {name.removeprefix(_PREFIX)}", body)]
            Automation(name=name, description=description, trigger=trigger, actions=actions).create()
    return list(_NOTICES)


def _sender(block: str) -> Callable[[str, str], SendNotification | CallWebhook]:
    """Makes the action that sends a subject and a body by the block."""
    kind, _, name = block.partition("/")
    with get_client(sync_client=True) as client:
        try:
            document = client.read_block_document_by_name(name, kind)
        except ObjectNotFound as fault:
            raise UserError(
                f"the Prefect server has no block '{block}': write TYPE/NAME, as `prefect block ls` shows it"
            ) from fault
    if kind == "webhook":
        text = '{"subject": %s, "body": {{ body | tojson }}}'
        return lambda subject, body: CallWebhook(
            block_document_id=document.id,
            payload=f"{{% set body %}}{body}{{% endset %}}" + text % json.dumps(subject),
        )
    return lambda subject, body: SendNotification(block_document_id=document.id, subject=subject, body=body)


def _ends(states: tuple[str, ...], *flows: str) -> EventTrigger:
    """Runs of these flows that end in one of these states."""
    return EventTrigger(
        expect={f"prefect.flow-run.{state}" for state in states},
        match={"prefect.resource.id": "prefect.flow-run.*"},
        match_related={"prefect.resource.role": "flow", "prefect.resource.name": list(flows)},
        posture=Posture.Reactive,
        threshold=1,
    )


_PREFIX = "echoingecg: "
_RUN = "{{ flow_run.name }}: {{ flow_run.state.message }}"
_NOTICES = {
    f"{_PREFIX}retrain failed": (_ends(("Failed", "Crashed"), "retrain"), _RUN),
    f"{_PREFIX}champion frozen": (_ends(("Frozen",), "retrain", "promote"), _RUN),
    f"{_PREFIX}drift": (_ends(("Drift",), "drift"), _RUN),
    f"{_PREFIX}export set aside": (
        EventTrigger(expect={SET_ASIDE}, posture=Posture.Reactive, threshold=1),
        "{{ event.payload.says }}",
    ),
}


def is_watched() -> bool:
    """Whether the server at PREFECT_API_URL has the automation, switched on."""
    existing = _automation(AUTOMATION)
    return existing is not None and existing.enabled


def _automation(name: str) -> Automation | None:
    try:
        return cast(Automation, Automation.read(name=name))  # Prefect's types allow a coroutine, too
    except ValueError:  # Prefect's answer when there is none
        return None
