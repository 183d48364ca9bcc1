"""The drawing of the data flow in README, made from the tree and the first line of each folder's `__init__` alone.

python -m docs_reference.flow           # prints it
python -m docs_reference.flow README.md # renews it there, between the marks
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FLOORS = ("flows", "tasks", "echoingecg", "data_contracts")
BEGIN, END = "<!-- flow: made by `make flow` -->\n", "<!-- end of flow -->\n"
_STAGE = re.compile(r"Stage (?P<name>\w+) \(reads (?P<inputs>[\w, ]+)\): (?P<what>.+)")
_ORDER = re.compile(r"Folders, uppermost first: ([^.]+)\.")


def drawing() -> str:
    """Markdown: the stages with their inputs, then the floors with their folders, uppermost first."""
    stages = list(_stages())
    wide = max(len(name) for name, _, _ in stages)
    inputs_wide = max(len(inputs) for _, inputs, _ in stages)
    lines = ["```"]
    lines += [f"{inputs:>{inputs_wide}} -> {name:<{wide}}  {what}" for name, inputs, what in stages]
    lines += [""]
    for floor in FLOORS:
        lines += list(_folders(ROOT / floor, 0))
    return "\n".join([*lines, "```"]) + "\n"


def renew(page: Path) -> None:
    """Writes the drawing into a page, between the marks. Raises ValueError if they are not there."""
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{page}: no lines {BEGIN.strip()} and {END.strip()}")
    page.write_text(f"{before}{BEGIN}{drawing()}{END}{after}", encoding="utf-8")


def stated_order(folder: Path) -> list[str]:
    """The folders within a folder as its docstring states them, uppermost first; none where it states none."""
    stated = _ORDER.search(" ".join(_docstring(folder).split()))
    return stated[1].split(", ") if stated else []


def _docstring(folder: Path) -> str:
    return ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""


def _stages() -> Iterator[tuple[str, str, str]]:
    """Name, inputs and purpose of each stage, a stage after all that it reads."""
    found = {}
    for path in (ROOT / "echoingecg").glob("*/__init__.py"):
        if stage := _STAGE.match(_docstring(path.parent).split("\n\n")[0].replace("\n", " ")):
            assert stage["name"] == path.parent.name, path
            found[stage["name"]] = (stage["inputs"], stage["what"])
    while found:
        ready = sorted(name for name, (inputs, _) in found.items() if not found.keys() & inputs.split(", "))
        assert ready, f"the stages read one another in a circle: {found.keys()}"
        yield from [(name, *found.pop(name)) for name in ready]


def _folders(folder: Path, depth: int) -> Iterator[str]:
    first = _docstring(folder).split("\n\n")[0].replace("\n", " ")
    if stage := _STAGE.match(first):
        first = f"stage {stage['name']}"
    yield f"{'  ' * depth + folder.name + '/':<22} {first}"
    for name in stated_order(folder):
        yield from _folders(folder / name, depth + 1)


if __name__ == "__main__":
    if sys.argv[1:]:
        renew(Path(sys.argv[1]))
    else:
        sys.stdout.write(drawing())
