"""Settings of Prefect that this project relies on, logs as JSON among them. Set before Prefect is imported."""

import json
import logging
import os
import sys
from datetime import UTC, datetime
from types import TracebackType

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

JSON_LOGS = "ECHOINGECG_JSON_LOGS"  # environment variable


class JsonLines(logging.Formatter):
    """Formats a log record as one JSON object on one line.

    Fields: time (UTC, ISO 8601), level, logger, message; in a Prefect run flow, flow_run and task_run, by name, and
    flow_run_id; with an exception, traceback.

    Args:
        fmt: and all others are ignored; logging.config passes them.
    """

    def __init__(self, fmt: str = "", datefmt: str = "", style: str = "%") -> None:
        super().__init__()

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        of_prefect = {"flow": "flow_name", "flow_run": "flow_run_name", "task_run": "task_run_name"}
        for name, attribute in {**of_prefect, "flow_run_id": "flow_run_id"}.items():
            if value := getattr(record, attribute, None):
                line[name] = str(value)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def log_as_json() -> None:
    """Makes this process, and those that it starts, write logs, warnings and errors as JSON lines to stderr."""
    os.environ[JSON_LOGS] = "1"
    os.environ["PREFECT_LOGGING_FORMATTERS_JSON_CLASS"] = f"{JsonLines.__module__}.{JsonLines.__name__}"
    os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_FORMATTER"] = "json"
    os.environ["PREFECT_LOGGING_COLORS"] = "false"
    logging.captureWarnings(True)
    sys.excepthook = _bug


def logs_as_json() -> bool:
    """Whether stderr is for JSON lines."""
    return bool(os.environ.get(JSON_LOGS))


def json_line(message: str, level: int = logging.INFO) -> str:
    """A message of a command as a line of the log."""
    return JsonLines().format(logging.LogRecord("echoingecg", level, "", 0, message, None, None))


def _bug(kind: type[BaseException], fault: BaseException, trace: TracebackType | None) -> None:
    record = logging.LogRecord("echoingecg", logging.CRITICAL, "", 0, f"{kind.__name__}: {fault}", None, None)
    record.exc_info = (kind, fault, trace)
    print(JsonLines().format(record), file=sys.stderr)  # noqa: T201


def set_defaults() -> None:
    """Sets the environment variables that the user has not set: no telemetry, retries, a short heartbeat."""
    for name, value in (RUN_SETTINGS | _COMMAND_SETTINGS).items():
        os.environ.setdefault(name, value)
