"""A workspace of another user, and a server that asks for a password: one line, exit code 2, from every command."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.cases.command_line import COMMAND
from helpers.servers.prefect_server import Server, server_at, started

NOBODY = 65534
WITHOUT_RIGHTS = "-dac_override,-dac_read_search,-fowner"  # of root, who may else look everywhere
READING = ["artefacts list", "artefacts gc", "artefacts verify", "status smoke", "run smoke", "train smoke", "stress"]
STARTING = ["run smoke", "serve smoke", "crashed", "teach NEW"]


def call(words: list[str], home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    as_other = ["setpriv", f"--bounding-set={WITHOUT_RIGHTS}", f"--inh-caps={WITHOUT_RIGHTS}"]
    settings = {**os.environ, "COLUMNS": "200", "PREFECT_HOME": str(home / "prefect"), **environment}
    prefix = as_other if os.geteuid() == 0 else []
    return subprocess.run([*prefix, *COMMAND, *words], capture_output=True, text=True, env=settings, check=False)


def check_one_line(done: subprocess.CompletedProcess[str], says: str) -> None:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ")] == [f"error: {says}"], done.stderr


@pytest.fixture
def of_another_user(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("needs setpriv of util-linux")
    (folder := tmp_path / "theirs").mkdir()
    (folder / "artefacts").mkdir()
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    folder.chmod(0o700 if os.geteuid() == 0 else 0)
    yield folder
    folder.chmod(0o700)


@pytest.mark.slow
def test_a_workspace_of_another_user_is_one_line(of_another_user: Path, tmp_path: Path) -> None:
    for place in (of_another_user, of_another_user / "below"):
        says = f"{place}: permission denied: check its owner, or choose another folder"
        for words in READING if place == of_another_user else READING[:1]:
            check_one_line(call([*words.split(), "-w", str(place)], tmp_path), says)
        examined = call(["doctor", "-w", str(place)], tmp_path)
        assert (examined.returncode, "Traceback" in examined.stderr) == (2, False)
        assert "permission denied" in examined.stdout


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Server]:
    server = server_at(tmp_path, PREFECT_SERVER_API_AUTH_STRING="somebody:secret")
    with started(server, tmp_path):
        yield server


@pytest.mark.slow
def test_a_server_without_the_password_is_one_line(locked: Server, tmp_path: Path) -> None:
    url = locked.environment["PREFECT_API_URL"]
    place = {"PREFECT_API_URL": url, "ECHOINGECG_WORKSPACE": str(tmp_path / "workspace")}
    asks, remedy = f"{url} asks for a password", "set PREFECT_API_AUTH_STRING=user:password"
    for typed in STARTING:
        words = typed.replace("NEW", str(tmp_path / "new")).split()
        check_one_line(call(words, tmp_path, **place), f"PREFECT_API_URL: {asks}: {remedy}")
    refuses = f"{url} refuses the password in PREFECT_API_AUTH_STRING"
    wrong = {**place, "PREFECT_API_AUTH_STRING": "somebody:wrong"}
    check_one_line(call(["crashed"], tmp_path, **wrong), f"PREFECT_API_URL: {refuses}: {remedy}")
    for settings, says in ((place, asks), (wrong, refuses)):
        examined = call(["doctor"], tmp_path, **settings)
        assert (examined.returncode, "Traceback" in examined.stderr) == (2, False)
        assert says in examined.stdout
    right = {**place, "PREFECT_API_AUTH_STRING": "somebody:secret"}
    assert call(["crashed"], tmp_path, **right).returncode == 0
    assert call(["doctor"], tmp_path, **right).returncode == 0
