"""`echoingecg artefacts ...`: show, compare, verify and tidy published artefacts; `backup` and `restore`."""

import logging
from typing import Annotated

import typer

from flows.cli import options
from flows.cli.options import open_store

app = typer.Typer(
    help="List, show, compare, verify and tidy published artefacts; make reports again.", no_args_is_help=True
)


@app.command("list")
def list_(workspace: options.Workspace = "workspace") -> None:
    """All artefacts and aliases."""
    from flows.cli.output import print_artefacts

    print_artefacts(open_store(workspace, "artefacts"))


@app.command()
def show(name: options.Name, workspace: options.Workspace = "workspace") -> None:
    """One artefact: manifest, files, and what it refused, with the files' paths where this machine knows them."""
    from flows.cli.output import print_artefact

    print_artefact(open_store(workspace), name)


@app.command()
def lineage(name: options.Name, workspace: options.Workspace = "workspace") -> None:
    """What an artefact was made of, stage by stage."""
    store = open_store(workspace)
    for line in store.lineage_lines(store.named(name)):
        typer.echo(line)


@app.command()
def report(
    name: options.Name,
    out: Annotated[str, typer.Option("--out", "-o", help="Folder for report.html, model_card.md and figures.")],
    workspace: options.Workspace = "workspace",
) -> None:
    """Make the report of an evaluation again, from published artefacts alone."""
    from pathlib import Path

    from data_contracts.evaluation import REPORT
    from tasks.evaluation import rebuild_report

    folder = Path(out).expanduser()
    rebuild_report(open_store(workspace), name, folder)
    typer.echo(folder / REPORT)


@app.command()
def diff(first: options.Name, second: options.Name, workspace: options.Workspace = "workspace") -> None:
    """Why two artefacts of a stage have different versions, and which files differ."""
    from tasks.store import differences

    store = open_store(workspace)
    lines = differences(store.named(first).manifest, store.named(second).manifest)
    typer.echo("\n".join(lines) or "equal")


@app.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Artefacts; default: all in the workspace.")] = None,
    workspace: options.Workspace = "workspace",
    shared: Annotated[bool, typer.Option("--shared", help="The copies in the shared store instead.")] = False,
) -> None:
    """Compare every file, and every row in the pools, with its checksum."""
    from echoingecg.common import no_progress
    from tasks.operations.verify_and_collect import verify_artefacts

    by_artefact = verify_artefacts(open_store(workspace, "artefacts"), names or [], shared, no_progress)
    faults = [fault for lines in by_artefact.values() for fault in lines]
    for fault in faults:
        options.say(fault, err=True, level=logging.ERROR)
    typer.echo(f"{len(by_artefact)} artefacts, {len(faults)} faults")
    if faults:
        raise typer.Exit(2)


@app.command()
def alias(
    name: str,
    artefact: options.Name,
    workspace: options.Workspace = "workspace",
    why: options.Why = "",
) -> None:
    """Point an alias, such as `production`, at an artefact."""
    store = open_store(workspace)
    target = store.named(artefact)
    store.set_alias(name, target, why=why)
    typer.echo(f"{name} -> {target}")


@app.command()
def moves(
    alias: Annotated[str, typer.Argument(help="An alias; default: all.")] = "",
    workspace: options.Workspace = "workspace",
) -> None:
    """Every move of aliases in this workspace: when, who, from what, to what, why."""
    from tasks.store import read_moves

    for move in read_moves(open_store(workspace).workspace, alias):
        step = f"{move.before or 'nothing'} -> {move.after}, {move.kind}"
        options.say(f"{move.moved} {move.who} {move.alias}: {step}{f': {move.why}' if move.why else ''}")


@app.command()
def gc(
    workspace: options.Workspace = "workspace",
    delete: Annotated[bool, typer.Option("--delete", help="Delete; without it, only list.")] = False,
    shared: Annotated[bool, typer.Option("--shared", help="In the shared store instead, for all machines.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Artefacts younger than a day, too.")] = False,
    keep_last: Annotated[
        int, typer.Option("--keep-last", min=1, help="Newest evaluations to keep, with their students.")
    ] = 1,
    unused_days: Annotated[
        float, typer.Option("--unused-days", min=0, help="Private indexes of exports not looked at for so long, too.")
    ] = 0,
) -> None:
    """What no alias, newest evaluation or live run needs: artefacts, leftovers, old indexes. Lists, or deletes."""
    from tasks.operations.verify_and_collect import garbage_collect, garbage_collect_shared

    store = open_store(workspace, "artefacts")
    own = garbage_collect(store, delete, force, keep_last, unused_days)
    for line in garbage_collect_shared(store, delete) if shared else own:
        typer.echo(line)


@app.command()
def share(
    address: Annotated[str, typer.Argument(help="s3://BUCKET/PREFIX; without it, say which.", metavar="ADDRESS")] = "",
    workspace: options.Workspace = "workspace",
    none: Annotated[bool, typer.Option("--none", help="Leave the shared store; nothing is deleted.")] = False,
) -> None:
    """Share artefacts and aliases with other machines' workspaces, by a store on S3."""
    from data_contracts.conventions import UserError
    from tasks.store import join, leave, sharing

    if address and none:
        raise UserError("give an address or --none, not both")
    place = open_store(workspace, "nothing" if address else "folder").workspace
    lines = leave(place) if none else join(place, address) if address else iter([f"artefacts: {sharing(place)}"])
    for line in lines:
        typer.echo(line)


def backup(
    folder: Annotated[str, typer.Argument(help="New, or an earlier backup, which is brought up to date.")],
    workspace: options.Workspace = "workspace",
) -> None:
    """Copy a workspace, while runs go on, to a folder elsewhere. It holds the pseudonym key: keep it as secret."""
    from flows.cli.output import progress_line
    from flows.request import folder_of
    from tasks.operations.backup import back_up

    with progress_line("files") as progress:
        files, copied = back_up(open_store(workspace, "artefacts"), folder_of(folder), progress)
    typer.echo(f"{files:,} files, {copied:,} of them copied now")


def restore(
    folder: Annotated[str, typer.Argument(help="A backup.")],
    workspace: Annotated[str, typer.Option("--workspace", "-w", help="New folder of the workspace.")],
) -> None:
    """Make a workspace of a backup; every byte is compared with the backup's list."""
    from flows.cli.output import progress_line
    from flows.request import folder_of
    from tasks.base.workspace import Workspace
    from tasks.operations.backup import restore as make

    with progress_line("files") as progress:
        made = make(folder_of(folder), Workspace(folder_of(workspace)), progress)
    typer.echo(f"{len(made.files):,} files as of {made.made}, by version {made.software}")


def reports(
    workspace: options.Workspace = "workspace",
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on.")] = 4201,
) -> None:
    """Offer reports, and nothing else, to browsers, behind the password in ECHOINGECG_REPORTS_AUTH (user:password)."""
    from flows.report_server import report_server

    server = report_server(open_store(workspace, "artefacts").workspace.artefacts, host, port)
    options.say(f"reports on http://{host}:{server.server_port}; Ctrl-C ends it", err=True)
    server.serve_forever()
