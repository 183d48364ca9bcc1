"""`echoingecg predict` and `embed`: ECG files through a published student.

`echoingecg search`: what in the cohort is like an ECG, an echo study or a sentence.

`echoingecg promote`: does a challenger take the champion's place?

`echoingecg import-released` and `export-released`: published weights in, any student out.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from data_contracts.conventions import UserError
from flows.cli.artefacts import NameArgument, WorkspaceOption, open_store

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
    from echoingecg.prediction.files import list_ecgs, write_json, write_parquet
    from flows.cli.output import print_counts, print_readings, progress_line
    from tasks.base.workspace import writing_to
    from tasks.operations.students import find_student, read_files

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
    from echoingecg.prediction.files import list_ecgs, write_parquet
    from flows.cli.output import progress_line
    from tasks.base.workspace import writing_to
    from tasks.operations.students import find_student, read_files

    judged, found = find_student(open_store(workspace), student), list_ecgs(files)
    with progress_line("ECGs") as progress, writing_to(parquet.parent):
        refused = 0
        for table in write_parquet(GAUSSIANS, read_files(judged, found, "embed", progress=progress), parquet):
            refused += table.num_rows - table["reason"].null_count
    typer.echo(f"{len(found) - refused} ECGs embedded, {refused} files refused", err=True)
    typer.echo(parquet)


def search(
    file: Annotated[str, typer.Argument(help="An ECG file: finds echo studies.")] = "",
    study: Annotated[str, typer.Option("--study", help="Pseudonym of an echo study: finds ECGs.")] = "",
    text: Annotated[str, typer.Option("--text", help="A sentence about an echo: finds ECGs.")] = "",
    k: Annotated[int, typer.Option("--k", min=1, help="How many to find.")] = 10,
    student: StudentOption = "",
    workspace: WorkspaceOption = "workspace",
) -> None:
    """Nearest echo studies of the cohort, or nearest ECGs. Prints distances, pseudonyms and echo reports."""
    from data_contracts.prediction import NOTICE
    from flows.cli.output import progress_line
    from tasks.operations.students import Cohort, ecgs_like, find_student, studies_like

    if sum(map(bool, (file, study, text))) != 1:
        raise UserError("search: give one of FILE, --study and --text")
    store = open_store(workspace)
    with progress_line("ECGs") as progress:
        cohort = Cohort(store, find_student(store, student), progress)
        if file:
            hits = studies_like(cohort, file, k)
        else:
            hits = ecgs_like(cohort, cohort.study(study) if study else cohort.sentence(text), k)
    typer.echo(NOTICE, err=True)
    for hit in hits:
        typer.echo(f"{hit.distance:.4f}  {hit.name}  {hit.report}".rstrip())


def promote(
    challenger: NameArgument,
    over: Annotated[str, typer.Option("--over", help="Alias that names the champion; made if it is not there.")],
    workspace: WorkspaceOption = "workspace",
    recipe: Annotated[str, typer.Option("--recipe", help="Recipe whose promotion section is the rule.")] = "demo",
    overrides: Annotated[
        list[str], typer.Option("--set", help="Replace a field: promotion.least_gain=0.01. Repeatable.")
    ] = [],  # noqa: B006
) -> None:
    """Compare two students on the same test patients, and move the alias if the recipe's rule says so."""
    from flows.request import find_recipe
    from tasks.operations.retrain import promote as decide

    decision, path = decide(open_store(workspace), challenger, over, find_recipe(recipe, overrides).promotion)
    for one in decision.compared:
        if one.gain is not None and one.low is not None:
            typer.echo(
                f"{one.endpoint}: {decision.rule['metric']} {one.champion:.3f} to {one.challenger:.3f}, gain "
                f"{one.gain:+.3f} ({one.low:+.3f} to {one.high:+.3f}); {one.records} ECGs of {one.patients} patients, "
                f"{one.positives} positive"
            )
    typer.echo(f"{decision.verdict}: {decision.says}")
    typer.echo(path)


def import_released(
    weights: Annotated[Path, typer.Argument(help="echoingecg.pt, or safetensors, in the released layout.")],
    scaler: Annotated[Path, typer.Argument(help="ecg_scaler.pkl, or ecg_scaler.json of an export.")],
    workspace: WorkspaceOption = "workspace",
    text: Annotated[
        str, typer.Option("--text", help="Text model whose tokenizer to take: a folder, or a name in the local cache.")
    ] = "dmis-lab/biobert-v1.1",
    text_config: Annotated[
        Path | None,
        typer.Option("--text-config", help="Its config.json; default: the one beside the weights, or BERT-base."),
    ] = None,
) -> None:
    """Turn released weights into a student artefact. Downloads nothing, runs nothing that the files hold."""
    from tasks.student import ReleasedFiles
    from tasks.student import import_released as make

    artefact = make(open_store(workspace), ReleasedFiles(weights, scaler, text, text_config))
    recipe = artefact.manifest.recipe
    typer.echo(
        f"{artefact.manifest.counts['tensors']} tensors; the released layout holds no scale and shift of the match "
        f"logit: the published starts, {recipe['scale_start']:g} and {recipe['shift_start']:g}, stand in",
        err=True,
    )
    typer.echo(artefact)


def export_released(
    student: NameArgument,
    folder: Annotated[Path, typer.Argument(help="New folder.")],
    workspace: WorkspaceOption = "workspace",
) -> None:
    """Write a student in the released layout: safetensors and JSON, no pickle."""
    from tasks.student import export_released as export

    for path in export(open_store(workspace), student, folder):
        typer.echo(path)
