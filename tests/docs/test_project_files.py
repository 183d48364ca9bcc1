"""What a public project has beside its code: valid, and true of today's tree."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

from helpers.paths import DATA, ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_versions_agree() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    newest = re.search(r"^## (\S+) - (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == citation["version"] == PROJECT["version"]
    assert newest[2] == str(citation["date-released"])


def test_citation_has_what_the_format_requires() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {
        "cff-version",
        "message",
        "title",
        "authors",
    } <= citation.keys()  # required by format 1.2.0
    assert citation["license"] == PROJECT["license"]


def test_contributing_names_files_that_are_there() -> None:
    for page in ("CONTRIBUTING.md", "SECURITY.md"):
        text = (ROOT / page).read_text()
        named = re.findall(
            r"`((?:echoingecg|data_contracts|tasks|flows|tests|docs)/[\w./]+)`|\]\((docs/[\w./]+)\)", text
        )
        assert named or page == "SECURITY.md"
        for path in filter(None, (name for pair in named for name in pair)):
            assert (ROOT / path).exists(), f"{page} names {path}"


def test_the_workflow_is_valid_and_runs_every_python_that_is_promised() -> None:
    workflow = ROOT / ".github/workflows/ci.yml"
    command = (sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(workflow))
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    pythons = yaml.safe_load(workflow.read_text())["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert pythons == ["3.11", "3.12", "3.13"]
    assert PROJECT["requires-python"] == f">={pythons[0]}"


def test_hooks_call_what_lint_calls() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    recipe = (ROOT / "Makefile").read_text()
    for hook in hooks:
        program = Path(hook["entry"].split()[0]).name
        assert f"$(BIN)/{program}" in recipe


def test_every_file_of_others_has_its_source_and_licence() -> None:
    lines = (DATA / "ATTRIBUTION.md").read_text().splitlines()
    attributed = {re.split(r"`", line)[1]: line for line in lines if line.startswith("| `")}
    for folder in ("golden", "recordings"):
        for path in (DATA / folder).rglob("*"):
            name = path.relative_to(DATA).as_posix()
            if path.is_file() and "LICENSES" not in name:
                (line,) = (line for prefix, line in attributed.items() if name.startswith(prefix))
                assert re.search(r"CC BY 4\.0|MIT|Open Data Commons Attribution|random numbers|this project", line), (
                    name
                )
