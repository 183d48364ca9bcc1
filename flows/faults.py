"""A fault that a person can mend ends a flow as a failed state whose message is that one line."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

from prefect.futures import PrefectFuture
from prefect.states import Completed, Failed, State

from echoingecg.common.errors import UserError

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
