"""A mkdocs hook: adds the generated pages, and makes links to the repository's other files fit the site."""

import re
from pathlib import Path

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from typer.cli import get_docs_for_click

from docs_reference import contracts, recipe
from flows.cli.main import app

ROOT = Path(__file__).resolve().parents[1]
EXPORT = "reference/export.md"
_LINK = re.compile(r"\[([^\]]*)\]\(((?:\.\./)+)([^)]+)\)")


def command_page() -> str:
    """Every command with its arguments and options, as typer writes it."""
    command = typer.main.get_command(app)
    written = get_docs_for_click(
        obj=command, ctx=typer.Context(command), name="echoingecg", title="Command line"
    )  # fmt: skip
    return re.sub(r"<(?=[A-Za-z])", "&lt;", written)


def pages() -> dict[str, str]:
    """Generated pages by their place below docs/."""
    return {
        "reference/recipe.md": recipe.page(),
        "reference/contracts.md": contracts.page(),
        "reference/commands.md": command_page(),
        EXPORT: (ROOT / "data_contracts/README.md").read_text(encoding="utf-8"),
    }


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages."""
    for place, text in pages().items():
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to files outside docs/: to their page where there is one, else the file's name."""

    def fitting(link: re.Match[str]) -> str:
        says, up, path = link.groups()
        here = ROOT / ("data_contracts" if page.file.src_uri == EXPORT else f"docs/{page.file.src_uri}")
        path, hash_, anchor = path.partition("#")
        target = ((here if here.is_dir() else here.parent) / up / path).resolve()
        inside = target.relative_to(ROOT).as_posix()
        place = EXPORT if inside == "data_contracts/README.md" else inside.removeprefix("docs/")
        if place != inside:  # mkdocs checks it
            return f"[{says}]({'../' * page.file.src_uri.count('/')}{place}{hash_}{anchor})"
        assert target.exists(), f"{page.file.src_uri} links to {inside}, which is not there"
        return f"{says} (`{inside}`)" if says.strip("`") != inside else says

    return _LINK.sub(fitting, markdown)
