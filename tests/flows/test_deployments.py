"""What the UI offers: the forms, the names of runs, and prefect.yaml as the description's copy."""

from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from prefect.flows import load_flow_from_entrypoint

from data_contracts.conventions import STAGES
from flows import distil, operations, retrain
from flows.deployments import DEPLOYMENTS, Deployment, prefect_yaml
from flows.request import ShippedRecipe, find_recipe, shipped_recipes, typed_overrides
from helpers.paths import ROOT

BY_NAME = {one.name: one for one in DEPLOYMENTS}
each = pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=BY_NAME)


def fields(deployment: Deployment) -> dict[str, Any]:
    return deployment.flow.parameters.properties


def test_prefect_yaml_is_the_description() -> None:
    assert (ROOT / "prefect.yaml").read_text() == prefect_yaml(), "echoingecg deployments > prefect.yaml"


def test_entrypoints_of_prefect_yaml_load() -> None:
    for entry in yaml.safe_load(prefect_yaml())["deployments"]:
        file, function = entry["entrypoint"].split(":")
        assert load_flow_from_entrypoint(f"{ROOT / file}:{function}").name == BY_NAME[entry["name"]].flow.name


def test_prefect_yaml_places_a_stage_where_its_machine_is() -> None:
    entries = {entry["name"]: entry for entry in yaml.safe_load(prefect_yaml())["deployments"]}
    assert [name for name, entry in entries.items() if entry["work_pool"]["name"] == "gpu"] == ["stage-gpu"]
    assert entries["stage-gpu"]["entrypoint"] == entries["stage"]["entrypoint"]
    assert entries["retrain"]["parameters"].keys() == {"workspace", "inbox"}, "none is a folder below the worker's own"


@each
def test_every_field_of_a_form_is_told_and_asks_for_a_value_at_once(deployment: Deployment) -> None:
    for name, schema in fields(deployment).items():
        assert schema.get("description"), f"{name} has no line under Args"
        assert "anyOf" not in schema, f"the form asks for the type of {name} before its value"


@each
def test_runs_of_a_deployment_do_not_pile_up_and_its_defaults_are_its_own(deployment: Deployment) -> None:
    served = deployment.to_serve({"workspace": "/data/w", "nobody_asks": "/"})
    assert served.concurrency_limit == 1
    assert served.parameters == {"workspace": "/data/w"}
    assert served.tags == ["echoingecg"]
    assert served.description


def test_retrain_alone_starts_by_itself_and_never_beside_itself() -> None:
    served = {name: one.to_serve({}, cron="1 2 * * *") for name, one in BY_NAME.items()}
    assert [name for name, one in served.items() if one.schedules or one.triggers] == ["retrain"]
    assert served["retrain"].schedules[0].schedule.cron == "1 2 * * *"
    assert BY_NAME["retrain"].collision == "CANCEL_NEW"


def test_recipes_and_stages_are_choices() -> None:
    form = fields(BY_NAME["distil"])
    assert form["recipe"]["enum"] == ["", *get_args(ShippedRecipe)]
    assert "expected_echo" in fields(BY_NAME["predict"])["protocol"]["enum"]
    assert {*get_args(ShippedRecipe), "teacher"} == set(shipped_recipes()), "teacher is for `echoingecg teach`"
    assert form["start_from"]["enum"] == ["", *STAGES]
    assert form["only"]["items"]["enum"] == list(STAGES)
    assert fields(BY_NAME["stage"])["stage"]["enum"] == list(STAGES)


@pytest.mark.parametrize(
    "flow", [distil.distil, distil.one_stage, distil.distil_on_work_pools, retrain.retrain, operations.promote]
)
def test_two_recipes_at_once_are_refused(flow: Any, tmp_path: Path) -> None:
    both = {"recipe": "smoke", "recipe_file": str(tmp_path / "own.yaml"), "workspace": str(tmp_path)}
    given = {"stage": "ecg", "challenger": "x"}
    needed = {name: value for name, value in given.items() if name in flow.parameters.properties}
    state = flow.fn(**both, **needed)
    assert state.type.value == "FAILED"
    assert state.message == (
        f"recipe is 'smoke' and recipe_file is '{tmp_path}/own.yaml': a run has one recipe, give one of the two"
    )


def test_an_override_typed_in_a_form_is_that_of_the_command_line() -> None:
    assignments = ["student.epochs=5", "pairs.split={train: 0.5, validation: 0.3, test: 0.2}", "student.warm_start=a=b"]
    typed = typed_overrides(assignments)
    assert [str(one) for one in typed] == assignments
    assert (typed[2].field, typed[2].value) == ("student.warm_start", "a=b")
    assert find_recipe("smoke", [str(one) for one in typed]).student.epochs == 5


@pytest.mark.parametrize(
    ("name", "given", "says"),
    [
        (distil.run_name, {}, "demo on its simulated export"),
        (distil.run_name, {"recipe": "", "recipe_file": "mine.yaml", "export": "/e"}, "mine.yaml on /e"),
        (distil.run_name, {"start_from": "student"}, "demo on its simulated export, from student"),
        (distil.run_name, {"only": ["ecg", "pairs"]}, "demo on its simulated export, only ecg pairs"),
        (distil.recipe_and_export, {"export": "/e", "recipe_file": "x"}, "two recipes on /e"),
        (distil.recipe_and_export, {"export": "/e", "recipe": ""}, "demo on /e"),
        (distil.stage_run_name, {"stage": "ecg"}, "ecg alone: demo on its simulated export"),
        (distil.stage_run_name, {"stage": "ecg", "again": True}, "ecg alone, again: demo on its simulated export"),
    ],
)
def test_a_run_is_called_what_it_does(name: Any, given: dict[str, Any], says: str) -> None:
    defaults = {"recipe": "demo", "recipe_file": "", "export": "", "start_from": "", "only": [], "again": False}
    assert name(defaults | given) == says
