"""Starts and ends the services of docker-compose.yml without containers: `python -m tests.stack up | down`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from echoingecg.common import UserError
from tests.stack import stack

app = typer.Typer(help=__doc__, add_completion=False, pretty_exceptions_enable=False)
Data = Annotated[
    Path, typer.Option(help="Folder that keeps database, workspace, logs and passwords.", resolve_path=True)
]
_DATA = Path("build/stack")


@app.command()
def up(
    data: Data = _DATA,
    any_ports: Annotated[bool, typer.Option("--any-ports", help="Free ports instead of the usual ones.")] = False,
) -> None:
    """Start every service; Ctrl-C ends them all."""
    stack.up(data, any_ports, lambda line: typer.echo(line))


@app.command()
def down(data: Data = _DATA) -> None:
    """End every service, also of a stack whose keeper was killed."""
    left = stack.down(data)
    typer.echo(f"down; {left} processes had outlived their keeper" if left else "down")


if __name__ == "__main__":
    try:
        app()
    except UserError as fault:
        typer.echo(f"error: {fault}", err=True)
        sys.exit(2)
