"""The Prefect server that a run starts for itself, where none is named."""

import atexit
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

from data_contracts.conventions import UserError

_SERVER_SETTINGS = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
_SERVER_ARGUMENTS = (
    *("--factory", "prefect.server.api.server:create_app", "--host", "127.0.0.1"),
    *("--log-level", "error", "--lifespan", "on"),
)
_SERVER_CODE = """
import os, runpy, sys, threading
threading.Thread(target=lambda: (sys.stdin.buffer.read(), os._exit(0)), daemon=True).start()
runpy.run_module("uvicorn", run_name="__main__", alter_sys=True)
"""  # what it reads ends when its parent does
_POLL_SECONDS = 0.05


def start() -> Callable[[], None]:
    """Starts a Prefect server for this process, where neither the environment nor a profile names one.

    It listens on loopback and has a random password: without one every user of the machine could read the run's
    parameters and results. It has a session of its own, so that Ctrl-C at a terminal does not end it before the run
    could tell it how it ended. It ends with this process, even if that is killed.

    Prefect would start one as well, but later, and it imports the server into the run's own process for that.

    Returns:
        what waits until the server answers, from where on Prefect uses it. The caller imports its flow in between.
    """
    from prefect.settings import PREFECT_API_AUTH_STRING as PASSWORD
    from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_ALLOW_EPHEMERAL_MODE, get_current_settings
    from prefect.settings import PREFECT_SERVER_API_AUTH_STRING as SERVER_PASSWORD
    from prefect.settings import temporary_settings as with_settings

    if PREFECT_API_URL.value() or not PREFECT_SERVER_ALLOW_EPHEMERAL_MODE.value():
        return lambda: None
    kept = ExitStack()
    atexit.register(
        kept.close
    )  # after Prefect's own work at the end, which is registered later and sends the last logs
    password = f"run:{secrets.token_urlsafe(32)}"
    kept.enter_context(with_settings({PASSWORD: password, SERVER_PASSWORD: password}))
    settings = get_current_settings().to_environment_variables(exclude_unset=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER_CODE, *_SERVER_ARGUMENTS, "--port", port],
        env={**os.environ, **_SERVER_SETTINGS, **settings}, stdin=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    kept.callback(_end, server)
    return lambda: _use(f"http://127.0.0.1:{port}/api", server, kept)


def _use(url: str, server: "subprocess.Popen[bytes]", kept: ExitStack) -> None:
    """Waits for the server, and makes it that of this process until `kept` is closed. Raises UserError."""
    import httpx
    from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS, PREFECT_UI_URL
    from prefect.settings import temporary_settings as with_settings

    end = time.monotonic() + PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value()
    with httpx.Client(trust_env=False) as client:  # no proxy stands between
        while True:
            with suppress(httpx.TransportError):
                if client.get(f"{url}/health").is_success:
                    break
            if server.poll() is not None or time.monotonic() > end:
                raise UserError("the run's own Prefect server does not start: name one by PREFECT_API_URL")
            time.sleep(_POLL_SECONDS)
    kept.enter_context(with_settings({PREFECT_API_URL: url, PREFECT_UI_URL: ""}))


def _end(server: "subprocess.Popen[bytes]") -> None:
    server.terminate()
    try:
        server.wait(timeout=5)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
