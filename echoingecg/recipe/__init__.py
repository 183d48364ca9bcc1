"""One frozen, validated object that holds every parameter. YAML in, YAML out."""

from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, ValidationError

from data_contracts.conventions import Stage
from echoingecg.common import RecipeError
from echoingecg.recipe.ecg import EcgSettings
from echoingecg.recipe.evaluation import (
    DriftSettings,
    Endpoint,
    EvaluationSettings,
    FewShotSettings,
    PromotionSettings,
    RegressionEndpoint,
    TuningSettings,
)
from echoingecg.recipe.stages import (
    CatalogSettings,
    ExecutionSettings,
    ModelSettings,
    PairsSettings,
    Section,
    SimulatorSettings,
    StudentSettings,
    TeacherSettings,
    TeachingSettings,
)

__all__ = [
    "CatalogSettings",
    "DriftSettings",
    "EcgSettings",
    "Endpoint",
    "EvaluationSettings",
    "ExecutionSettings",
    "FewShotSettings",
    "ModelSettings",
    "PairsSettings",
    "PromotionSettings",
    "Recipe",
    "RegressionEndpoint",
    "SimulatorSettings",
    "StudentSettings",
    "TeacherSettings",
    "TeachingSettings",
    "TuningSettings",
    "read_recipe",
    "with_overrides",
    "write_recipe",
]


class Recipe(Section):
    """Every parameter of every stage. Passed explicitly; nothing else configures the pipeline."""

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

    def part(self, stage: Stage) -> dict[str, Any]:
        """The section that a stage reads, as JSON values: what its version depends on."""
        section: Section = getattr(self, stage)
        return section.model_dump(mode="json")

    @classmethod
    def parse(cls, values: Any, origin: str) -> Self:
        """Validates plain values.

        Args:
            values: nested mapping, as YAML or JSON gives it.
            origin: what to call the source in an error.

        Raises:
            RecipeError: one line that names the field, the fault and the value.
        """
        if not isinstance(values, dict):
            raise RecipeError(f"{origin}: a recipe is a mapping of sections, not {type(values).__name__}")
        try:
            return cls.model_validate(values)
        except ValidationError as fault:
            raise RecipeError(f"{origin}: {_first_line(fault)}") from fault


def read_recipe(path: Path) -> Recipe:
    """Reads a YAML recipe. Raises RecipeError when the file is absent, not YAML, or not a recipe."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as fault:
        raise RecipeError(f"recipe {path}: cannot be read: {fault}") from fault
    except yaml.YAMLError as fault:
        raise RecipeError(f"recipe {path}: not YAML: {' '.join(str(fault).split())}") from fault
    return Recipe.parse(values if values is not None else {}, f"recipe {path}")


def write_recipe(recipe: Recipe) -> str:
    """The recipe as YAML; `read_recipe` of it gives an equal recipe."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def with_overrides(recipe: Recipe, assignments: list[str]) -> Recipe:
    """A recipe with fields replaced.

    Args:
        recipe: stays as it is.
        assignments: `section.field=value`, deeper fields with more dots, values as in YAML.

    Raises:
        RecipeError: malformed assignment, unknown field, impossible value.
    """
    values = recipe.model_dump(mode="json")
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise RecipeError(f"--set {assignment}: write section.field=value")
        *parents, last = name.strip().split(".")
        target = values
        for parent in parents:
            if target.get(parent) is None and parent in ("simulator", "teaching"):
                target[parent] = {}
            if not isinstance(target.get(parent), dict):
                raise RecipeError(f"--set {assignment}: the recipe has no section '{parent}'")
            target = target[parent]
        try:
            target[last] = yaml.safe_load(text)
        except yaml.YAMLError as fault:
            raise RecipeError(f"--set {assignment}: the value is not YAML") from fault
    return Recipe.parse(values, "--set " + " ".join(assignments))


def _first_line(fault: ValidationError) -> str:
    """`student.epochs: Input should be greater than or equal to 1 (got 0)`."""
    first, *others = fault.errors(include_url=False)
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        says = "unknown key"
    else:
        says = f"{first['msg'].removeprefix('Value error, ')}"
        if not isinstance(first["input"], dict):
            says += f" (got {first['input']!r})"
    more = f"; and {len(others)} more" if others else ""
    return f"{where}: {says}{more}" if where else f"{says}{more}"
