"""README's drawing of the data flow is that of the tree, and the tree's is that of the contracts."""

import ast
import re
from pathlib import Path

import pytest

from data_contracts.conventions import UPSTREAM
from docs_reference import flow
from helpers.paths import ROOT


def test_readme_holds_the_drawing_of_the_tree() -> None:
    assert flow.BEGIN + flow.drawing() + flow.END in (ROOT / "README.md").read_text(), "run `make flow`"


def test_the_drawn_arrows_are_what_the_stages_read() -> None:
    arrows = re.findall(r"^ *([\w, ]+) -> (\w+)  ", flow.drawing(), re.MULTILINE)
    assert {stage: tuple(inputs.split(", ")) for inputs, stage in arrows} == UPSTREAM | {"catalog": ("the export",)}


@pytest.mark.parametrize("floor", flow.FLOORS)
def test_every_folder_says_in_a_line_what_it_is_and_is_drawn(floor: str) -> None:
    for path in (ROOT / floor).rglob("__init__.py"):
        first = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0]
        assert len(first.split()) > 3, path
        assert f"{path.parent.name}/" in flow.drawing()


def test_a_page_without_marks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("no marks")
    with pytest.raises(ValueError, match="no lines <!-- flow"):
        flow.renew(tmp_path / "page.md")
