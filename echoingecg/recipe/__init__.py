"""All parameters of all stages in one frozen, validated object, read from YAML and written to YAML."""

import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from data_contracts.conventions import Stage
from echoingecg.common import RecipeError
from echoingecg.recipe.ecg import EcgSettings
from echoingecg.recipe.evaluation import DriftSettings, Endpoint, EvaluationSettings, FewShotSettings
from echoingecg.recipe.evaluation import PromotionSettings, RegressionEndpoint, TuningSettings
from echoingecg.recipe.execution import ExecutionSettings, SimulatorSettings, TeachingSettings
from echoingecg.recipe.stages import CatalogSettings, ModelSettings, PairsSettings, Section
from echoingecg.recipe.stages import StudentSettings, TeacherSettings


class Recipe(Section):
    """All parameters of all stages. It is passed explicitly; nothing else configures the pipeline."""

    simulator: SimulatorSettings | None = Field(None, description="export to simulate when none is given")
    catalog: CatalogSettings = CatalogSettings()
    ecg: EcgSettings = EcgSettings()
    teacher: TeacherSettings = TeacherSettings()
    pairs: PairsSettings = PairsSettings()
    student: StudentSettings = StudentSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    drift: DriftSettings = DriftSettings()
    promotion: PromotionSettings = PromotionSettings()
    teaching: TeachingSettings | None = Field(None, description="how `echoingecg teach` makes a small teacher")
    execution: ExecutionSettings = ExecutionSettings()

    @model_validator(mode="after")
    def _check_split(self) -> Self:
        if self.pairs.split_by is not None and self.teaching is not None:
            raise ValueError("pairs.split_by: section teaching holds out by the keyed hash, so leave one of them out")
        return self

    def part(self, stage: Stage) -> dict[str, Any]:
        """Returns the section of a stage as JSON values. The stage's version depends on it."""
        section: Section = getattr(self, stage)
        return section.model_dump(mode="json")

    @classmethod
    def parse(cls, values: Any, origin: str) -> Self:
        """Makes a recipe from plain values and validates it.

        Args:
            values: nested mapping, as YAML or JSON gives it.
            origin: name of the source, for error messages.

        Raises:
            RecipeError: the message names the field, the fault and the value on one line.
        """
        if not isinstance(values, dict):
            raise RecipeError(f"{origin}: a recipe is a mapping of sections, not {type(values).__name__}")
        try:
            return cls.model_validate(values)
        except ValidationError as fault:
            raise RecipeError(f"{origin}: {_first_line(fault)}") from fault


def read_recipe(path: Path) -> Recipe:
    """Reads a YAML recipe. Raises RecipeError if the file is missing, not YAML, or not a recipe."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as fault:
        raise RecipeError(f"recipe {path}: cannot be read: {fault}") from fault
    except yaml.YAMLError as fault:
        raise RecipeError(f"recipe {path}: not YAML: {' '.join(str(fault).split())}") from fault
    return Recipe.parse(values if values is not None else {}, f"recipe {path}")


def write_recipe(recipe: Recipe) -> str:
    """Returns the recipe as YAML. `read_recipe` reads an equal recipe from it."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def with_overrides(recipe: Recipe, assignments: list[str]) -> Recipe:
    """Returns a copy of a recipe with some fields replaced.

    Args:
        recipe: not changed.
        assignments: `section.field=value`; deeper fields have more dots; values are written as in YAML.

    Raises:
        RecipeError: an assignment is malformed, a field unknown, or a value impossible.
    """
    values = recipe.model_dump(mode="json")
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise RecipeError(f"--set {assignment}: write section.field=value")
        *parents, last = name.strip().split(".")
        target = values
        for parent in parents:
            if target.get(parent) is None and parent in ("simulator", "teaching", "split_by", "leads"):
                target[parent] = {}
            if not isinstance(target.get(parent), dict):
                raise RecipeError(f"--set {assignment}: the recipe has no section '{parent}'")
            target = target[parent]
        try:
            target[last] = yaml.safe_load(text)
        except yaml.YAMLError as fault:
            raise RecipeError(f"--set {assignment}: the value is not YAML") from fault
    return Recipe.parse(values, "--set " + " ".join(assignments))


def combinations(fields: Sequence[str]) -> list[tuple[str, ...]]:
    """Returns every combination of some fields' values, as assignments for `with_overrides`. The last changes first.

    Args:
        fields: `section.field=value,value,...`, values as in a list of YAML.

    Raises:
        RecipeError: a field without values, or values that are no list.
    """
    choices = []
    for field in fields:
        name, _, text = field.partition("=")
        try:
            values = yaml.safe_load(f"[{text}]")
        except yaml.YAMLError:
            values = None
        if not isinstance(values, list) or not values:
            raise RecipeError(f"--over {field}: write section.field=value,value")
        choices.append([f"{name.strip()}={value if isinstance(value, str) else json.dumps(value)}" for value in values])
    return list(product(*choices))


def _first_line(fault: ValidationError) -> str:
    """Returns the first fault, such as `student.epochs: Input should be greater than or equal to 1 (got 0)`."""
    first, *others = fault.errors(include_url=False)
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        message = "unknown key"
    else:
        message = f"{first['msg'].removeprefix('Value error, ')}"
        if not isinstance(first["input"], dict):
            message += f" (got {first['input']!r})"
    more = f"; and {len(others)} more" if others else ""
    return f"{where}: {message}{more}" if where else f"{message}{more}"
