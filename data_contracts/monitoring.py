"""What `echoingecg drift` answers: a verdict as JSON and its measures as Parquet, never changed.

A decision between two students: kept in the workspace's `decisions/`, one JSON file each, never changed.

What became of an export that arrived: kept in the workspace's private folder, one JSON file each.
"""

from typing import Any, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from data_contracts.conventions import Stage
from data_contracts.evaluation_details import SHIFT
from data_contracts.tables import TableContract, column

Verdict = Literal["drift", "no drift", "too few"]

TRAINED = "trained"
NEW = "new"

DRIFT = TableContract(
    "drift",
    pa.schema(
        [
            *SHIFT.schema,
            column("limit", pa.float64(), "of the recipe: how far `value` may be from 0"),
            column("drifted", pa.bool_(), "beyond the limit, and more than chance"),
        ]
    ),
    unique=SHIFT.unique,
)


class DriftVerdict(BaseModel):
    """The verdict on one export, for one student."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    student: str = Field(description="student that is asked about")
    evaluation: str = Field(description="evaluation that judged it; its endpoints were counted")
    trained: dict[Stage, str] = Field(description="versions that the student was trained on")
    new: dict[Stage, str] = Field(description="catalog and ecg of the new export")
    verdict: Verdict
    says: str = Field(description="the reason, for the reader")
    rule: dict[str, Any] = Field(description="the recipe's section `drift`")
    counts: dict[str, int] = Field(description="ECGs and patients on either side, and ECGs that were known before")
    measured: str = Field(description="UTC, ISO 8601")


class EndpointComparison(BaseModel):
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
    compared: tuple[EndpointComparison, ...]
    decided: str = Field(description="UTC, ISO 8601")


class ExportRecord(BaseModel):
    """One state of one export folder: a renewed marker makes another record."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    export: str = Field(description="name of the folder in the inbox")
    state: Literal["begun", "trained", "refused", "superseded"] = "begun"
    tries: int = Field(0, description="retrains begun on it")
    warm_start: str = Field("", description="student that the first of them started from; a later one goes on from it")
    says: str = Field("", description="why it was refused, or what it led to")
