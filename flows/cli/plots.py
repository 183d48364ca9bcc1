"""`echoingecg plot` and `echo`: a look at one ECG or one echo clip."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from data_contracts.conventions import UserError
from flows.cli import options


def plot(
    file: Annotated[Path, typer.Argument(help="An ECG of any accepted format; a WFDB record with or without .hea.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG to write.")] = Path("ecg.png"),
    recipe: Annotated[str, typer.Option("--recipe", help="Recipe whose ecg section is used.")] = "demo",
    unit: options.Unit = "",
    sampling_frequency: options.SamplingFrequency = 0.0,
    leads: options.Leads = "",
    overrides: Annotated[
        list[str], typer.Option("--set", help="Replace a field: ecg.min_duration=5. Repeatable.")
    ] = [],  # noqa: B006
) -> None:
    """Draw the 12-lead page of one ECG, before and after filtering, with what was found. No names on it."""
    from echoingecg.ecg.plot import draw, pages_of_file
    from flows.request import find_recipe

    settings = find_recipe(recipe, overrides).ecg
    stated = options.stated(unit, sampling_frequency, leads)
    _write(file, output, lambda: draw(pages_of_file(file, settings, stated)))


def echo(
    file: Annotated[Path, typer.Argument(help="An echo clip of any accepted format.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG to write.")] = Path("echo.png"),
    recipe: Annotated[str, typer.Option("--recipe", help="Recipe whose teacher section is used.")] = "demo",
    overrides: Annotated[
        list[str], typer.Option("--set", help="Replace a field: teacher.min_frames=10. Repeatable.")
    ] = [],  # noqa: B006
) -> None:
    """Draw frames of one clip as decoded, with the outline of the sector found, and as the teacher sees them.

    A clip that a run would refuse is drawn, too, with the reason and what may be set. The upper row shows what the
    scanner printed, a name included: keep the picture where the clip may be.
    """
    from echoingecg.teacher.pictures import contact_sheet
    from flows.request import find_recipe

    settings = find_recipe(recipe, overrides).teacher
    remarks: list[str] = []

    def picture() -> bytes:
        sheet = contact_sheet(file, settings)
        remarks.extend(sheet.remarks)
        return sheet.png

    _write(file, output, picture)
    for remark in remarks:
        options.say(remark)


def _write(file: Path, output: Path, picture: Callable[[], bytes]) -> None:
    """Writes the picture of a file and prints its path. Raises UserError when the file cannot be read."""
    from echoingecg.common import replace_atomically
    from tasks.base.workspace import writing_to

    options.check_output(output, "PNG")
    try:
        content = picture()
    except OSError as fault:
        raise UserError(f"{file}: cannot be read: {fault.strerror}") from fault
    with writing_to(output.parent), replace_atomically(output) as beside:
        beside.write_bytes(content)
    options.say(output)
