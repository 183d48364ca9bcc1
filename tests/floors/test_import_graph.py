"""Floors, and folders within a floor: imports go down only, in no circle; the science stays light to import."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from docs_reference.flow import FLOORS, stated_order
from helpers.paths import ROOT

FILES = sorted(path for floor in FLOORS for path in (ROOT / floor).rglob("*.py"))
FOLDERS = sorted({path.parent for path in FILES})
MOST_LINES, MOST_FILES_IN_A_FOLDER, MOST_FILES, MOST_IMPORT_SHARE = 400, 15, 247, 0.06


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def imports_of(path: Path) -> Iterator[tuple[str, bool]]:
    """Modules that a file imports, and whether at its top; `from a import b` gives `a.b` where that is a module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node in tree.body) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else str(node.module), node in tree.body


@cache
def folder_imports() -> dict[Path, set[Path]]:
    """Folder -> other folders of the four floors that its files import, anywhere in the file.

    A package's lazy public names are not imports of the package: users reach the upper folders through them.
    """
    graph: dict[Path, set[Path]] = {folder: set() for folder in FOLDERS}
    for path in FILES:
        for name, at_top in imports_of(path):
            lazy_surface = path.name == "__init__.py" and not at_top
            if name in MODULES and not lazy_surface and (target := MODULES[name].parent) != path.parent:
                graph[path.parent].add(target)
    return graph


def circle(graph: dict[str, set[str]]) -> list[str]:
    """A circle of the graph, or an empty list."""
    done: set[str] = set()

    def visit(name: str, above: list[str]) -> list[str]:
        if name in above:
            return [*above[above.index(name) :], name]
        if name in done:
            return []
        for target in sorted(graph[name]):
            if found := visit(target, [*above, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := visit(name, []))), [])


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_go_down_the_floors(path: Path) -> None:
    own = FLOORS.index(module_of(path).split(".")[0])
    for name, _ in imports_of(path):
        top = name.split(".")[0]
        if top in FLOORS:
            assert FLOORS.index(top) >= own, f"{module_of(path)} imports {name}, a floor above"
        if own >= FLOORS.index("echoingecg"):
            assert top not in {"prefect", "prefect_dask", "dask", "distributed"}, f"{module_of(path)} imports {name}"
        if FLOORS[own] == "data_contracts":
            assert top not in {"torch", "scipy", "sklearn"}, f"a contract imports {name}"


def test_no_circle_of_files() -> None:
    graph = {name: {target for target, at_top in imports_of(path) if at_top and target in MODULES and target != name}
             for name, path in MODULES.items()}  # fmt: skip
    assert circle(graph) == []
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"], "a circle would be noticed"


def test_no_circle_of_folders() -> None:
    assert (
        circle({str(folder): {str(target) for target in targets} for folder, targets in folder_imports().items()}) == []
    )


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_imports_follow_the_stated_order_of_folders(folder: Path) -> None:
    inner = [child for child in FOLDERS if child.parent == folder]
    order = stated_order(folder)
    assert sorted(order) == sorted(child.name for child in inner), f"{folder}/__init__.py states another set of folders"
    graph = folder_imports()
    for child in inner:
        for source in (one for one in FOLDERS if one.is_relative_to(child)):
            for target in graph[source]:
                if folder in target.parents and (place := target.relative_to(folder).parts[0]) != child.name:
                    assert order.index(place) > order.index(child.name), (
                        f"{source} imports {target}, which stands above"
                    )


def test_the_tree_stays_readable() -> None:
    lines = {path: path.read_text(encoding="utf-8").splitlines() for path in FILES}
    assert {str(path): len(text) for path, text in lines.items() if len(text) > MOST_LINES} == {}
    files = [path for path in FILES if path.name != "__init__.py"]
    assert len(files) <= MOST_FILES
    counts = {str(folder): sum(path.parent == folder for path in files) for folder in FOLDERS}
    assert {folder: count for folder, count in counts.items() if count > MOST_FILES_IN_A_FOLDER} == {}
    imports = sum(
        node.end_lineno - node.lineno + 1
        for path in FILES
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Import | ast.ImportFrom) and node.end_lineno is not None
    )
    share = imports / sum(len(text) for text in lines.values())
    assert share < MOST_IMPORT_SHARE, f"{share:.2%} of all lines are imports"


@pytest.mark.parametrize("floor", ["data_contracts", "echoingecg"])
def test_lower_floors_are_light(floor: str) -> None:
    stages = ", ".join(f"echoingecg.{path.name}" for path in (ROOT / "echoingecg").iterdir() if path.is_dir()
                       and (path / "__init__.py").exists())  # fmt: skip
    more = f"; import {stages}" if floor == "echoingecg" else ""
    heavy = "torch prefect dask distributed open_clip transformers cv2 sklearn matplotlib"
    code = f"import sys; import {floor}{more}; print([m for m in '{heavy}'.split() if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
