"""Names and docstrings of the four floors are understood where they stand alone."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(
    path for floor in ("data_contracts", "echoingecg", "tasks", "flows") for path in (ROOT / floor).rglob("*.py")
)
NO_NOUN = {"one", "found", "at", "of", "says", "told"}  # what is it? A name says that
STORED = {("data_contracts", "says")}  # a key of stored JSON: it stays
NO_BEGINNING = re.compile(r"(The same|As|Of|Those|Like)\b")  # a docstring begins with what the thing does or returns


def bound_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_are_nouns(path: Path) -> None:
    bound = bound_names(ast.parse(path.read_text(encoding="utf-8")))
    assert [(line, name) for line, name in bound if name in NO_NOUN and (path.parent.name, name) not in STORED] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_begin_with_what_a_thing_does(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = [node for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)]
    texts = [ast.get_docstring(node) or "" for node in documented]
    assert [text.splitlines()[0] for text in texts if NO_BEGINNING.match(text)] == []


def test_the_checks_notice() -> None:
    assert [name for _, name in bound_names(ast.parse("for one in range(3):\n    found = one"))] == ["one", "found"]
    assert NO_BEGINNING.match("Of the values.")
    assert not NO_BEGINNING.match("Asks the server.")
