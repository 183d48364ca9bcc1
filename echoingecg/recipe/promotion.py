"""When a challenger takes the champion's place. No version depends on it."""

from typing import Annotated, Literal

from pydantic import Field

from echoingecg.recipe.stages import NotNegative, Section


class PromotionSettings(Section):
    """The rule for `echoingecg promote`; differences are challenger minus champion, on the same test patients."""

    endpoint: str = Field("", description="endpoint that must gain; empty for the first of the champion's")
    protocol: str = Field("zero_shot", description="protocol whose predictions are compared")
    metric: Literal["auroc", "balanced_accuracy"] = Field("auroc", description="metric that is compared")
    least_gain: float = Field(
        0.0, description="promote only if the interval's lower end of the gain at `endpoint` is above this"
    )
    most_loss: NotNegative = Field(0.05, description="and if at every other endpoint the lower end is above minus this")
    draws: Annotated[int, Field(ge=10)] = Field(1000, description="patient resamples, the same for both students")
    seed: int = Field(43, description="of the resamples")
