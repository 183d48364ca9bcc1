"""Commands on files: `list-ecgs` lists a folder's ECGs, `check-export` says what an export holds, `export-embeddings`
writes its echo embeddings as a table, `plot` and `echo` draw one ECG or one echo clip, `simulate` writes an export.
"""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from data_contracts.conventions import UserError
from flows.cli import options

if TYPE_CHECKING:
    from echoingecg.catalog.check import ExportSummary

_MEASUREMENTS_SHOWN = 30


def check_export(
    export: Annotated[Path, typer.Argument(help="Folder of the hospital's export.")],
    recipe: Annotated[str, typer.Option("--recipe", help="Recipe whose catalog section is used.")] = "demo",
    overrides: options.Overrides = [],  # noqa: B006
) -> None:
    """Print what an export holds: layout, counts, labels, refusals. Builds nothing, prints no identifier."""
    from echoingecg.catalog.check import check_export as summarise
    from echoingecg.evaluation.protocols.label_check import count_labels
    from flows.cli.output import progress_line
    from flows.request import find_recipe

    chosen = find_recipe(recipe, overrides)
    asked = (*chosen.evaluation.endpoints, *chosen.evaluation.regressions)
    kept = {name for endpoint in asked for name in endpoint.measurements}
    with progress_line("files") as progress:
        summary = summarise(export, chosen.catalog, progress, kept)
    for line in lines_of(summary):
        options.say(line)
    if asked and summary.counts["ECGs"]:
        options.say(f"labels of ECGs by the recipe {recipe}, if every ECG can be used:")
        for counts in count_labels(chosen.evaluation, chosen.pairs, summary.tables):
            options.say(f"  {counts}")


def list_ecgs(
    folder: Annotated[Path, typer.Argument(help="Folder of MUSE, CardioSoft, Philips, aECG, DICOM or SCP-ECG files.")],
    reports: Annotated[
        bool, typer.Option("--reports", help="Write the statements, too. They may name who confirmed them.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace tables that are there.")] = False,
) -> None:
    """Write ecgs.csv, from what the files of a folder state: patient, time, sex, age. It names patients."""
    from echoingecg.ecg import file_list
    from flows.cli.output import progress_line

    with progress_line("files") as progress:
        listed = file_list.list_ecgs(folder, progress)
    file_list.write_list(listed, folder, reports, replace)
    options.say(f"{folder / file_list.ECGS}: {len(listed.rows[file_list.ECGS]):,} ECGs of {listed.patients:,} patients")
    if refused := listed.rows[file_list.REFUSED]:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in Counter(row[1] for row in refused).most_common())
        options.say(f"{folder / file_list.REFUSED}: {len(refused):,} files left out: {reasons}")


def export_embeddings(
    output: Annotated[Path, typer.Argument(help="Parquet file that is written: OUT.parquet.")],
    recipe: Annotated[str, typer.Option("--recipe", help="Recipe whose teacher stage was run.")] = "demo",
    export: options.Export = "",
    workspace: options.Workspace = "workspace",
    overrides: options.Overrides = [],  # noqa: B006
) -> None:
    """Write the teacher's vectors of every echo frame, for `teacher.model: table:FILE`. It names the export's files."""
    from flows.cli.output import progress_line
    from flows.request import find_recipe, make_job
    from tasks.operations.teachers import write_embeddings

    options.check_output(output, "Parquet", workspace)
    options.open_store(workspace)  # an absent one is not made
    job = make_job(find_recipe(recipe, overrides), export, workspace, public_data=True)  # names nobody anew
    with progress_line("clips") as progress:
        vectors = write_embeddings(job, output, progress)
    options.say(f"{output}: {vectors:,} vectors")


def lines_of(summary: "ExportSummary") -> list[str]:
    """Returns the lines to print."""
    lines = [f"layout: {summary.layout}"]
    lines += [f"{what}: {number:,}" for what, number in summary.counts.items()]
    if summary.gaps:
        lines.append(f"measurements without result, left out: {summary.gaps:,}")
    results, words = summary.measurements.results, summary.measurements.words
    for (name, unit), number in results.most_common(_MEASUREMENTS_SHOWN):
        in_words = f", {words[name, unit]:,} in words" if words[name, unit] else ""
        lines.append(f"  {name} [{unit}]: {number:,}{in_words}")
    if (more := len(results) - _MEASUREMENTS_SHOWN) > 0:
        lines.append(f"  and {more} more names and units")
    lines.append(f"refused: {summary.refused.total():,}")
    lines += [f"  {number:,} {reason}: {detail}" for (reason, detail), number in summary.refused.most_common()]
    return lines


def forget(
    patient: Annotated[str, typer.Argument(help="The hospital's own number of the patient.", metavar="PATIENT")],
    site: Annotated[str, typer.Option("--site", help="The patient's site, where exports have sites.")] = "",
    delete: Annotated[bool, typer.Option("--delete", help="Do it; without it, only list.")] = False,
    keep_students: Annotated[
        bool, typer.Option("--keep-students", help="Name students that know the patient, and keep them.")
    ] = False,
    workspace: options.Workspace = "workspace",
) -> None:
    """Take a patient who has withdrawn consent out of a workspace, for good; without --delete, list what would go."""
    from tasks.operations.forget import forget as take_out

    for line in take_out(options.open_store(workspace, "artefacts"), patient, site, delete, keep_students):
        options.say(line)
    if not delete:
        typer.echo("nothing has changed: --delete does it")


def plot(
    file: Annotated[Path, typer.Argument(help="An ECG of any accepted format; a WFDB record with or without .hea.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="PAGE.png, PAGE.pdf or PAGE.svg.")] = Path("ecg.png"),
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
    kind = output.suffix.removeprefix(".").lower()
    if kind not in ("png", "pdf", "svg"):
        raise UserError(f"{output}: the page is .png, .pdf or .svg")
    _write(file, output, lambda: draw(pages_of_file(file, settings, stated), kind=kind), kind.upper())


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


def simulate(
    folder: Annotated[Path, typer.Argument(help="New folder for the export.")],
    recipe: Annotated[str, typer.Option("--recipe", help="Recipe whose simulator section is used.")] = "demo",
    overrides: options.Overrides = [],  # noqa: B006
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
    options.say(folder)


def _write(file: Path, output: Path, picture: Callable[[], bytes], kind: str = "PNG") -> None:
    """Writes the picture of a file and prints its path. Raises UserError when the file cannot be read."""
    from echoingecg.common import replace_atomically
    from tasks.base.workspace import writing_to

    options.check_output(output, kind)
    try:
        content = picture()
    except OSError as fault:
        raise UserError(f"{file}: cannot be read: {fault.strerror}") from fault
    with writing_to(output.parent), replace_atomically(output) as beside:
        beside.write_bytes(content)
    options.say(output)
