"""Every command, recipe and program in README and docs names what exists."""

import importlib.util
import re

import pytest
import typer
import yaml

from data_contracts.conventions import STAGES
from docs_reference.recipe import sections
from echoingecg.recipe import Recipe
from flows.cli.main import app
from flows.request import find_recipe, shipped_recipes
from helpers.docs.parsed import parsed
from helpers.docs.shell_blocks import PAGES, ROOT, Command, blocks, commands

COMMANDS = sorted(set(commands()), key=str)
OURS = [one for one in COMMANDS if one.words[0] == "echoingecg"]
FILES = (".hea", ".dat", ".dcm", ".parquet", ".py", ".md", ".yaml", ".json", ".html", ".png")
USAGE = typer.BadParameter.__mro__[1]  # typer 0.16 and later carry a click of their own
PLACES = {"RECIPE", "STAGE", "STAGE..."}  # what stands for a name that the reader chooses


@pytest.mark.parametrize("one", OURS, ids=str)
def test_commands_and_their_options_exist(one: Command) -> None:
    if len(one.words) == 1 or one.words[1].startswith("-"):
        return
    if len(one.words) == 2 and one.words[1] in typer.main.get_command(app).commands:
        return  # it is spoken of, not typed
    values = parsed(tuple(word.strip("[]") for word in one.words[1:])).params
    name = values.get("recipe") or values.get("name") if one.words[1] in ("run", "status", "recipe", "serve") else ""
    assert not name or name in PLACES or name in shipped_recipes() or name.endswith(".yaml"), f"no recipe '{name}'"
    for stage in [*values.get("only", ()), *filter(None, [values.get("start_from")])]:
        assert stage in STAGES or stage in PLACES, f"no stage '{stage}'"
    base = name if name in shipped_recipes() else "paper"
    find_recipe(base, list(values.get("overrides", ())))


@pytest.mark.parametrize("one", [one for one in COMMANDS if one.words[0] == "make"], ids=str)
def test_targets_exist(one: Command) -> None:
    targets = set(re.findall(r"^([\w.-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {word for word in one.words[1:] if "=" not in word} <= targets


@pytest.mark.parametrize("one", [one for one in COMMANDS if one.words[:2] == ("python", "-m")], ids=str)
def test_modules_exist(one: Command) -> None:
    assert importlib.util.find_spec(one.words[2]) is not None


@pytest.mark.parametrize(("page", "text"), list(blocks("yaml")))
def test_recipes_are_valid(page: str, text: str) -> None:
    values = yaml.safe_load(text)
    if set(values) <= set(Recipe.model_fields):
        Recipe.parse(values, page)


@pytest.mark.parametrize(("page", "text"), list(blocks("python")))
def test_python_compiles_and_imports(page: str, text: str) -> None:
    compile(text, page, "exec")
    for line in re.findall(r"^(?:from|import) .*$", text, re.MULTILINE):
        exec(line, {})


def test_the_collector_sees_them() -> None:
    assert len(OURS) > 40
    assert {one.page for one in COMMANDS} >= {"README.md", "docs/operations.md", "docs/howto/mimic_iv.md"}
    assert all(one.needs for one in COMMANDS if one.page == "docs/howto/mimic_iv.md" and "paper" in one.words)


@pytest.mark.parametrize(
    "words", [("run", "demo", "--nope"), ("runs",), ("artefacts", "shew", "x"), ("plot",), ("status", "a", "b")]
)
def test_what_does_not_exist_is_seen(words: tuple[str, ...]) -> None:
    with pytest.raises((USAGE, AssertionError)):
        parsed(words)


def test_fields_that_the_text_names_exist() -> None:
    known = {name.replace("[]", ""): model.model_fields for name, model in sections()}
    names = re.compile(rf"`(?:--set )?((?:{'|'.join(Recipe.model_fields)})(?:\.[a-z_]+)+)(?:[=: ][^`]*)?`")
    unknown = []
    for path in PAGES:
        for dotted in names.findall(path.read_text(encoding="utf-8")):
            section, _, field = dotted.rpartition(".")
            if field not in known.get(section, ()) and dotted not in known and not dotted.endswith(FILES):
                unknown.append(f"{path.name}: {dotted}")
    assert unknown == []
