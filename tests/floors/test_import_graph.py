"""The four floors: imports go down only, in no circle, and the science stays light to import."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FLOORS = ["data_contracts", "echoingecg", "tasks", "flows"]  # lowest first
FILES = sorted(path for floor in FLOORS for path in (ROOT / floor).rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path, top_level_only: bool = False) -> Iterator[str]:
    """Modules that a file imports; `from a import b` gives `a.b` when that is a module."""
    tree = ast.parse(path.read_text())
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            modules = {module_of(file) for file in FILES}
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in modules else str(node.module)


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_go_down_only(path: Path) -> None:
    own = FLOORS.index(module_of(path).split(".")[0])
    for name in imports_of(path):
        top = name.split(".")[0]
        if top in FLOORS:
            assert FLOORS.index(top) <= own, f"{module_of(path)} imports {name}, a floor above"
        if own < FLOORS.index("tasks"):
            assert top not in {"prefect", "prefect_dask", "dask", "distributed"}, f"{module_of(path)} imports {name}"
        if own == 0:
            assert top not in {"torch", "scipy", "sklearn"}, f"a contract imports {name}"


def test_no_circle() -> None:
    graph = {module_of(path): set(imports_of(path, top_level_only=True)) for path in FILES}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, f"circle: {' -> '.join((*above, name))}"
        if name in done:
            return
        for one in sorted(graph[name]):
            if one in graph:
                visit(one, (*above, name))
        done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("floor", ["data_contracts", "echoingecg"])
def test_lower_floors_are_light(floor: str) -> None:
    stages = ", ".join(f"echoingecg.{path.name}" for path in (ROOT / "echoingecg").iterdir() if path.is_dir()
                       and (path / "__init__.py").exists())  # fmt: skip
    more = f"; import {stages}" if floor == "echoingecg" else ""
    heavy = "torch prefect dask distributed open_clip transformers cv2 sklearn matplotlib"
    code = f"import sys; import {floor}{more}; print([m for m in '{heavy}'.split() if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_no_file_outgrows_its_room() -> None:
    for path in FILES:
        assert len(path.read_text().splitlines()) <= 300, f"{path} is over 300 lines"
