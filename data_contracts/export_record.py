"""What became of an export that arrived: kept in the workspace's private folder, one JSON file each."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ExportRecord(BaseModel):
    """One state of one export folder: a renewed marker makes another record."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    export: str = Field(description="name of the folder in the inbox")
    state: Literal["begun", "trained", "refused", "superseded"] = "begun"
    tries: int = Field(0, description="retrains begun on it")
    warm_start: str = Field("", description="student that the first of them started from; a later one goes on from it")
    says: str = Field("", description="why it was refused, or what it led to")
