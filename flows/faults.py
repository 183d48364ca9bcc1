"""A fault that a person can mend ends a flow as a failed state whose message is that one line.

Runs that died unseen: an automation that marks a run crashed once its heartbeat stays away.

A run whose process and worker are both killed is `Running` for ever otherwise, and holds the one place of
its deployment: nothing scheduled would start again. `echoingecg serve` sees to it; for workers:
`python -m flows.faults`.
"""

from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any, ParamSpec, cast

from prefect.automations import Automation
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.futures import PrefectFuture
from prefect.states import Completed, Failed, State

from echoingecg.common import UserError

NAME = "echoingecg: a run without heartbeat has crashed"
SILENCE = timedelta(minutes=3)  # a server or database that is away for a minute must not cost a run


def watch(silence: timedelta = SILENCE) -> None:
    """Creates the automation on the server at PREFECT_API_URL, or brings it up to date.

    Args:
        silence: after a heartbeat, until the run counts as crashed.
    """
    wanted = Automation(
        name=NAME,
        description="Ships with echoingecg: docs/operations.md, After a fault.",
        trigger=EventTrigger(
            match={"prefect.resource.id": "prefect.flow-run.*"},
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.*"},  # any: the events of final states bear names of our own, such as NothingNew
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=silence,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                message=f"no heartbeat for {silence.total_seconds():.0f} s: the process was killed or the machine is "
                "gone; run it again, it goes on from its last commit",
            )
        ],
    )
    known = _known()
    if known is None:
        wanted.create()
    elif known.trigger != wanted.trigger or not known.enabled:
        wanted.id = known.id
        wanted.update()


def is_watched() -> bool:
    """Whether the server at PREFECT_API_URL has the automation, switched on."""
    known = _known()
    return known is not None and known.enabled


def _known() -> Automation | None:
    try:
        return cast(Automation, Automation.read(name=NAME))  # a coroutine where a loop runs: there is none
    except ValueError:  # none, says Prefect
        return None


if __name__ == "__main__":
    watch()


Parameters = ParamSpec("Parameters")


def one_line_faults(body: Callable[Parameters, State]) -> Callable[Parameters, State]:
    """The body of a flow, its UserError turned into a state; a traceback stays for bugs."""

    @wraps(body)
    def guarded(*args: Parameters.args, **kwargs: Parameters.kwargs) -> State:
        try:
            return body(*args, **kwargs)
        except UserError as fault:
            return Failed(message=str(fault), data=fault)

    return guarded


def last_word(future: PrefectFuture[Any]) -> State:
    """Waits for a flow's last task; how it ended, with its message and what it made, as the run's state."""
    future.wait()
    if not future.state.is_completed():
        return Failed(message=future.state.message, data=future.state.result(raise_on_failure=False))
    return Completed(message=future.state.message, data=future.result())
