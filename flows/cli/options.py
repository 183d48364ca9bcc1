"""Arguments and options that several commands have, and the store that they open."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from data_contracts.conventions import UserError
from flows import prefect_settings

if TYPE_CHECKING:
    from echoingecg.ecg.decode.recording import Stated
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
PublicData = Annotated[
    bool, typer.Option("--public-data", help="The export is public: a public key may make its pseudonyms.")
]
Overrides = Annotated[list[str], typer.Option("--set", help="Replace a field: student.epochs=5. Repeatable.")]
Student = Annotated[
    str,
    typer.Option(
        "--student", "-s", help="Student or evaluation: STAGE-VERSION or alias. Default: production, or the only one."
    ),
]
Why = Annotated[str, typer.Option("--why", help="Reason, for the file of moves.")]
EcgFiles = Annotated[
    list[str], typer.Argument(help="ECG files of any accepted format, WFDB records, or folders of them.")
]
Unit = Annotated[
    str, typer.Option("--unit", help="Amplitude unit, or a multiple such as '4.88 uV', for files that state none.")
]
SamplingFrequency = Annotated[float, typer.Option("--sampling-frequency", min=0, help="Hz, for files that state none.")]
Leads = Annotated[
    str, typer.Option("--leads", help="Leads in stored order, for files that name none: 'I,II,III,aVR,...'.")
]


# By kind of output: its first bytes, and the folders of a workspace in which nobody but a run may write.
_COMPARED = b"<!-- EchoingECG: students compared -->"
_STARTS = {
    "Parquet": b"PAR1",
    "PNG": b"\x89PNG",
    "PDF": b"%PDF",
    "SVG": b'<?xml version="1.0" encoding="utf-8" standalone="no"?>\n<!DOCTYPE svg',
    "ONNX": b"\x08",  # the field that each file of torch and onnx begins with
    "comparison as HTML": b"<!doctype html>" + _COMPARED,
    "comparison as Markdown": _COMPARED,
}
_OF_RUNS = (
    "artefacts",
    "pools",
    "private",
    "leases",
    "shared_store",
    "alias_moves.jsonl",
    "decisions",
    "drift",
    "exports",
    "scratch",
)


def check_output(path: Path, kind: str, workspace: str = "workspace") -> Path:
    """Returns the path of an output, before anything is computed for it.

    Only a file of the same kind is ever replaced, so never an input: no ECG, clip, recipe or key begins like these.

    Raises:
        UserError: something else is there, or the place belongs to published artefacts or to a run.
    """
    from data_contracts.manifest import FILENAME  # pydantic: not for --help

    if path.exists() and not path.is_file():
        raise UserError(f"{path}: not a regular file: nothing is written there")
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(len(_STARTS[kind]))
        if start and start != _STARTS[kind]:
            raise UserError(f"{path}: is there, and is no {kind} file: it is not replaced, choose another name")
    place, root = path.resolve(), Path(workspace).expanduser().resolve()
    if any(place.is_relative_to(root / name) for name in _OF_RUNS) or (place.parent / FILENAME).exists():
        raise UserError(f"{path}: among the published artefacts or a run's own files, choose another place")
    return path


def say(text: Any, err: bool = False, level: int = logging.INFO) -> None:
    """Prints a line. Control characters, which a file's name may hold, are shown as text: terminals would obey them.

    Args:
        text: the line.
        err: to stderr, which holds JSON lines where the user has asked for them.
        level: of the JSON line.
    """
    line = shown(str(text))
    typer.echo(prefect_settings.json_line(line, level) if err and prefect_settings.logs_as_json() else line, err=err)


def shown(text: str) -> str:
    """Text without control characters but for line ends: each is spelled as Python does."""
    return "".join(
        letter if letter.isprintable() or letter == "\n" else letter.encode("unicode_escape").decode()
        for letter in text
    )


def open_store(workspace: str, need: Literal["nothing", "folder", "artefacts"] = "folder") -> "ArtefactStore":
    """The artefact store of a workspace as the user typed it. Raises StoreError without what `request` needs."""
    from flows import request  # pydantic and YAML: not for --help

    return request.open_store(workspace, need)


def stated(unit: str, sampling_frequency: float, leads: str) -> "Stated":
    """What a user states about files that do not state it themselves. Raises UserError for a fault in it."""
    from data_contracts.conventions import LEADS
    from echoingecg.ecg.decode.recording import Stated, multiples_per_millivolt
    from echoingecg.ecg.decode.recording.leads import canonical_leads

    if unit:
        multiples_per_millivolt(unit)
    names = tuple(name.strip() for name in leads.replace(";", ",").split(",")) if leads.strip() else None
    known = [lead for lead in canonical_leads(names or ()) if lead]
    if names is not None and (not known or len(set(known)) != len(known)):
        raise UserError(f"--leads: names no lead, or one twice; write {','.join(LEADS[:3])},...")
    return Stated(unit or None, sampling_frequency or None, names)


def split(exports: list[str]) -> tuple[str, list[str]]:
    """The first export, empty without any, and the others."""
    return (exports[0], exports[1:]) if exports else ("", [])
