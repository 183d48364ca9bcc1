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
