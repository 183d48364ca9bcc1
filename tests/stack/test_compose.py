"""docker-compose.yml and the Dockerfile: valid, and hardened as docs/cluster.md says. No Docker engine is needed."""

import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from echoingecg.common import UserError
from flows.stopping import SERVE_GRACE_SECONDS
from tests.stack import stack
from tests.stack.compose import FILE, ROOT, service
from tests.stack.passwords import EXAMPLE, kept_passwords, random_passwords

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text())["services"]
SECRETS = ("POSTGRES_PASSWORD", "PREFECT_AUTH", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
GIVEN = dict.fromkeys(SECRETS, "given")
ENDS = ("deployments", "certificates", "pipeline")  # the others stay up
IS_PINNED = re.compile(r":[\w.-]+@sha256:[0-9a-f]{64}$")  # a tag, and what it was
each = pytest.mark.parametrize("name", SERVICES)


def is_compose(file: Path) -> bool:
    called = (sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file))
    return subprocess.run(called, capture_output=True, check=False).returncode == 0


def complaints(dockerfile: Path) -> str:
    hadolint = shutil.which("hadolint", path=Path(sys.executable).parent)
    assert hadolint, "needs the extra `test`"
    return subprocess.run([hadolint, "--no-color", dockerfile], capture_output=True, text=True, check=False).stdout


def test_compose_file_fits_the_schema_of_compose(tmp_path: Path) -> None:
    wrong = tmp_path / "docker-compose.yml"
    wrong.write_text(FILE.read_text().replace("healthcheck:", "healthchek:", 1))
    assert is_compose(FILE)
    assert not is_compose(wrong)


def test_dockerfile_has_no_complaint_of_hadolint(tmp_path: Path) -> None:
    wrong = tmp_path / "Dockerfile"
    wrong.write_text(re.sub(r"python:\S+", "python:latest", (ROOT / "Dockerfile").read_text()))
    assert complaints(ROOT / "Dockerfile") == ""
    assert "DL3007" in complaints(wrong)


def test_base_images_are_pinned_by_digest() -> None:
    bases = [line.split()[1] for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("FROM ")]
    assert bases
    assert [base for base in bases if not IS_PINNED.search(base)] == []


def test_image_installs_the_lock_file_and_is_not_root() -> None:
    lines = (ROOT / "Dockerfile").read_text()
    assert lines.count("--constraint constraints.txt") == lines.count("pip install") == 2
    assert lines.split("\nUSER ")[-1].startswith("10001:10001\n")


def test_what_runs_our_code_has_time_to_end_by_itself() -> None:
    ours = [told for told in SERVICES.values() if told["image"].startswith("echoingecg:")]
    assert ours
    assert all(int(told["stop_grace_period"].removesuffix("s")) > SERVE_GRACE_SECONDS for told in ours)


@each
def test_a_service_is_pinned_limited_and_without_more_rights_than_it_needs(name: str) -> None:
    told = SERVICES[name]
    assert told["image"].startswith("echoingecg:") or IS_PINNED.search(told["image"]), "tomorrow it is another one"
    assert not told["image"].endswith(":latest")
    assert told["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}
    assert told["security_opt"] == ["no-new-privileges:true"]
    assert told["image"].startswith("echoingecg:") or told.get("user") or name == "storage"  # it gives up root itself
    assert all(port.startswith("127.0.0.1:") for port in told.get("ports", []))
    assert "privileged" not in told
    if name not in ENDS:
        assert told["healthcheck"]["test"]
        assert told["restart"] == "unless-stopped"


def test_prefect_asks_for_a_password_and_tells_nobody() -> None:
    server = service("server", GIVEN).environment
    assert server["PREFECT_SERVER_API_AUTH_STRING"] == "given"
    assert server["PREFECT_SERVER_CSRF_PROTECTION_ENABLED"] == "true"
    for name in ("server", "worker-cpu", "worker-gpu", "deployments", "pipeline"):
        told = service(name, GIVEN).environment
        assert (told["PREFECT_SERVER_ANALYTICS_ENABLED"], told["DO_NOT_TRACK"]) == ("false", "1")
    assert [name for name, told in SERVICES.items() if "ports" in told] == ["server", "reports"]
    reports = SERVICES["reports"]
    assert service("reports", GIVEN).environment["ECHOINGECG_REPORTS_AUTH"] == "given"
    assert (reports["profiles"], reports["volumes"]) == (["reports"], ["workspace:/workspace:ro"])


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_that_is_not_set_stops_everything(secret: str) -> None:
    without = {name: value for name, value in GIVEN.items() if name != secret}
    users = [name for name, told in SERVICES.items() if f"${{{secret}:?" in yaml.dump(told, width=1000)]
    assert users
    for name in users:
        with pytest.raises(UserError, match=f"{secret} is not set"):
            service(name, without)


def test_variables_keep_the_containers_values_unless_set() -> None:
    assert service("scheduler", GIVEN).command == (
        "dask", "scheduler", "--protocol=tls", "--host=0.0.0.0", "--port=8786", "--no-dashboard",
        "--dashboard-address=127.0.0.1:8787",
    )  # fmt: skip
    worker = service("worker-cpu", GIVEN | {"SERVER_HOST": "127.0.0.1", "SERVER_PORT": "1"})
    assert worker.environment["PREFECT_API_URL"] == "http://127.0.0.1:1/api"
    assert worker.environment["ECHOINGECG_HOME"] == "/opt/project"
    assert '"$ECHOINGECG_HOME"' in service("deployments", GIVEN).command[-1], "$$ is a dollar"
    assert service("dask-worker", GIVEN).replicas == 2


def test_example_has_no_default_and_its_passwords_are_random(tmp_path: Path) -> None:
    example = [line for line in EXAMPLE.read_text().splitlines() if not line.startswith("#")]
    assert all(line.endswith("=") for line in example)
    assert random_passwords() != random_passwords()
    made = kept_passwords(tmp_path / ".env")
    assert {*SECRETS} == made.keys()
    assert kept_passwords(tmp_path / ".env") == made
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600


def test_a_taken_port_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        monkeypatch.setattr(stack, "PORTS", {"SERVER_PORT": other.getsockname()[1]})
        with pytest.raises(UserError, match=r"port \d+ is taken"):
            stack.up(tmp_path, any_ports=False, say=print)
    assert not (tmp_path / "tmp").exists()
