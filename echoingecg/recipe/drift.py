"""When a new export has drifted from what a student was trained on. No version depends on it."""

from typing import Annotated

from pydantic import Field

from echoingecg.recipe.stages import Count, NotNegative, OpenShare, Section, Share


class DriftSettings(Section):
    """The rule for `echoingecg drift`: a measure has drifted when it is beyond its limit and more than chance."""

    embedding: NotNegative = Field(0.02, description="limit of the squared MMD of the mean embeddings, without unit")
    p: OpenShare = Field(0.01, description="and its permutation p must be below this")
    prevalence: Share = Field(0.1, description="limit of the change of an endpoint's share of label 1")
    share: Share = Field(0.15, description="limit of the change of the share of a subgroup or a quality finding")
    least_patients: Count = Field(50, description="with fewer patients in the new ECGs there is no verdict")
    draws: Annotated[int, Field(ge=10)] = Field(1000, description="patient resamples for the intervals")
    seed: int = Field(43, description="of resamples, permutations and of the ECGs drawn")
