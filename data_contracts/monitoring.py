"""What `echoingecg drift` answers: a verdict as JSON and its measures as Parquet, never changed."""

from typing import Any, Final, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from data_contracts.conventions import Stage
from data_contracts.evaluation_space import SHIFT
from data_contracts.tables import TableContract, column

Verdict = Literal["drift", "no drift", "too few"]

TRAINED: Final = "trained"
NEW: Final = "new"

DRIFT: Final = TableContract(
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


class Drift(BaseModel):
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
