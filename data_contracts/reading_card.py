"""The reading card: what an evaluation judged, in one small file, so that a student's ECGs are read exactly so.

safetensors: the arrays below, and under the metadata key `card` a `ReadingCard` as JSON. It holds no patient's data but
the quantiles of the uncertainty on validation.
"""

from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

FILENAME: Final = "reading_card.safetensors"
METADATA: Final = "card"

WEIGHT: Final = "weight"  # (reading, dim) float64: logit = weight . mean embedding + bias
BIAS: Final = "bias"  # (reading,) float64
UNCERTAINTY: Final = "uncertainty"  # (quantile,) float64, ascending: uncertainty of the validation ECGs


class ReferBand(BaseModel):
    """Scores from `low` to `high`, both included, are too near the threshold: refer to echo. Empty if low > high."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)
    says: str = Field(description="where it comes from, for the reader")


class Reading(BaseModel):
    """One endpoint under one protocol; reading i has row i of the arrays."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    endpoint: str = Field(description="name of the endpoint in the recipe")
    question: str = Field(description="what label 1 means, for example lvef < 40 %")
    protocol: str = Field(description="how the probability was come by, for example zero_shot")
    threshold: float = Field(ge=0, le=1, description="a score that reaches it is called label 1")
    threshold_says: str = Field(description="where the threshold comes from, for the reader")
    refer: ReferBand


class ReadingCard(BaseModel):
    """Everything but the arrays."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    student: str = Field(description="version of the student that was judged")
    ecg: dict[str, Any] = Field(description="the recipe's section `ecg`, by which its signals were made")
    readings: tuple[Reading, ...]

    @model_validator(mode="after")
    def _once(self) -> Self:
        names = [(one.endpoint, one.protocol) for one in self.readings]
        if len(names) != len(set(names)):
            raise ValueError("an endpoint is read twice under one protocol")
        return self
