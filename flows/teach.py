"""How the demo teacher is made: simulate, catalog, teach."""

from typing import Any

from prefect import flow
from prefect.states import State

from flows import faults, request
from tasks.catalog import catalog, simulate
from tasks.operations.teach import teaching


@flow(name="teach", flow_run_name="{recipe} into {folder}", persist_result=False)
@faults.one_line_faults
def teach(
    folder: str,
    recipe: str = "teacher",
    export: str = "",
    workspace: str = "workspace",
    overrides: list[str] = [],  # noqa: B006 - Prefect's form shows a plain list; it is never changed
) -> State:
    """Teach a small teacher on echo frames and report sentences, and measure it on patients it has not seen.

    Args:
        folder: receives weights, configuration and model card; `teacher.model: local-dir:FOLDER` uses it.
        recipe: name of a shipped recipe, or path of a YAML file, with a teaching section.
        export: folder of an export; empty for the recipe's simulated one.
        workspace: folder that holds the simulated export and its catalog.
        overrides: recipe fields to replace, `section.field=value`.
    """
    job = request.make_teaching_job(request.find_recipe(recipe, overrides), export, workspace)
    listed: Any = catalog.submit(job, wait_for=[simulate.submit(job)])
    return faults.last_word(teaching.submit(job, listed, folder))
