"""Settings of Prefect that this project relies on. They must be set before Prefect is imported."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

RUN_SETTINGS = {  # of every process that executes a flow, a worker's too
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # s, the shortest that Prefect accepts; flows/faults.py relies on it
    "PREFECT_CLIENT_MAX_RETRIES": "6",  # two minutes in all, for a server or a database that restarts
    "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500",  # the answer of a server that has lost its database
}
_COMMAND_SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1",  # Prefect's own default is every interface
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # Prefect's own 20 s are too short on a busy machine
}


def set_defaults() -> None:
    """Sets the environment variables that the user has not set: no telemetry, retries, a short heartbeat."""
    for name, value in (RUN_SETTINGS | _COMMAND_SETTINGS).items():
        os.environ.setdefault(name, value)


@contextmanager
def own_server_locked() -> Iterator[None]:
    """Gives the server that Prefect starts for a run a random password, where PREFECT_API_URL names no other server.

    It listens on loopback: without a password every user of the machine could read the run's parameters and results.
    """
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, PREFECT_SERVER_API_AUTH_STRING
    from prefect.settings import temporary_settings as with_settings

    if PREFECT_API_URL.value():
        yield
        return
    password = f"run:{secrets.token_urlsafe(32)}"
    with with_settings({PREFECT_API_AUTH_STRING: password, PREFECT_SERVER_API_AUTH_STRING: password}):
        yield
