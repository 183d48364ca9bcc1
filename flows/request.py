"""From what a person asks for to a `Job`: recipe by name or path, export, workspace, stages.

What a person fills in to start a run: the types behind the forms of Prefect's UI.
"""

from importlib.resources import as_file, files
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from data_contracts.conventions import STAGES, Stage
from echoingecg.common import UserError
from echoingecg.recipe import Recipe, read_recipe, with_overrides
from tasks.base.workspace import Workspace
from tasks.catalog import simulated_export
from tasks.store import ArtefactStore, Job, stages_to_run, upstream_of


def shipped_recipes() -> dict[str, str]:
    """Recipes that come with the package: name -> its first comment line."""
    found = {}
    for file in files("flows.recipes").iterdir():
        if file.name.endswith(".yaml"):
            found[file.name.removesuffix(".yaml")] = file.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
    return dict(sorted(found.items()))


def find_recipe(name: str, overrides: list[str]) -> Recipe:
    """A shipped recipe by its name, or a YAML file by its path, with `section.field=value` overrides.

    Raises:
        RecipeError: not found, or not a valid recipe.
    """
    if name in shipped_recipes():
        with as_file(files("flows.recipes") / f"{name}.yaml") as path:
            return with_overrides(read_recipe(path), overrides)
    if not Path(name).is_file():
        raise UserError(f"no recipe '{name}': give a YAML file, or one of {', '.join(shipped_recipes())}")
    return with_overrides(read_recipe(Path(name)), overrides)


def folder_of(text: str) -> Path:
    """A folder as a person types it, absolute."""
    return Path(text).expanduser().resolve()


def open_store(workspace: str) -> ArtefactStore:
    """The store of a workspace as a person types it."""
    return ArtefactStore(Workspace(folder_of(workspace)))


def make_job(
    recipe: Recipe,
    export: str,
    workspace: str,
    start_from: str = "",
    only: list[str] | None = None,
    force: bool = False,
) -> Job:
    """Checks the order as a whole before anything runs.

    Raises:
        UserError: no export, or a choice of stages that makes no sense.
    """
    build, redo = stages_to_run(start_from, only or [], force)
    place = Workspace(folder_of(workspace))
    if not export and recipe.simulator is None:
        raise UserError("give --export DIR: this recipe simulates none")
    if export and not Path(export).is_dir():
        raise UserError(f"export {export}: not a folder")
    folder = folder_of(export) if export else simulated_export(place, recipe)
    needed = frozenset(stage for stage in STAGES if any(stage in {one, *upstream_of(one)} for one in build))
    return Job(recipe, place, folder, build, redo, needed)


def make_teaching_job(recipe: Recipe, export: str, workspace: str) -> Job:
    """The order to teach a small teacher: the catalog alone is built of the stages.

    Raises:
        UserError: as `make_job`, or the recipe does not say how to teach.
    """
    if recipe.teaching is None:
        raise UserError("this recipe has no teaching section: start from `echoingecg recipe teacher`")
    return make_job(recipe, export, workspace, only=["catalog"])


ShippedRecipe = Literal["demo", "paper", "smoke"]
FirstStage = Literal["", Stage]  # not `Stage | None`: the form asks for the type of that before its value


class Override(BaseModel):
    """A field of the recipe to replace."""

    field: str = Field(description="section.field, such as student.epochs")
    value: str = Field(description="as in YAML, such as 5 or [0.7, 0.1, 0.2]")

    def __str__(self) -> str:
        return f"{self.field}={self.value}"


def typed_overrides(assignments: list[str]) -> list[Override]:
    """`section.field=value` of the command line, as a form would give it."""
    parts = (assignment.partition("=") for assignment in assignments)
    return [Override(field=field, value=value) for field, _, value in parts]
