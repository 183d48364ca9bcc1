"""`python -m deploy up | down | secrets | estimate`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from deploy import stack
from deploy.estimate import Assumptions, tables
from deploy.secrets import random_secrets
from echoingecg.common import UserError

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


@app.command()
def secrets() -> None:
    """Print `.env.example` with random passwords."""
    typer.echo(random_secrets(), nl=False)


@app.command()
def estimate(
    changed: Annotated[list[str] | None, typer.Option("--set", help="assumption=number")] = None,
    gpus: Annotated[list[int] | None, typer.Option(help="Numbers of GPUs to compare.")] = None,
) -> None:
    """Hours and price of all of MIMIC-IV, on paper."""
    try:
        told = Assumptions.model_validate(dict(one.split("=", 1) for one in changed or []))
    except ValueError as fault:
        raise UserError(
            f"--set takes an assumption of the table and a number: {' '.join(str(fault).split())}"
        ) from fault
    for line in tables(told, tuple(gpus or (1, 8))):
        typer.echo(line)


if __name__ == "__main__":
    try:
        app()
    except UserError as fault:
        typer.echo(f"error: {fault}", err=True)
        sys.exit(2)
