"""Every move of an alias: who, when, from what, to what and why; a line each, in a file that only grows."""

import getpass
import json
import os
import socket
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from pydantic import ValidationError

from data_contracts.monitoring import AliasMove, MoveKind
from echoingecg.common import flush_names
from tasks.base.workspace import Workspace, writing_to


def write_move(workspace: Workspace, alias: str, before: str, after: str, kind: MoveKind, why: str) -> AliasMove:
    """Adds a line to the workspace's file of moves. It is on the disk when this returns: only then the alias moves."""
    move = AliasMove(
        moved=datetime.now(UTC).isoformat(timespec="seconds"),
        who=_user(),
        alias=alias,
        before=before,
        after=after,
        kind=kind,
        why=why,
    )
    path = workspace.alias_moves
    with writing_to(workspace.root):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            size = file.seek(0, os.SEEK_END)
            is_cut = size > 0 and os.pread(file.fileno(), 1, size - 1) != b"\n"  # a power cut within the line before
            file.write(b"\n" * is_cut + json.dumps(move.model_dump(), ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        flush_names(path.parent, workspace.root)
    return move


def read_moves(workspace: Workspace, alias: str = "") -> list[AliasMove]:
    """The moves of an alias, or of all, oldest first. A line that a power cut has cut short is left out."""
    if not workspace.alias_moves.is_file():
        return []
    moves: list[AliasMove] = []
    for line in workspace.alias_moves.read_bytes().splitlines():
        try:
            moves.append(AliasMove.model_validate_json(line))
        except ValidationError:
            continue
    return [move for move in moves if alias in ("", move.alias)]


def before_it(moves: Sequence[AliasMove], current: str) -> str:
    """What an alias named before it came to name `current`; empty where that is not known.

    A move that was rolled back does not count, so that a second rollback goes further back.

    Args:
        moves: of one alias, oldest first.
        current: what it names.
    """
    named = _named(moves)
    while named and named[-1] != current:  # written, and not carried out
        named.pop()
    return named[-2] if len(named) > 1 else ""


def _named(moves: Iterable[AliasMove]) -> list[str]:
    """What the alias has named, oldest first, without what was rolled back."""
    named: list[str] = []
    for move in moves:
        if not named and move.before:
            named.append(move.before)
        if move.kind == "rolled back" and move.after in named[:-1]:
            named.pop()
        elif named[-1:] != [move.after]:
            named.append(move.after)
    return named


def _user() -> str:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"
