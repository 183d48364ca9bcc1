"""Every service of docker-compose.yml, as processes: a run through the authenticated API, and nothing left behind."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.exceptions import ClientError
from distributed import Client, Security
from dotenv import dotenv_values

from data_contracts.manifest import Manifest
from echoingecg.common import UserError
from helpers.servers.prefect_server import ROOT, wait_for
from helpers.servers.sockets import (
    DASK_AS_NOBODY,
    NO_CERTIFICATE,
    PLAIN_CLIENT,
    Listening,
    listening,
    outside_addresses,
    strangers_answers,
    told_to_strangers,
    tree,
)
from tests.stack.postgres import programs
from tests.stack.processes import marked
from tests.stack.stack import CLIENT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@dataclass
class Stack:
    """A stack that is up: its keeper, its folder, and what a client's shell would hold."""

    keeper: subprocess.Popen[bytes]
    data: Path
    client: dict[str, str]

    def ask(self, method: str, path: str, body: Any = None, password: str | None = None) -> httpx.Response:
        """An answer of the API; without `password` with the right one."""
        user, _, right = self.client["PREFECT_API_AUTH_STRING"].partition(":")
        token: dict[str, str] = {}
        url = self.client["PREFECT_API_URL"]
        with httpx.Client(auth=(user, right if password is None else password), timeout=60) as http:
            if method != "GET" and password is None:
                found = http.get(f"{url}/csrf-token", params={"client": "test"}).raise_for_status().json()
                token = {"Prefect-Csrf-Token": found["token"], "Prefect-Csrf-Client": "test"}
            return http.request(method, f"{url}/{path}", json=body, headers=token)

    def run(self, deployment: str, **parameters: Any) -> dict[str, Any]:
        """A run of a deployment, at its end."""
        found = self.ask("GET", f"deployments/name/{deployment}").raise_for_status().json()
        body = {"parameters": parameters}
        made = self.ask("POST", f"deployments/{found['id']}/create_flow_run", body).raise_for_status().json()

        def ended() -> bool:
            kind = self.ask("GET", f"flow_runs/{made['id']}").json()["state_type"]
            return kind in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}

        wait_for(ended, deployment)
        one: dict[str, Any] = self.ask("GET", f"flow_runs/{made['id']}").json()
        return one


def bring_up(data: Path) -> Stack:
    said = data / "said"
    with said.open("w") as out:
        called = (sys.executable, "-m", "tests.stack", "up", "--data", str(data), "--any-ports")
        keeper = subprocess.Popen(called, cwd=ROOT, stdout=out, stderr=out, start_new_session=True)
    wait_for(lambda: "a client's shell" in said.read_text() or keeper.poll() is not None, "stack")
    assert keeper.poll() is None, said.read_text()
    (data / "client").write_text((data / CLIENT).read_text().replace("export ", ""))
    return Stack(keeper, data, {name: value or "" for name, value in dotenv_values(data / "client").items()})


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    try:
        programs()
    except UserError as absent:
        pytest.skip(str(absent))
    data = Path(tempfile.mkdtemp(prefix="echoingecg-stack-"))  # root's own temporary folders are closed to Postgres
    data.chmod(0o755)
    up = bring_up(data)
    yield up
    subprocess.run([sys.executable, "-m", "tests.stack", "down", "--data", str(data)], cwd=ROOT, check=True)
    up.keeper.wait(60)
    shutil.rmtree(data)


def test_nobody_gets_in_without_the_password(stack: Stack) -> None:
    assert stack.ask("GET", "work_pools/cpu").status_code == 200
    assert stack.ask("GET", "work_pools/cpu", password="wrong").status_code == 401
    assert httpx.get(f"{stack.client['PREFECT_API_URL']}/work_pools/cpu").status_code == 401
    assert httpx.post(f"{stack.client['PREFECT_API_URL']}/flow_runs/filter", json={}).status_code in (401, 403)
    without = {name: value for name, value in stack.client.items() if name != "PREFECT_API_AUTH_STRING"}
    called = (sys.executable, "-m", "prefect", "deployment", "ls")
    refused = subprocess.run(called, env={**os.environ, **without}, capture_output=True, text=True, check=False)
    assert refused.returncode
    assert "401" in refused.stdout + refused.stderr


def test_the_smoke_recipe_runs_on_a_worker_decodes_on_dask_and_keeps_its_pools_on_s3(stack: Stack) -> None:
    fields = {"execution.dask": stack.client["ECHOINGECG_DASK"], "execution.pools": "s3://echoingecg/pools"}
    overrides = [{"field": name, "value": value} for name, value in fields.items()]
    run = stack.run("distil/distil", recipe="smoke", overrides=overrides)
    assert run["state_type"] == "COMPLETED", run["state"]["message"]
    assert run["work_pool_name"] == "cpu"
    names = re.findall(r"(\w+)-[0-9a-f]{16}", run["state"]["message"])
    assert names == ["catalog", "ecg", "teacher", "pairs", "student", "evaluation"]
    for stage, version in re.findall(r"(\w+)-([0-9a-f]{16})", run["state"]["message"]):
        folder = stack.data / "workspace" / "artefacts" / stage / version
        pool = Manifest.model_validate_json((folder / "manifest.json").read_bytes()).run.pool
        assert (pool is not None) == (stage in ("ecg", "teacher"))
        assert pool is None or pool.path.startswith("s3://echoingecg/pools/")
    kept = {one["key"] for one in stack.ask("POST", "artifacts/latest/filter", {}).json()}
    assert kept >= {"catalog-result", "ecg-result", "student-result", "evaluation-report", "evaluation-figures"}
    folder = stack.data / "scratch" / "tls"
    ours = {name: str(folder / "certificate.pem") for name in ("tls_ca_file", "tls_client_cert")}
    security = Security(require_encryption=True, tls_client_key=str(folder / "key.pem"), **ours)
    with Client(stack.client["ECHOINGECG_DASK"], security=security) as dask:
        done = dask.run_on_scheduler(lambda dask_scheduler: [*dask_scheduler.task_prefixes])
        assert len(dask.scheduler_info()["workers"]) == 2
    assert {"ecg_block", "decode_clip"} <= {*done}


def sockets_of(stack: Stack) -> set[Listening]:
    """Where the stack listens. Postgres hides its environment, so the keeper's descendants count, too."""
    return listening([*marked(stack.data), *tree(stack.keeper.pid)])


def test_nothing_listens_beyond_loopback(stack: Stack) -> None:
    """Whoever reaches a Dask worker or scheduler runs code on it."""
    sockets = sockets_of(stack)
    for service in ("postgres", "prefect server", "dask scheduler", "dask worker", "tests.stack.storage", "worker cpu"):
        assert any(service in each.command for each in sockets), service
    assert [each for each in sockets if not each.is_on_loopback] == []
    for host in outside_addresses():
        for port in {each.port for each in sockets}:
            with pytest.raises(OSError, match=r"refused|timed out"):
                socket.create_connection((host, port), 2)


def test_another_user_of_the_machine_gets_nothing(stack: Stack) -> None:
    answers = strangers_answers(each.port for each in sockets_of(stack))
    assert told_to_strangers(answers) == []
    assert {re.findall(r"HTTP/1\.\d (\d+)", answer)[0] for _, _, answer in answers if answer.startswith("HTTP")} >= {
        "200",
        "401",
        "403",
        "404",
    }  # fmt: skip - UI and health, API, S3, Dask's web servers
    bucket = f"{stack.client['AWS_ENDPOINT_URL']}/echoingecg"
    assert httpx.get(bucket).status_code == 403
    own = {name: stack.client[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    key, password = own.values()
    for secret, is_let_in in ((password, True), (password[:-1], False)):
        s3 = boto3.client("s3", endpoint_url=stack.client["AWS_ENDPOINT_URL"], region_name="us-east-1",
                          aws_access_key_id=key, aws_secret_access_key=secret)  # fmt: skip
        with nullcontext() if is_let_in else pytest.raises(ClientError, match="AccessDenied"):
            s3.list_objects_v2(Bucket="echoingecg")
    database = next(each.port for each in sockets_of(stack) if "postgres" in each.command)
    typed = [
        str(programs() / "psql"),
        "-w",
        "-h",
        "127.0.0.1",
        "-p",
        str(database),
        "-U",
        "prefect",
        "-c",
        "select 1",
        "prefect",
    ]
    asked = subprocess.run(typed, capture_output=True, text=True, check=False)
    assert (asked.returncode, "no password supplied" in asked.stderr) == (2, True), asked.stderr
    assert (stack.data / "scratch" / "tls" / "key.pem").stat().st_mode & 0o077 == 0
    web = {port for port, _, answer in answers if answer.startswith("HTTP")}
    dask = {each.port for each in sockets_of(stack) if "dask" in each.command} - web
    assert dask
    for attack, refusal in ((PLAIN_CLIENT, "Timed out|reset by peer|Closed|TLS"), (NO_CERTIFICATE, "ALERT|EOF|reset")):
        for port in dask:
            typed = [sys.executable, "-c", DASK_AS_NOBODY + attack, f"tls://127.0.0.1:{port}"]
            done = subprocess.run(typed, capture_output=True, text=True, check=False, timeout=120)
            assert "reached" not in done.stdout, attack
            assert re.search(refusal, done.stderr), done.stderr


def test_spread_gives_each_stage_to_the_pool_that_is_made_for_it(stack: Stack) -> None:
    workspace = str(stack.data / "workspace" / "spread")
    run = stack.run("spread/spread", recipe="smoke", workspace=workspace, gpu_stages=["teacher", "student"])
    assert run["state_type"] == "COMPLETED", run["state"]["message"]
    runs = stack.ask("POST", "flow_runs/filter", {"flows": {"name": {"any_": ["stage"]}}}).json()
    pools = {one["parameters"]["stage"]: one["work_pool_name"] for one in runs}
    assert pools == {
        "catalog": "cpu", "ecg": "cpu", "pairs": "cpu", "evaluation": "cpu", "teacher": "gpu", "student": "gpu",
    }  # fmt: skip
    alone, spread = (stack.data / "workspace" / "artefacts", Path(workspace) / "artefacts")
    assert [*alone.glob("evaluation/*/report.html")], "the run before made one"
    for made in (*spread.glob("*/*/manifest.json"),):
        assert (alone / made.relative_to(spread)).is_file(), "the same versions, wherever a stage runs"


def test_spread_ends_with_the_line_of_the_stage_that_failed(stack: Stack) -> None:
    run = stack.run("spread/spread", recipe="smoke", export="/nowhere")
    assert run["state_type"] == "FAILED"
    assert "export /nowhere: not a folder" in run["state"]["message"]


def test_a_killed_keeper_leaves_nothing_after_down_and_the_next_stack_goes_on(stack: Stack) -> None:
    stack.keeper.kill()
    stack.keeper.wait()
    assert marked(stack.data), "what it started lives on"
    down = (sys.executable, "-m", "tests.stack", "down", "--data", str(stack.data))
    ended = subprocess.run(down, cwd=ROOT, check=True, capture_output=True, text=True)
    assert "had outlived their keeper" in ended.stdout
    assert_nothing_is_left(stack)
    again = bring_up(stack.data)
    try:
        runs = again.ask("POST", "flow_runs/filter", {"flows": {"name": {"any_": ["distil"]}}}).json()
        assert [one["state_type"] for one in runs] == ["COMPLETED"], "Postgres kept them"
        second = subprocess.run([sys.executable, "-m", "tests.stack", "up", "--data", str(stack.data)], cwd=ROOT,
                                capture_output=True, text=True, check=False)  # fmt: skip
        assert (second.returncode, second.stderr.count("\n")) == (2, 1)
        assert "runs in" in second.stderr
    finally:
        again.keeper.send_signal(signal.SIGINT)
        assert again.keeper.wait(120) == 0
    assert_nothing_is_left(again)


def assert_nothing_is_left(stack: Stack) -> None:
    """No process, no listening port, no file but those of the data folder that are to be kept."""
    assert marked(stack.data) == []
    for url in (stack.client["PREFECT_API_URL"], stack.client["AWS_ENDPOINT_URL"]):
        with pytest.raises(httpx.ConnectError):
            httpx.get(url)
    kept = {path.name for path in stack.data.iterdir()}
    assert kept == {".env", "client", "inbox", "logs", "postgres", "said", "stack.lock", "workspace"}
    held = subprocess.run(["pgrep", "--full", str(stack.data)], capture_output=True, text=True, check=False).stdout
    assert held == "", "a process names the folder"
