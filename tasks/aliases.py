"""Aliases: small files that name artefacts, here and in the shared store, where all machines follow them."""

from pathlib import Path

from data_contracts.conventions import STAGES
from echoingecg.common.errors import StoreError
from echoingecg.common.files import write_whole
from tasks.store.shared import SharedStore
from tasks.workspace import Workspace, writing_to


class Aliases:
    """Those of a workspace, and of the store that it has joined: where both know a name, the store's holds.

    Args:
        workspace: keeps them as it last set them.
        shared: that it has joined, if any.
    """

    def __init__(self, workspace: Workspace, shared: SharedStore | None) -> None:
        self._root, self._shared = workspace.root, shared
        self._folder = workspace.artefacts / "aliases"

    def all(self) -> dict[str, str]:
        """Alias -> artefact name."""
        return dict(sorted((self.here() | (self._shared.aliases() if self._shared else {})).items()))

    def here(self) -> dict[str, str]:
        """The same as this workspace last set them."""
        paths = sorted(self._folder.glob("[!.]*")) if self._folder.is_dir() else []
        return {path.name: _line_of(path) for path in paths}

    def target(self, name: str) -> str | None:
        """What an alias names; None for what is none."""
        if not _is_sound(name):
            return None
        if self._shared is not None and (target := self._shared.alias(name)) is not None:
            return target
        path = self._folder / name
        return _line_of(path) if path.is_file() else None

    def set(self, name: str, target: str) -> None:
        """Points an alias at an artefact, atomically; for all machines first.

        Raises:
            StoreError: no alias could be called so; the disk or S3 refuses.
        """
        if not _is_sound(name):
            raise StoreError(f"'{name}' cannot be an alias: use letters, digits, '.' and '_', and no stage's name")
        if self._shared is not None:
            self._shared.set_alias(name, target)
        with writing_to(self._root):
            self._folder.mkdir(parents=True, exist_ok=True)
            write_whole(self._folder / name, f"{target}\n")


def _line_of(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip()


def _is_sound(name: str) -> bool:
    return name.replace(".", "").replace("_", "").isalnum() and not name.startswith(".") and name not in STAGES
