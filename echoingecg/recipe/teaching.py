"""How the demo teacher is taught: a small CLIP of echo frames and report sentences."""

from typing import Annotated

from pydantic import Field

from echoingecg.recipe.stages import Count, NotNegative, Positive, Section, Share


class TeachingSettings(Section):
    """Contrastive training (Radford et al., ICML 2021) of the architecture that the demo teacher has."""

    frames_per_clip: Count = Field(12, description="frames taken of a clip, evenly spread")
    held_out: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.1, description="share of patients kept apart, to measure on"
    )
    steps: Count = Field(1300, description="optimiser steps")
    batch_size: Annotated[int, Field(ge=2)] = Field(
        128, description="studies a batch: a frame and some sentences of each"
    )
    small_size: Count = Field(56, description="frame edge at the first step, px: four times the speed of 112")
    growing_share: Share = Field(0.75, description="share of the steps over which frames grow to the model's own size")
    learning_rate: Positive = Field(1e-3, description="AdamW peak learning rate")
    weight_decay: NotNegative = Field(0.05, description="AdamW weight decay; none for norms, biases, temperature")
    warmup_share: Share = Field(0.05, description="share of the steps spent on linear warm-up; then cosine to 0")
    warmup_start: Share = Field(0.01, description="first learning rate as a share of the peak")
    sorting_weight: NotNegative = Field(1.0, description="weight of sorting frames by their reports' sentences")
    number_weight: NotNegative = Field(1.0, description="weight of ordering sentences that differ in a number")
    gradient_clip: Positive = Field(1.0, description="largest gradient norm")
    seed: int = Field(43, description="initialisation, order, frames, sentences")
