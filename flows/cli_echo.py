"""`echoingecg echo`: a look at one echo clip."""

from pathlib import Path
from typing import Annotated

import typer

from data_contracts.errors import UserError


def echo(
    file: Annotated[Path, typer.Argument(help="An echo clip of any accepted format.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="PNG to write; default: echo.png.")] = None,
    recipe: Annotated[str, typer.Option("--recipe", help="Recipe whose teacher section is used.")] = "demo",
    overrides: Annotated[
        list[str], typer.Option("--set", help="Replace a field: teacher.min_frames=10. Repeatable.")
    ] = [],  # noqa: B006
) -> None:
    """Draw frames of one clip as decoded, with the outline of the sector found, and as the teacher sees them.

    The upper row shows what the scanner printed, a name included: keep the picture where the clip may be.
    """
    from echoingecg.teacher.pictures import sheet_of_file
    from flows.request import find_recipe
    from tasks.workspace import writing_to

    settings = find_recipe(recipe, overrides).teacher
    target = output or Path("echo.png")
    try:
        sheet = sheet_of_file(file, settings)
    except OSError as fault:
        raise UserError(f"{file}: cannot be read: {fault.strerror}") from fault
    with writing_to(target.parent):
        target.write_bytes(sheet)
    typer.echo(target)
