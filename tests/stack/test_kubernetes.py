"""kubernetes.json: what Prefect fills in is a Job by Kubernetes' published schema. It was never run on a cluster."""

import json
from typing import Any

import jsonschema
import pytest
from prefect.utilities.templating import apply_values, find_placeholders

from flows.stopping import GRACE_SECONDS, SERVE_GRACE_SECONDS
from helpers.paths import DATA, ROOT

TEMPLATE: dict[str, Any] = json.loads((ROOT / "kubernetes.json").read_text(encoding="utf-8"))
VARIABLES: dict[str, Any] = TEMPLATE["variables"]["properties"]
JOB = jsonschema.Draft7Validator(json.loads((DATA / "kubernetes_job_schema.json").read_text(encoding="utf-8")))
FILLED_BY_THE_WORKER = {  # prefect-kubernetes adds Prefect's address, the run's identity and the command
    "env": {"PREFECT_API_URL": "http://server:4200/api"},
    "labels": {"prefect.io/flow-run-id": "1"},
    "command": ["prefect", "flow-run", "execute"],
}


def job(**given: Any) -> dict[str, Any]:
    """The job that a worker makes with these variables."""
    defaults = {name: described.get("default") for name, described in VARIABLES.items()}
    filled = apply_values(TEMPLATE["job_configuration"]["job_manifest"], defaults | FILLED_BY_THE_WORKER | given)
    container = filled["spec"]["template"]["spec"]["containers"][0]
    container["env"] = [{"name": name, "value": value} for name, value in container["env"].items()]
    return dict(filled)


def pod(**given: Any) -> dict[str, Any]:
    return dict(job(**given)["spec"]["template"]["spec"])


@pytest.mark.parametrize("given", [{}, {"gpus": 2, "image": "registry/echoingecg:cuda", "backoff_limit": 3}])
def test_a_job_fits_the_schema_of_kubernetes(given: dict[str, Any]) -> None:
    assert list(JOB.iter_errors(job(**given))) == []


@pytest.mark.parametrize(
    ("where", "name", "value"),
    [
        (("spec", "template", "spec"), "terminationGracePeriod", 30),  # no such field
        (("spec", "template", "spec"), "terminationGracePeriodSeconds", "a minute"),
        (("spec", "template", "spec"), "parallelism", 1),  # of the job, not of the pod
        (("spec",), "backoffLimits", 0),
        ((), "kind", "Jobs"),
    ],
)
def test_a_wrong_job_does_not(where: tuple[str, ...], name: str, value: Any) -> None:
    wrong = job()
    part = wrong
    for key in where:
        part = part[key]
    part[name] = value
    assert list(JOB.iter_errors(wrong))


def test_every_variable_is_described_used_and_there() -> None:
    used = {placeholder.name for placeholder in find_placeholders(TEMPLATE["job_configuration"])}
    assert used == VARIABLES.keys()
    for name, described in VARIABLES.items():
        assert described["description"], name
        if described["default"] is not None:
            jsonschema.validate(described["default"], described)


def test_a_run_has_time_to_leave_a_checkpoint_a_gpu_and_no_more_rights_than_it_needs() -> None:
    made, with_gpus = pod(), pod(gpus=2)["containers"][0]
    assert made["terminationGracePeriodSeconds"] > max(GRACE_SECONDS, SERVE_GRACE_SECONDS)
    assert VARIABLES["grace_seconds"]["minimum"] > max(GRACE_SECONDS, SERVE_GRACE_SECONDS)
    assert with_gpus["resources"]["limits"]["nvidia.com/gpu"] == 2
    assert made["restartPolicy"] == "Never"
    assert f"USER {made['securityContext']['runAsUser']}:" in (ROOT / "Dockerfile").read_text()
    assert made["securityContext"]["runAsNonRoot"]
    (container,) = made["containers"]
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in container["volumeMounts"]}
    assert mounts == {"/workspace": False, "/export": True, "/dev/shm": False}
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in made["volumes"]}
