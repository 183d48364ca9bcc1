"""The simulator's truth is for its own tests, for that of MIMIC's labels and for the proof of distillation."""

import ast
from pathlib import Path

from helpers.paths import ROOT

MAY_KNOW = ("echoingecg/simulator", "tests/simulator", "experiments", "tests/catalog/test_mimic_release.py")
FOLDERS = ("data_contracts", "echoingecg", "tasks", "flows", "benchmarks", "experiments", "tests")
FILE, NAME = "simulated_truth", "TRUTH"


def speaks_of_the_truth(path: Path) -> bool:
    """Whether code names the file, or imports the name that stands for it; docstrings may."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            if FILE in node.value:
                return True
        elif NAME in (getattr(node, "attr", None), getattr(node, "id", None)):
            return True
    return False


def test_only_the_simulator_its_tests_and_the_proof_know_the_truth() -> None:
    knowing = {
        path.relative_to(ROOT).as_posix()
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        if path != Path(__file__) and speaks_of_the_truth(path)
    }
    assert {name for name in knowing if not name.startswith(MAY_KNOW)} == set()
    assert "echoingecg/simulator/population/tables.py" in knowing, "the test itself would notice"
    assert any(name.startswith("experiments") for name in knowing)
