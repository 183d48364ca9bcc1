"""`echoingecg import-released` and `export-released`: published weights in, any student out."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.artefacts import NameArgument, WorkspaceOption, open_store


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
    from tasks.operations.released import Files
    from tasks.operations.released import import_released as make

    artefact = make(open_store(workspace), Files(weights, scaler, text, text_config))
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
    from tasks.operations.released import export_released as export

    for path in export(open_store(workspace), student, folder):
        typer.echo(path)
