"""What README and docs tell people to type."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from helpers.paths import ROOT

PAGES = (ROOT / "README.md", ROOT / "data_contracts/README.md", *sorted((ROOT / "docs").rglob("*.md")))
PROGRAMS = ("echoingecg", "make", "python", "prefect", "hf", "export", "docker", "torchrun", "pip", "cd", "cp",
                   "pip-audit", "git", "mkdir", "touch", "dask", "curl", "source", ".", "cat", "rclone",
                   "aws")  # fmt: skip
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(
    r"`((?:(?:echoingecg|make|python -m|prefect|dask|docker compose|torchrun|export) |\. build/)[^`]+)`"
)
_SETTING = re.compile(r"[A-Z_]+=\S*")


@dataclass(frozen=True)
class Command:
    """One line to type.

    Attributes:
        needs: what it cannot be run without; empty when it runs anywhere.
        typed: whether it stands in a block of its own, not in running text.
    """

    page: str
    words: tuple[str, ...]
    needs: str = ""
    typed: bool = True

    def __str__(self) -> str:
        return f"{self.page}: {' '.join(self.words)}"


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """(page, text) of every fenced block of a language, indentation taken off."""
    for path in PAGES:
        for indent, named, text in _FENCE.findall(path.read_text(encoding="utf-8")):
            if named == language:
                yield _name(path), re.sub(f"^{indent}", "", text, flags=re.MULTILINE)


def commands() -> Iterator[Command]:
    """Those of the shell blocks, then those in running text. A comment `# needs ...` marks the lines below it."""
    for language in ("", "sh", "bash", "console"):
        for page, text in blocks(language):
            yield from _of_block(page, text)
    for path in PAGES:
        outside = _FENCE.sub("", path.read_text(encoding="utf-8"))
        for found in _INLINE.findall(outside):
            yield from (replace(one, typed=False) for one in _of_block(_name(path), found))


def _of_block(page: str, text: str) -> Iterator[Command]:
    lines = text.replace("\\\n", " ").splitlines()
    if any(line.startswith("$ ") for line in lines):  # what follows is output
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    needs = ""
    for line in lines:
        if line.startswith("# needs "):
            needs = line.removeprefix("# needs ")
        for part in line.split(" && "):
            try:
                words = shlex.split(part, comments=True)
            except ValueError:
                continue  # prose or a drawing
            while words and _SETTING.fullmatch(words[0]):
                words = words[1:]
            if words and words[0] in PROGRAMS:
                end = next((place for place, word in enumerate(words) if word in (">", "|")), None)
                yield Command(page, tuple(words[:end]), needs)


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()
