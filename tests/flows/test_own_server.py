"""The server that a run starts for itself: no other user of the machine reads from it, nor from files or arguments."""

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from helpers.cases.command_line import COMMAND

NOBODY = 65534

_SPY = f"""
import os, sys, urllib.error, urllib.request
"".encode("idna")  # loaded now: another user may not be able to read this environment's files
if os.geteuid() == 0:
    os.setuid({NOBODY})
for path in ("artifacts/filter", "flow_runs/filter"):
    header = {{"Content-Type": "application/json"}}
    request = urllib.request.Request(sys.argv[1] + "/api/" + path, data=b"{{}}", headers=header)
    try:
        print("read", urllib.request.urlopen(request, timeout=20).read())
    except urllib.error.HTTPError as refused:
        print(refused.code)
"""


@pytest.mark.slow
def test_another_user_reads_nothing_from_a_runs_own_server(tmp_path: Path) -> None:
    (passing := tmp_path / "passing").mkdir()
    settings = {**os.environ, "PREFECT_HOME": str(tmp_path / "prefect"), "TMPDIR": str(passing)}
    settings.pop("PREFECT_API_URL", None)
    arguments_seen: set[str] = set()
    passwords: set[str] = set()
    open_files: set[Path] = set()
    arguments = ("run", "smoke", "--workspace", str(tmp_path / "workspace"))
    answers: list[str] = []
    with subprocess.Popen([*COMMAND, *arguments], env=settings, stdout=subprocess.PIPE, text=True) as run:
        while run.poll() is None and "401" not in answers:
            open_files |= {path for path in passing.rglob("*") if _is_open_to_others(path)}
            for process in psutil.Process(run.pid).children(recursive=True):
                with suppress(psutil.Error):
                    arguments_seen |= {*process.cmdline()}
                    passwords |= {process.environ().get("PREFECT_SERVER_API_AUTH_STRING", "")} - {""}
            if (port := _server_port(run.pid)) is not None:
                spied = subprocess.run(
                    [sys.executable, "-c", _SPY, f"http://127.0.0.1:{port}"],
                    capture_output=True,
                    text=True,
                    check=False,
                )
                answers += spied.stdout.split("\n")
            time.sleep(0.5)
        run.communicate()
    assert run.returncode == 0, "the run itself has the password"
    assert "401" in answers
    assert not [answer for answer in answers if "read" in answer]
    assert passwords, "the server was told one"
    secrets = {part for password in passwords for part in (password, password.partition(":")[2])}
    assert not [argument for argument in arguments_seen if any(secret in argument for secret in secrets)]
    assert open_files == set(), "neither files nor sockets of the run are open to others"
    others = [path for path in (tmp_path / "workspace").rglob("*") if path.stat().st_mode & 0o077]
    assert others == [], "what a run writes is its owner's alone"
    assert not (tmp_path / "prefect" / "prefect.db").stat().st_mode & 0o077


def _is_open_to_others(path: Path) -> bool:
    try:
        return not path.is_symlink() and bool(path.stat().st_mode & 0o077)
    except OSError:  # gone meanwhile
        return False


def _server_port(run: int) -> int | None:
    """Port of the web server among the children of a run, once it listens."""
    for process in psutil.Process(run).children(recursive=True):
        try:
            if "prefect.server.api.server:create_app" in process.cmdline():
                for connection in process.net_connections("inet"):
                    if connection.status == psutil.CONN_LISTEN:
                        return int(connection.laddr.port)
        except psutil.NoSuchProcess:
            continue
    return None
