"""Settings of Prefect that this project relies on. Imports nothing: they must be set before Prefect is imported."""

import os

RUN_SETTINGS = {  # of every process that executes a flow, a worker's too
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # s, the shortest that Prefect accepts; flows/faults.py relies on it
    "PREFECT_CLIENT_MAX_RETRIES": "6",  # two minutes in all, for a server or a database that restarts
    "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500",  # the answer of a server that has lost its database
}
_COMMAND_SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # Prefect's own 20 s are too short on a busy machine
}


def set_defaults() -> None:
    """Sets the environment variables that the user has not set: no telemetry, retries, a short heartbeat."""
    for name, value in (RUN_SETTINGS | _COMMAND_SETTINGS).items():
        os.environ.setdefault(name, value)
