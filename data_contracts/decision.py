"""A decision between two students: kept in the workspace's `decisions/`, one JSON file each, never changed."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from data_contracts.conventions import Stage


class Compared(BaseModel):
    """One endpoint on the champion's test ECGs. Values are null where a class is absent or of one patient."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    endpoint: str
    champion: float | None = Field(description="metric of the champion")
    challenger: float | None = Field(description="metric of the challenger")
    low: float | None = Field(description="2.5 % of challenger minus champion over paired patient resamples")
    high: float | None = Field(description="97.5 % of the same")
    records: int = Field(description="test ECGs compared")
    patients: int
    positives: int = Field(description="ECGs with label 1")

    @property
    def gain(self) -> float | None:
        """Challenger minus champion."""
        return None if self.champion is None or self.challenger is None else self.challenger - self.champion


class Decision(BaseModel):
    """Who is champion from now on, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    alias: str = Field(description="alias that is at stake")
    verdict: Literal["promote", "keep"]
    says: str = Field(description="the reason, for the reader")
    rule: dict[str, Any] = Field(description="the recipe's section `promotion`")
    champion: str = Field(description="evaluation that the alias pointed at; empty when there was no such alias")
    challenger: str = Field(description="evaluation that was to take its place")
    lineage: dict[str, dict[Stage, str]] = Field(description="versions that each of them was made of")
    compared: tuple[Compared, ...]
    decided: str = Field(description="UTC, ISO 8601")
