"""The documentation builds without a warning, and its pages need no network."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from docs_reference import contracts, recipe
from echoingecg.recipe import Recipe
from helpers.docs.shell_blocks import ROOT

FETCHED = {
    ("script", "src"),
    ("link", "href"),
    ("img", "src"),
    ("iframe", "src"),
    ("source", "src"),
    ("object", "data"),
}


class Fetched(HTMLParser):
    """Addresses that a browser fetches to show the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if (tag, name) in FETCHED]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocstrings", reason="needs the extra `docs`")
    folder = tmp_path_factory.mktemp("site")
    command = (sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    return folder


@pytest.mark.slow
def test_no_page_fetches_anything_from_a_network(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 25
    fetched = {address for page in pages for address in Fetched(page.read_text(encoding="utf-8")).addresses}
    assert len(fetched) > 20
    assert [one for one in fetched if re.match(r"(\w+:)?//", one)] == []
    styles = "".join(one.read_text(encoding="utf-8") for one in [*site.rglob("*.css"), *pages])
    assert re.findall(r"url\([\"']?(?:https?:)?//[^)]*\)|@import\s", styles) == []


@pytest.mark.slow
def test_every_generated_page_is_there(site: Path) -> None:
    for name in ("recipe", "contracts", "commands", "export", "python"):
        assert (site / f"reference/{name}.html").is_file()


def test_every_field_of_the_recipe_is_on_its_page() -> None:
    page = recipe.page()
    for name, field in Recipe.model_fields.items():
        assert f"## `{name}`" in page, field
    assert "| `lead_dropout` | `float` ≥ 0, ≤ 1 | `0.0` | probability that a lead is flattened |" in page
    assert "| `name` | `str`" in page.split("## `evaluation.endpoints[]`")[1]


def test_every_table_is_on_its_page() -> None:
    page = contracts.page()
    named = {
        one
        for path in (ROOT / "data_contracts").glob("*.py")
        for one in re.findall(r"TableContract\(\s*\"(\w+)\"", path.read_text())
    }
    assert len(named) > 15
    assert [one for one in named if f"`{one}.parquet`" not in page] == []
