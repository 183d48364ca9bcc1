"""Prefect's settings as this project wants them, as environment variables; whoever sets one has the last word."""

from typing import Final

QUIET: Final = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
RUNS: Final = {
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # s, the least that Prefect takes; flows/crashed.py counts on it
    "PREFECT_CLIENT_MAX_RETRIES": "6",  # two minutes in all, for a server or a database that restarts
    "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500",  # what a server says whose database is away
}
OWN_SERVER: Final = {"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120"}  # s; Prefect's 20 fail a busy machine
