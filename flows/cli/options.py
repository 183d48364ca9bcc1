"""Arguments and options that several commands have, and the store that they open."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tasks.store import ArtefactStore

Workspace = Annotated[
    str, typer.Option("--workspace", "-w", envvar="ECHOINGECG_WORKSPACE", help="Folder of pools and artefacts.")
]
Name = Annotated[str, typer.Argument(help="STAGE-VERSION (the start of a version is enough) or an alias.")]
Recipe = Annotated[str, typer.Argument(help="A shipped recipe (demo, paper, smoke) or a YAML file.")]
Export = Annotated[str, typer.Option("--export", "-e", help="Hospital export; default: simulate the recipe's.")]
Exports = Annotated[
    list[str],
    typer.Option(
        "--export",
        "-e",
        help="Hospital export, or SITE=FOLDER; default: simulate the recipe's. Repeatable, each with its site.",
    ),
]
Overrides = Annotated[list[str], typer.Option("--set", help="Replace a field: student.epochs=5. Repeatable.")]
Student = Annotated[
    str,
    typer.Option(
        "--student", "-s", help="Student or evaluation: STAGE-VERSION or alias. Default: production, or the only one."
    ),
]
EcgFiles = Annotated[
    list[str], typer.Argument(help="ECG files of any accepted format, WFDB records, or folders of them.")
]


def open_store(workspace: str) -> "ArtefactStore":
    """The artefact store of a workspace as the user typed it."""
    from flows import request  # pydantic and YAML: not for --help

    return request.open_store(workspace)
