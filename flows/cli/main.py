"""The command line. Heavy libraries are imported by the command that needs them: `--help` stays quick."""

import atexit
import logging
import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from data_contracts.conventions import UPSTREAM, UserError
from flows import own_server, prefect_settings, stopping
from flows.cli import artefacts, files, options, students

if TYPE_CHECKING:
    from prefect.states import State

    from data_contracts.conventions import Stage
    from tasks.store import Artefact

_OWN = ("", "data_contracts", "echoingecg", "tasks", "flows")
_PRIVATE = 0o077  # umask: nothing for the group or for others

app = typer.Typer(
    name="echoingecg",
    no_args_is_help=True,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(artefacts.app, name="artefacts")
for command in (
    files.list_ecgs, files.check_export, files.export_embeddings, files.forget, files.plot, files.echo, files.simulate,
    students.predict, students.stress, students.embed, students.search, students.compare, students.sweep,
    students.promote, students.rollback, students.import_released, students.export_released, students.export_hub,
    students.export_onnx, artefacts.backup, artefacts.restore, artefacts.reports,
):  # fmt: skip
    app.command()(command)


@app.callback()
def options_of_all(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
    json_logs: Annotated[
        bool,
        typer.Option("--json-logs", envvar=prefect_settings.JSON_LOGS, help="Logs on stderr, a JSON object a line."),
    ] = False,
) -> None:
    """Train a probabilistic ECG encoder from echocardiograms, and evaluate it."""
    if json_logs:
        prefect_settings.log_as_json()
    if version:
        from importlib.metadata import version as installed

        typer.echo(installed("echoingecg"))
        raise typer.Exit


@app.command()
def run(
    recipe: options.Recipe,
    export: options.Exports = [],  # noqa: B006
    workspace: options.Workspace = "workspace",
    start_from: Annotated[str, typer.Option("--from", help="Redo this stage and all that depend on it.")] = "",
    only: Annotated[list[str], typer.Option("--only", help="Build this stage alone. Repeatable.")] = [],  # noqa: B006
    force: Annotated[bool, typer.Option("--force", help="Redo every stage that runs.")] = False,
    public_data: options.PublicData = False,
    overrides: options.Overrides = [],  # noqa: B006
) -> None:
    """Run the whole pipeline; stages whose version exists are skipped."""
    prefect_settings.set_defaults()
    from flows.request import find_recipe, make_job, recipe_field, typed_overrides

    first, more = options.split(export)
    full_recipe = find_recipe(recipe, overrides)
    make_job(full_recipe, first, workspace, start_from, only, force, more, public_data)  # before a server starts
    state = _ended(
        lambda: import_module("flows.distil").distil,  # seconds, in which the server starts
        **recipe_field(recipe),
        export=first,
        workspace=workspace,
        start_from=start_from,
        only=only,
        force=force,
        more_exports=more,
        public_data=public_data,
        overrides=typed_overrides(overrides),
    )
    from flows.cli.output import print_run

    print_run(cast("dict[Stage, Artefact]", _outcome(state)))


@app.command()
def train(
    recipe: options.Recipe,
    export: options.Exports = [],  # noqa: B006
    workspace: options.Workspace = "workspace",
    overrides: options.Overrides = [],  # noqa: B006
) -> None:
    """Train the student in this process and leave a checkpoint, which the next run publishes. For torchrun."""
    from flows.request import find_recipe, make_job
    from tasks.all_stages import plans
    from tasks.store import leases
    from tasks.student import train_student

    options.open_store(workspace)  # an absent one is not made
    first, more = options.split(export)
    # Nothing is published, so nobody is named anew.
    job = make_job(find_recipe(recipe, overrides), first, workspace, more_exports=more, public_data=True)
    with leases.held(job.workspace):
        inputs = {
            plan.stage: job.store.find(plan.stage, plan.version)
            for plan in plans(job)
            if plan.stage in UPSTREAM["student"]
        }
        if absent := [stage for stage, artefact in inputs.items() if artefact is None]:
            raise UserError(f"{', '.join(absent)}: not there; run these stages first, with --only")
        train_student(job, {stage: artefact for stage, artefact in inputs.items() if artefact})


@app.command()
def status(
    recipe: options.Recipe = "demo",
    export: options.Exports = [],  # noqa: B006
    workspace: options.Workspace = "workspace",
    overrides: options.Overrides = [],  # noqa: B006
) -> None:
    """Which stages of a recipe are published, which are missing. Changes no artefact."""
    prefect_settings.set_defaults()
    from flows.cli.output import print_status
    from flows.request import find_recipe, make_job

    options.open_store(workspace)  # an absent one is not made
    first, more = options.split(export)
    print_status(make_job(find_recipe(recipe, overrides), first, workspace, more_exports=more, public_data=True))


@app.command()
def teach(
    folder: Annotated[str, typer.Argument(help="Receives weights, configuration and model card.")],
    recipe: Annotated[str, typer.Option("--recipe", help="Recipe with a teaching section.")] = "teacher",
    export: options.Export = "",
    workspace: options.Workspace = "workspace",
    public_data: options.PublicData = False,
    overrides: options.Overrides = [],  # noqa: B006
) -> None:
    """Train a small teacher on echo frames and report sentences, as the demo's teacher was trained."""
    prefect_settings.set_defaults()
    from flows.request import find_recipe, make_teaching_job

    make_teaching_job(find_recipe(recipe, overrides), export, workspace, public_data)  # fail before a server starts
    from flows import operations

    arguments = {"recipe": recipe, "export": export, "workspace": workspace, "overrides": overrides}
    typer.echo(_outcome(_ended(lambda: operations.teach, folder, **arguments, public_data=public_data)))


@app.command()
def drift(
    export: Annotated[str, typer.Argument(help="The new export.")],
    student: options.Student = "",
    recipe: Annotated[str, typer.Option("--recipe", help="Recipe whose drift section is the rule.")] = "demo",
    workspace: options.Workspace = "workspace",
    public_data: options.PublicData = False,
    overrides: options.Overrides = [],  # noqa: B006
) -> None:
    """Compare a new export with what a student was trained on, and say whether it has drifted."""
    prefect_settings.set_defaults()
    from flows import operations
    from flows.cli.output import print_drift
    from flows.request import find_recipe, recipe_field, typed_overrides

    # Fail before a server starts.
    _, judged = operations.drift_job(find_recipe(recipe, overrides), export, student, workspace, public_data)
    state = _ended(
        lambda: operations.drift,
        export,
        **recipe_field(recipe),
        student=str(judged.evaluation),
        workspace=workspace,
        public_data=public_data,
        overrides=typed_overrides(overrides),
    )
    print_drift(_outcome(state))


@app.command()
def evaluate(
    student: Annotated[str, typer.Argument(help="Student or evaluation; default: production, or the only one.")] = "",
    export: options.Export = "",
    labels: Annotated[str, typer.Option("--labels", help="CSV table of labels, a row for each ECG.")] = "",
    recipe: Annotated[str, typer.Option("--recipe", help="Recipe of the questions; default: the student's.")] = "",
    new_card: Annotated[
        bool, typer.Option("--new-card", help="Choose thresholds anew on a part of the cohort.")
    ] = False,
    output: Annotated[
        str, typer.Option("--output", "-o", help="Folder for the report; default: workspace/judged.")
    ] = "",
    workspace: options.Workspace = "workspace",
    public_data: options.PublicData = False,
    overrides: options.Overrides = [],  # noqa: B006
) -> None:
    """Judge a student on another cohort, without a teacher, and say how its thresholds and probabilities hold."""
    prefect_settings.set_defaults()
    from flows import operations
    from flows.cli.output import print_judged
    from flows.request import typed_overrides

    if not export:
        raise UserError("give --export DIR: the cohort to judge on")
    # Fail before a server starts.
    operations.evaluate_job(export, student, recipe, new_card, workspace, overrides, public_data, output)
    state = _ended(
        lambda: operations.evaluate,
        export,
        student=student,
        recipe_file=recipe,
        labels=labels,
        new_card=new_card,
        output=output,
        workspace=workspace,
        public_data=public_data,
        overrides=typed_overrides(overrides),
    )
    print_judged(_outcome(state))


@app.command()
def serve(
    recipe: options.Recipe = "demo",
    workspace: options.Workspace = "workspace",
    inbox: Annotated[str, typer.Option("--inbox", help="Folder in which exports arrive, for retrain.")] = "inbox",
    cron: Annotated[str, typer.Option("--cron", help="When retrain looks for exports; default: every hour.")] = "",
    name: Annotated[str, typer.Option("--name", help="Of this `serve`, where the server has several.")] = "",
) -> None:
    """Offer the pipeline in the UI of the Prefect server at PREFECT_API_URL, and run what is started there."""
    prefect_settings.set_defaults()
    from flows.cli.doctor import need_server
    from flows.request import find_recipe, folder_of, recipe_field, shipped_recipes

    find_recipe(recipe, [])
    need_server()
    from flows.deployments import serve_all
    from flows.faults import watch_for_crashes

    watch_for_crashes()
    fields = recipe_field(recipe if recipe in shipped_recipes() else str(folder_of(recipe)))
    with stopping.interruptible(stopping.end_runs_first, stopping.SERVE_GRACE_SECONDS):
        serve_all(fields | {"workspace": str(folder_of(workspace)), "inbox": str(folder_of(inbox))}, cron, name)


@app.command()
def worker(
    pool: Annotated[str, typer.Argument(help="Work pool, such as cpu.")],
    limit: Annotated[int, typer.Option("--limit", help="Runs at once; 0 for any number.")] = 0,
    with_healthcheck: Annotated[bool, typer.Option("--with-healthcheck", help="Offer the page /health.")] = False,
) -> None:
    """Run what is started in a work pool of the Prefect server at PREFECT_API_URL; stopped, it ends its runs first."""
    prefect_settings.set_defaults()
    from flows.cli.doctor import need_server

    need_server()
    from flows.deployments import run_worker

    with stopping.interruptible(stopping.end_runs_first, stopping.SERVE_GRACE_SECONDS):
        run_worker(pool, limit, with_healthcheck)


@app.command()
def crashed() -> None:
    """Make the Prefect server mark killed runs as crashed; `serve` does this, too. Needed once for a server."""
    prefect_settings.set_defaults()
    from flows.cli.doctor import need_server

    need_server()
    from flows.faults import watch_for_crashes

    watch_for_crashes()


@app.command()
def notify(
    block: Annotated[
        str, typer.Argument(help="Block of the Prefect server: TYPE/NAME, such as slack-webhook/ward.")
    ] = "",
    none: Annotated[bool, typer.Option("--none", help="Send nothing any more.")] = False,
) -> None:
    """Have the server send a message: retrain failed, champion frozen, export set aside, or an export has drifted."""
    prefect_settings.set_defaults()
    if bool(block) == none:
        raise UserError("give a block or --none")
    from flows.cli.doctor import need_server

    need_server()
    from flows.faults import notify_by

    for name in notify_by(block):
        typer.echo(f"{name}: {block or 'off'}")


@app.command()
def deployments() -> None:
    """Print prefect.yaml: the deployments of `serve`, for workers."""
    prefect_settings.set_defaults()
    from flows.deployments import prefect_yaml

    typer.echo(prefect_yaml(), nl=False)


@app.command()
def doctor(workspace: options.Workspace = "workspace") -> None:
    """Check this machine: packages, disk, device, Prefect server."""
    prefect_settings.set_defaults()
    from flows.cli.doctor import examine, print_findings

    if not print_findings(examine(Path(workspace))):
        raise typer.Exit(2)


@app.command()
def recipe(
    name: options.Recipe,
    overrides: options.Overrides = [],  # noqa: B006
) -> None:
    """Print a whole recipe as YAML, defaults filled in: a start for your own."""
    from echoingecg.recipe import write_recipe
    from flows.request import find_recipe

    typer.echo(write_recipe(find_recipe(name, overrides)), nl=False)


def _ended(load: Callable[[], Callable[..., Any]], *values: Any, **parameters: Any) -> "State":
    """The final state of the flow that is loaded. Without a Prefect server it has one of its own for its duration."""
    from flows.cli.doctor import need_answer

    need_answer()
    wait_for_server = own_server.start()
    flow = load()
    from prefect.exceptions import TerminationSignal

    wait_for_server()
    try:
        return cast("State", flow(*values, **parameters, return_state=True))
    except TerminationSignal as end:
        raise stopping.Interrupted(end.signal) from end


def _outcome(state: "State") -> Any:
    """A flow's result. Raises a fault that the user can mend; any other fault ends the command with code 1."""
    outcome = state.result(raise_on_failure=False)
    if state.is_completed():
        return outcome
    if isinstance(outcome, UserError):
        raise outcome
    options.say(f"error: a stage failed, see the traceback above: {state.message}", True, logging.ERROR)
    raise typer.Exit(1)


def main() -> None:
    """Runs the command. A fault that the user can mend is one line on stderr and exit code 2; a signal's is 130 or 143.

    What it writes, its owner alone can read: exports, workspaces, Prefect's database.
    """
    os.umask(os.umask(_PRIVATE) | _PRIVATE)
    try:
        with stopping.interruptible():
            app()
    except UserError as fault:
        options.say(f"error: {' '.join(str(fault).split())}", True, logging.ERROR)
        sys.exit(2)
    except ModuleNotFoundError as fault:
        if (fault.name or "").partition(".")[0] in _OWN:
            raise
        options.say(f"error: this command needs {fault.name}: pip install 'echoingecg[pipeline]'", True, logging.ERROR)
        sys.exit(2)
    except PermissionError as fault:
        line = f"error: {fault.filename}: permission denied: check its owner, or choose another place"
        options.say(line, True, logging.ERROR)
        sys.exit(2)
    except stopping.Interrupted as end:
        sys.stdout.flush()
        stopping.end_now(end.number)


def program() -> None:
    """Entry point of the installed program: `main`, and a signal's line until the last moment."""
    atexit.register(stopping.ignore_from_now_on)  # called last
    stopping.end_at_once_from_now_on()  # before `main` listens, and after
    main()


if __name__ == "__main__":
    program()
