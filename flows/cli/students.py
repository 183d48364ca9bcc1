"""`echoingecg predict` and `embed`: ECG files through a published student."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from data_contracts.errors import UserError
from flows.cli.artefacts import WorkspaceOption, open_store

FilesArgument = Annotated[
    list[str], typer.Argument(help="ECG files of any accepted format, WFDB records, or folders of them.")
]
StudentOption = Annotated[
    str,
    typer.Option(
        "--student", "-s", help="Student or evaluation: STAGE-VERSION or alias. Default: production, or the only one."
    ),
]


def predict(
    files: FilesArgument,
    student: StudentOption = "",
    protocol: Annotated[
        str, typer.Option("--protocol", help="zero_shot, zero_shot_teacher or linear_probe.")
    ] = "zero_shot",
    workspace: WorkspaceOption = "workspace",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    parquet: Annotated[Path | None, typer.Option("--parquet", help="Write a Parquet file.")] = None,
) -> None:
    """Read echo findings off ECGs: probability, interval, uncertainty, predict or refer. Not for clinical use."""
    from data_contracts.prediction import NOTICE, READINGS
    from echoingecg.prediction.files import write_json, write_parquet
    from echoingecg.reading.listing import list_ecgs
    from flows.cli.output import progress_line
    from flows.readings import print_counts, print_readings
    from tasks.operations.predict import find_student, read_files
    from tasks.workspace import writing_to

    if as_json and parquet:
        raise UserError("--json and --parquet exclude each other")
    judged, found = find_student(open_store(workspace), student), list_ecgs(files)
    typer.echo(NOTICE, err=True)
    with progress_line("ECGs") as progress:
        tables = read_files(judged, found, "predict", protocol, progress=progress)
        if as_json:
            about = {"student": str(judged.student), "evaluation": str(judged.evaluation)}
            write_json(tables, about, sys.stdout)
        elif parquet:
            with writing_to(parquet.parent):
                print_counts(write_parquet(READINGS, tables, parquet), str(judged))
            typer.echo(parquet)
        else:
            print_readings(tables, found, str(judged))


def embed(
    files: FilesArgument,
    parquet: Annotated[Path, typer.Option("--parquet", help="Parquet file to write.")],
    student: StudentOption = "",
    workspace: WorkspaceOption = "workspace",
) -> None:
    """Write the Gaussians of ECGs, mean and log-variance, as Parquet."""
    from data_contracts.prediction import GAUSSIANS
    from echoingecg.prediction.files import write_parquet
    from echoingecg.reading.listing import list_ecgs
    from flows.cli.output import progress_line
    from tasks.operations.predict import find_student, read_files
    from tasks.workspace import writing_to

    judged, found = find_student(open_store(workspace), student), list_ecgs(files)
    with progress_line("ECGs") as progress, writing_to(parquet.parent):
        refused = 0
        for table in write_parquet(GAUSSIANS, read_files(judged, found, "embed", progress=progress), parquet):
            refused += table.num_rows - table["reason"].null_count
    typer.echo(f"{len(found) - refused} ECGs embedded, {refused} files refused", err=True)
    typer.echo(parquet)
