"""What a person fills in to start a run: the types behind the forms of Prefect's UI."""

from typing import Literal

from pydantic import BaseModel, Field

from data_contracts.conventions import Stage

ShippedRecipe = Literal["demo", "paper", "smoke"]
FirstStage = Literal["", Stage]  # not `Stage | None`: the form asks for the type of that before its value


class Override(BaseModel):
    """A field of the recipe to replace."""

    field: str = Field(description="section.field, such as student.epochs")
    value: str = Field(description="as in YAML, such as 5 or [0.7, 0.1, 0.2]")

    def __str__(self) -> str:
        return f"{self.field}={self.value}"


def typed_overrides(assignments: list[str]) -> list[Override]:
    """`section.field=value` of the command line, as a form would give it."""
    parts = (assignment.partition("=") for assignment in assignments)
    return [Override(field=field, value=value) for field, _, value in parts]
