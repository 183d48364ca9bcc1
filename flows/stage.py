"""One stage alone: for an operator after a fault, or a machine that is made for it."""

from typing import Any

from prefect import flow
from prefect.runtime import flow_run
from prefect.states import State

from data_contracts.conventions import Stage
from flows.distil import run_stages, what_on_what
from flows.faults import one_line_faults
from flows.forms import Override, ShippedRecipe
from flows.request import find_recipe, make_job


def run_name(parameters: dict[str, Any]) -> str:
    """What a run is called in the UI: `ecg alone, again: demo on its simulated export`."""
    return f"{parameters['stage']} alone{', again' if parameters['again'] else ''}: {what_on_what(parameters)}"


@flow(name="stage", flow_run_name=lambda: run_name(flow_run.parameters), persist_result=False)
@one_line_faults
def one_stage(
    stage: Stage,
    again: bool = False,
    recipe: ShippedRecipe = "demo",
    recipe_file: str = "",
    export: str = "",
    workspace: str = "workspace",
    overrides: list[Override] = [],  # noqa: B006 - Prefect's form shows a plain list; it is never changed
) -> State:
    """Build one stage alone; the stages it needs must have been built before.

    Args:
        stage: what to build.
        again: build it even if its version is there.
        recipe: a recipe that comes with the package; paper needs an export.
        recipe_file: path of your own YAML recipe, used instead.
        export: folder of the hospital export; empty for the recipe's simulated one.
        workspace: folder that holds pools and artefacts.
        overrides: recipe fields to replace.
    """
    order = find_recipe(recipe_file or recipe, [str(one) for one in overrides])
    return run_stages(make_job(order, export, workspace, only=[stage], force=again))
