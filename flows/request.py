"""From what a user asks for to a `Job`: recipe, export, workspace, stages; fields of the forms in Prefect's UI."""

from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field

from data_contracts.conventions import STAGES, Stage
from echoingecg.catalog.exports import SitedExport, check_different
from echoingecg.common import StoreError, UserError
from echoingecg.recipe import Recipe, read_recipe, with_overrides
from tasks.base.workspace import Workspace, check_access
from tasks.store import ArtefactStore, Job, stages_to_run, upstream_of

ShippedRecipe = Literal["demo", "ecg_findings", "echonext", "findings", "paper", "smoke"]
RecipeChoice = Literal["", ShippedRecipe]
TestedProtocol = Literal[
    "zero_shot", "expected_echo", "zero_shot_teacher", "zero_shot_centred", "zero_shot_teacher_centred", "linear_probe"
]
Protocol = Literal["", TestedProtocol]  # empty: the choice of the evaluation's recipe
_DEFAULT_RECIPE = "demo"
FirstStage = Literal["", Stage]  # not `Stage | None`: for that the form asks for the type before the value


class Override(BaseModel):
    """A field of the recipe to replace."""

    field: str = Field(description="section.field, such as student.epochs")
    value: str = Field(description="as in YAML, such as 5 or [0.7, 0.1, 0.2]")

    def __str__(self) -> str:
        return f"{self.field}={self.value}"


def typed_overrides(assignments: list[str]) -> list[Override]:
    """Turns `section.field=value` of the command line into the form's fields."""
    parts = (assignment.partition("=") for assignment in assignments)
    return [Override(field=field, value=value) for field, _, value in parts]


def shipped_recipes() -> dict[str, str]:
    """Recipes that come with the package: name -> its first comment line."""
    recipes = {}
    for file in files("flows.recipes").iterdir():
        if file.name.endswith(".yaml"):
            recipes[file.name.removesuffix(".yaml")] = file.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
    return dict(sorted(recipes.items()))


def find_recipe(name: str, overrides: Sequence[Override | str]) -> Recipe:
    """Reads a recipe and replaces fields in it.

    Args:
        name: of a shipped recipe, or path of a YAML file.
        overrides: fields to replace; as text, `section.field=value`.

    Raises:
        RecipeError: not a valid recipe.
        UserError: there is no such recipe.
    """
    assignments = [str(override) for override in overrides]
    if name in shipped_recipes():
        with as_file(files("flows.recipes") / f"{name}.yaml") as path:
            return with_overrides(read_recipe(path), assignments)
    if not Path(name).is_file():
        raise UserError(f"no recipe '{name}': give a YAML file, or one of {', '.join(shipped_recipes())}")
    return with_overrides(read_recipe(Path(name)), assignments)


def chosen_recipe(recipe: str, recipe_file: str) -> str:
    """The recipe that a form asks for, as `find_recipe` takes it; demo where both fields are empty.

    A form holds its deployment's own recipe as well, which Prefect puts back where a person empties the field. So of
    two the one that differs from the deployment's is meant.

    Args:
        recipe: name of a shipped one; empty for none.
        recipe_file: path; empty for none.

    Raises:
        UserError: both are given, and neither is the deployment's own.
    """
    if not (recipe and recipe_file):
        return recipe_file or recipe or _DEFAULT_RECIPE
    own = _parameters_of_deployment()
    if recipe == own.get("recipe"):
        return recipe_file
    if recipe_file == own.get("recipe_file"):
        return recipe
    raise UserError(
        f"recipe is '{recipe}' and recipe_file is '{recipe_file}': a run has one recipe, give one of the two"
    )


def recipe_field(recipe: str) -> dict[str, str]:
    """The flows' field for a recipe: a shipped one has a field of its own, for the choice in the form."""
    return {"recipe" if recipe in shipped_recipes() else "recipe_file": recipe}


def _parameters_of_deployment() -> dict[str, Any]:
    """Default parameters of the deployment that this run is of; empty for a run without one."""
    from prefect import get_client  # not for a list of artefacts
    from prefect.runtime import deployment

    if not deployment.id:
        return {}
    with get_client(sync_client=True) as client:
        return dict(client.read_deployment(deployment.id).parameters)


def folder_of(text: str) -> Path:
    """The absolute path of a folder that a user typed."""
    return Path(text).expanduser().resolve()


def open_store(workspace: str, need: Literal["nothing", "folder", "artefacts"] = "folder") -> ArtefactStore:
    """The artefact store of a workspace that a user typed.

    Args:
        workspace: folder.
        need: what must be there. An empty folder, such as the mount point of a disk that is not mounted, is enough for
            a command that goes on to name an artefact, but not for a command on all artefacts.

    Raises:
        StoreError: it is not there, or belongs to another user.
    """
    place = Workspace(folder_of(workspace))
    check_access(place.root)
    if need != "nothing" and not place.root.is_dir():
        raise StoreError(f"no workspace at {place.root}: check the path, and that its disk is mounted")
    if need == "artefacts" and not (place.artefacts.is_dir() or place.shared_store.exists()):
        raise StoreError(f"{place.root} is no workspace: nothing has run there, or its disk is not mounted")
    return ArtefactStore(place)


def make_job(
    recipe: Recipe,
    export: str,
    workspace: str,
    start_from: str = "",
    only: list[str] | None = None,
    force: bool = False,
    more_exports: Sequence[str] = (),
    public_data: bool = False,
    series: str = "",
) -> Job:
    """Checks a whole request before anything runs.

    Args:
        recipe: with all overrides.
        export: folder, or SITE=FOLDER; empty for the recipe's simulated export.
        workspace: folder.
        start_from: first stage to redo; empty for none.
        only: stages to build; empty for all.
        force: redo every stage that runs.
        more_exports: further exports, each SITE=FOLDER, or a folder whose tables state sites.
        public_data: the export's patients may be named by anybody, as those of simulated and published data are.
        series: names exports that follow each other, such as an inbox; empty where the exports' own folders do.

    Raises:
        UserError: the tracker is not installed, no export, a choice of stages that contradicts itself, or a public key
            for an export that is not said to be public.
    """
    if recipe.execution.tracking != "none":
        from tasks.tracking import check_installed  # Prefect: not for a list of artefacts

        check_installed(recipe.execution.tracking)
    build, redo = stages_to_run(start_from, only or [], force)
    place = Workspace(folder_of(workspace))
    check_access(place.root)
    if not export and recipe.simulator is None:
        raise UserError("give --export DIR: this recipe simulates none")
    if more_exports and not export:
        raise UserError("give the first export, too: a simulated one is not mixed with others")
    first, *more = (
        (SitedExport.parse(text) for text in (export, *more_exports)) if export else (_simulated(place, recipe),)
    )
    check_different([first, *more])
    if export and recipe.catalog.public_key and not public_data:
        raise UserError(
            f"catalog.public_key is '{recipe.catalog.public_key}': whoever knows it can name the patients of this "
            "export. Set catalog.public_key to '', which makes a secret key; for public data add --public-data "
            "(public_data in a form)"
        )
    needed = frozenset(stage for stage in STAGES if any(stage in {built, *upstream_of(built)} for built in build))
    return Job(recipe, place, first.folder, build, redo, needed, first.site, tuple(more), series)


def _simulated(place: Workspace, recipe: Recipe) -> SitedExport:
    from tasks.catalog import simulated_export  # Prefect: not for a list of artefacts

    return SitedExport(simulated_export(place, recipe))


def make_teaching_job(recipe: Recipe, export: str, workspace: str, public_data: bool = False) -> Job:
    """Checks a request to train a small teacher; of the stages only the catalog is built.

    Raises:
        UserError: as `make_job`, or the recipe has no section `teaching`.
    """
    if recipe.teaching is None:
        raise UserError("this recipe has no teaching section: start from `echoingecg recipe teacher`")
    return make_job(recipe, export, workspace, only=["catalog"], public_data=public_data)
