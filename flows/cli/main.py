"""The command line. Heavy libraries are imported by the command that needs them: `--help` stays quick."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from data_contracts.conventions import UserError
from flows import prefect_settings
from flows.cli import plots, students
from flows.cli.artefacts import app as artefacts

if TYPE_CHECKING:
    from prefect.states import State

    from data_contracts.conventions import Stage
    from tasks.store import Artefact

app = typer.Typer(
    name="echoingecg",
    help="Train a probabilistic ECG encoder from echocardiograms, and judge it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(artefacts, name="artefacts")
app.command()(plots.plot)
app.command()(plots.echo)
app.command()(students.predict)
app.command()(students.embed)
app.command()(students.search)
app.command()(students.promote)
app.command()(students.import_released)
app.command()(students.export_released)

WorkspaceOption = Annotated[
    str, typer.Option("--workspace", "-w", envvar="ECHOINGECG_WORKSPACE", help="Folder of pools and artefacts.")
]
RecipeArgument = Annotated[str, typer.Argument(help="A shipped recipe (demo, paper, smoke) or a YAML file.")]
ExportOption = Annotated[str, typer.Option("--export", "-e", help="Hospital export; default: simulate the recipe's.")]
SetOption = Annotated[list[str], typer.Option("--set", help="Replace a field: student.epochs=5. Repeatable.")]


@app.command()
def run(
    recipe: RecipeArgument,
    export: ExportOption = "",
    workspace: WorkspaceOption = "workspace",
    start_from: Annotated[str, typer.Option("--from", help="Redo this stage and all that depend on it.")] = "",
    only: Annotated[list[str], typer.Option("--only", help="Build this stage alone. Repeatable.")] = [],  # noqa: B006
    force: Annotated[bool, typer.Option("--force", help="Redo every stage that runs.")] = False,
    overrides: SetOption = [],  # noqa: B006
) -> None:
    """Run the whole pipeline; stages whose version exists are skipped."""
    prefect_settings.set_defaults()
    from flows.request import find_recipe, make_job, shipped_recipes

    make_job(find_recipe(recipe, overrides), export, workspace, start_from, only, force)  # fail before a server starts
    from flows.cli.doctor import server

    if (prefect := server()).state == "fail":
        raise UserError(f"PREFECT_API_URL: {prefect.says}")
    from flows.cli.output import print_run
    from flows.distil import distil
    from flows.request import typed_overrides

    state = distil(
        **({"recipe": recipe} if recipe in shipped_recipes() else {"recipe_file": recipe}),
        export=export,
        workspace=workspace,
        start_from=start_from,
        only=only,
        force=force,
        overrides=typed_overrides(overrides),
        return_state=True,
    )
    print_run(cast("dict[Stage, Artefact]", _outcome(state)))


@app.command()
def status(
    recipe: RecipeArgument = "demo",
    export: ExportOption = "",
    workspace: WorkspaceOption = "workspace",
    overrides: SetOption = [],  # noqa: B006
) -> None:
    """Which stages of a recipe are published, which are missing. Changes no artefact."""
    prefect_settings.set_defaults()
    from flows.cli.output import print_status
    from flows.request import find_recipe, make_job

    print_status(make_job(find_recipe(recipe, overrides), export, workspace))


@app.command()
def simulate(
    folder: Annotated[Path, typer.Argument(help="New folder for the export.")],
    recipe: Annotated[str, typer.Option("--recipe", help="Recipe whose simulator section is used.")] = "demo",
    overrides: SetOption = [],  # noqa: B006
) -> None:
    """Write a paired hospital export of simulated patients, in the MIMIC-IV layout."""
    from echoingecg.simulator.export import simulate as write
    from flows.cli.output import progress_line
    from flows.request import find_recipe
    from tasks.base.workspace import writing_to

    settings = find_recipe(recipe, overrides).simulator
    if settings is None:
        raise UserError(f"recipe '{recipe}' has no simulator section: try --recipe demo")
    with writing_to(folder), progress_line("patients") as progress:
        write(settings, folder, progress, workers=os.cpu_count() or 1)
    typer.echo(folder)


@app.command()
def teach(
    folder: Annotated[str, typer.Argument(help="Receives weights, configuration and model card.")],
    recipe: Annotated[str, typer.Option("--recipe", help="Recipe with a teaching section.")] = "teacher",
    export: ExportOption = "",
    workspace: WorkspaceOption = "workspace",
    overrides: SetOption = [],  # noqa: B006
) -> None:
    """Teach a small teacher on echo frames and report sentences; how the demo's was made."""
    prefect_settings.set_defaults()
    from flows.request import find_recipe, make_teaching_job

    make_teaching_job(find_recipe(recipe, overrides), export, workspace)  # fail before a server starts
    from flows.teach import teach as flow

    arguments = {"recipe": recipe, "export": export, "workspace": workspace, "overrides": overrides}
    typer.echo(_outcome(flow(folder, **arguments, return_state=True)))


@app.command()
def drift(
    export: Annotated[str, typer.Argument(help="The new export.")],
    student: students.StudentOption = "",
    recipe: Annotated[str, typer.Option("--recipe", help="Recipe whose drift section is the rule.")] = "demo",
    workspace: WorkspaceOption = "workspace",
    overrides: SetOption = [],  # noqa: B006
) -> None:
    """Compare a new export with what a student was trained on, and say whether it has drifted."""
    prefect_settings.set_defaults()
    from flows.cli.output import print_drift
    from flows.drift import drift as flow
    from flows.drift import drift_job
    from flows.request import find_recipe, shipped_recipes, typed_overrides

    # Fail before a server starts.
    _, judged = drift_job(find_recipe(recipe, overrides), export, student, workspace)
    chosen = {"recipe": recipe} if recipe in shipped_recipes() else {"recipe_file": recipe}
    arguments = chosen | {
        "student": str(judged.evaluation),
        "workspace": workspace,
        "overrides": typed_overrides(overrides),
    }
    print_drift(_outcome(flow(export, **arguments, return_state=True)))


@app.command()
def serve(
    recipe: RecipeArgument = "demo",
    workspace: WorkspaceOption = "workspace",
    inbox: Annotated[str, typer.Option("--inbox", help="Folder in which exports arrive, for retrain.")] = "inbox",
    cron: Annotated[str, typer.Option("--cron", help="When retrain looks for exports; default: every 15 min.")] = "",
) -> None:
    """Offer the pipeline in the UI of the Prefect server at PREFECT_API_URL, and run what is started there."""
    prefect_settings.set_defaults()
    from flows.cli.doctor import server
    from flows.request import find_recipe, folder_of, shipped_recipes

    find_recipe(recipe, [])
    if not os.environ.get("PREFECT_API_URL") or server().state == "fail":
        raise UserError("PREFECT_API_URL names no server that answers: start one with `prefect server start`")
    from flows.deployments import serve_all
    from flows.faults import watch

    watch()
    chosen = {"recipe": recipe} if recipe in shipped_recipes() else {"recipe_file": str(folder_of(recipe))}
    serve_all(chosen | {"workspace": str(folder_of(workspace)), "inbox": str(folder_of(inbox))}, cron)


@app.command()
def doctor(workspace: WorkspaceOption = "workspace") -> None:
    """Check this machine: packages, disk, device, Prefect server."""
    prefect_settings.set_defaults()
    from flows.cli.doctor import examine, print_findings

    if not print_findings(examine(Path(workspace))):
        raise typer.Exit(2)


@app.command()
def recipe(
    name: RecipeArgument,
    overrides: SetOption = [],  # noqa: B006
) -> None:
    """Print a whole recipe as YAML, defaults filled in: a start for your own."""
    from echoingecg.recipe import write_recipe
    from flows.request import find_recipe

    typer.echo(write_recipe(find_recipe(name, overrides)), nl=False)


def _outcome(state: "State") -> Any:
    """What a flow made; a fault the user can mend is raised, any other ends the command with code 1."""
    outcome = state.result(raise_on_failure=False)
    if state.is_completed():
        return outcome
    if isinstance(outcome, UserError):
        raise outcome
    typer.echo(f"error: a stage failed, see the traceback above: {state.message}", err=True)
    raise typer.Exit(1)


def main() -> None:
    """Entry point: a fault the user can mend is one line on stderr and exit code 2."""
    try:
        app()
    except UserError as fault:
        typer.echo(f"error: {' '.join(str(fault).split())}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
