"""`echoingecg plot`: a look at one ECG.

`echoingecg echo`: a look at one echo clip.
"""

from pathlib import Path
from typing import Annotated

import typer

from data_contracts.conventions import UserError


def plot(
    file: Annotated[Path, typer.Argument(help="An ECG of any accepted format; a WFDB record with or without .hea.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="PNG to write; default: ecg.png.")] = None,
    recipe: Annotated[str, typer.Option("--recipe", help="Recipe whose ecg section is used.")] = "demo",
    unit: Annotated[str, typer.Option("--unit", help="Amplitude unit, for a file that states none.")] = "",
    sampling_frequency: Annotated[
        float, typer.Option("--sampling-frequency", min=0, help="Hz, for a file that states none.")
    ] = 0.0,
    overrides: Annotated[
        list[str], typer.Option("--set", help="Replace a field: ecg.min_duration=5. Repeatable.")
    ] = [],  # noqa: B006
) -> None:
    """Draw the 12-lead page of one ECG, before and after filtering, with what was found. No names on it."""
    from echoingecg.ecg.plot import draw, pages_of_file
    from flows.request import find_recipe
    from tasks.base.workspace import writing_to

    settings = find_recipe(recipe, overrides).ecg
    target = output or Path("ecg.png")
    try:
        pages = pages_of_file(file, settings, unit or None, sampling_frequency or None)
    except OSError as fault:
        raise UserError(f"{file}: cannot be read: {fault.strerror}") from fault
    with writing_to(target.parent):
        target.write_bytes(draw(pages))
    typer.echo(target)


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
    from echoingecg.teacher.pictures import contact_sheet
    from flows.request import find_recipe
    from tasks.base.workspace import writing_to

    settings = find_recipe(recipe, overrides).teacher
    target = output or Path("echo.png")
    try:
        sheet = contact_sheet(file, settings)
    except OSError as fault:
        raise UserError(f"{file}: cannot be read: {fault.strerror}") from fault
    with writing_to(target.parent):
        target.write_bytes(sheet)
    typer.echo(target)
