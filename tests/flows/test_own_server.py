"""What a run opens for its own processes: no other user of the machine reads from it, nor from files or arguments."""

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from helpers.cases.command_line import COMMAND
from helpers.paths import ROOT
from helpers.servers.prefect_server import Server, free_address, process, server_at, started, wait_for
from helpers.servers.sockets import AS_NOBODY, Listening, listening, strangers_answers, told_to_strangers, tree


@pytest.mark.slow
def test_no_socket_of_a_run_is_open_to_others(tmp_path: Path) -> None:
    """A run with its own server, a Dask cluster of its own, and training in two processes."""
    settings = {**os.environ, "PREFECT_HOME": str(tmp_path / "prefect")}
    settings.pop("PREFECT_API_URL", None)
    arguments = ("run", "smoke", "--workspace", str(tmp_path / "workspace"), "--set", "execution.workers=2")
    arguments += ("--set", "execution.devices=2", "--set", "student.epochs=6")
    sockets: set[Listening] = set()
    asked: set[int] = set()
    answers = []
    with subprocess.Popen([*COMMAND, *arguments], env=settings, stdout=subprocess.PIPE, text=True) as run:
        while run.poll() is None:
            sockets |= (now := listening(tree(run.pid)))
            if new := {each.port for each in now} - asked:
                answers += strangers_answers(new)
                asked |= new
            time.sleep(0.1)
        said, _ = run.communicate()
    assert run.returncode == 0, said
    kinds = ("prefect.server.api.server", "flows.cli.main", "multiprocessing")  # server, Dask's scheduler, workers
    assert all(any(kind in each.command for each in sockets) for kind in kinds)
    assert [each for each in sockets if not each.is_on_loopback] == []
    assert told_to_strangers(answers) == []
    assert any(" 401 " in answer for _, path, answer in answers if path.startswith("/api/")), "somebody was asked"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "words", [("serve", "smoke"), ("worker", "cpu", "--with-healthcheck")], ids=["serve", "worker"]
)
def test_no_socket_of_what_starts_runs_is_open_to_others(words: tuple[str, ...], tmp_path: Path) -> None:
    server = server_at(tmp_path, PREFECT_WORKER_WEBSERVER_PORT=free_address().rpartition(":")[2])
    places = {"ECHOINGECG_HOME": ROOT, "ECHOINGECG_WORKSPACE": tmp_path / "workspace", "ECHOINGECG_INBOX": tmp_path}
    environment = server.environment | {name: str(path) for name, path in places.items()}
    log = tmp_path / "log"
    with started(server, tmp_path):
        if words[0] == "worker":
            for pool in ("cpu", "gpu"):
                server.prefect("work-pool", "create", pool, "--type", "process")
            deploy = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
            subprocess.run(deploy, cwd=ROOT, env=environment, capture_output=True, check=True)
        with process(*COMMAND, *words, log=log, environment=environment, group=True) as running:
            wait_for(lambda: "serving " in log.read_text() or "started!" in log.read_text(), "it")
            wait_for(lambda: answers_of(server, "distil/distil"), "the deployment")
            server.start_run("distil/distil", recipe="smoke", workspace=str(tmp_path / "workspace"))
            wait_for(lambda: "Beginning flow run" in log.read_text(), "the run")
            sockets = listening(tree(running.pid))
            told = strangers_answers(each.port for each in sockets)
    assert sockets, "what stops its runs, and the page of health"
    assert [each for each in sockets if not each.is_on_loopback] == []
    assert told_to_strangers(told) == []


def answers_of(server: Server, deployment: str) -> bool:
    try:
        return bool(server.get(f"deployments/name/{deployment}"))
    except httpx.HTTPStatusError:
        return False


_SPY = f"""
import urllib.error, urllib.request
{AS_NOBODY}
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
            for child in psutil.Process(run.pid).children(recursive=True):
                with suppress(psutil.Error):
                    arguments_seen |= {*child.cmdline()}
                    passwords |= {child.environ().get("PREFECT_SERVER_API_AUTH_STRING", "")} - {""}
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
    ports = (each.port for each in listening(tree(run)) if "prefect.server.api.server:create_app" in each.command)
    return next(ports, None)
