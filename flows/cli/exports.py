"""Commands on exports: `list-ecgs` lists a folder's ECG files, `check-export` says what an export holds,
`export-embeddings` writes its echo embeddings as a table."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli import options

if TYPE_CHECKING:
    from echoingecg.catalog.check import ExportSummary

_MEASUREMENTS_SHOWN = 30


def check_export(
    export: Annotated[Path, typer.Argument(help="Folder of the hospital's export.")],
    recipe: Annotated[str, typer.Option("--recipe", help="Recipe whose catalog section is used.")] = "demo",
    overrides: options.Overrides = [],  # noqa: B006
) -> None:
    """Print what an export holds: layout, counts, measurements, refusals. Builds nothing, prints no identifier."""
    from echoingecg.catalog.check import check_export as summarise
    from flows.cli.output import progress_line
    from flows.request import find_recipe

    settings = find_recipe(recipe, overrides).catalog
    with progress_line("files") as progress:
        summary = summarise(export, settings, progress)
    for line in lines_of(summary):
        options.say(line)


def list_ecgs(
    folder: Annotated[Path, typer.Argument(help="Folder of MUSE, Philips, aECG, DICOM or SCP-ECG files.")],
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
    from tasks.operations.embeddings import write_embeddings

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
