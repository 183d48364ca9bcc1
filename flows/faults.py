"""A fault that a person can mend ends a flow as a failed state whose message is that one line."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from prefect.states import Failed, State

from echoingecg.errors import UserError

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
