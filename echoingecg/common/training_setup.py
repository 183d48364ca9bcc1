"""Learning rate of each step: linear warm-up, cosine to zero (METHOD, optimiser)."""

import math
from typing import Protocol


class Rates(Protocol):
    """The part of a recipe's section that a schedule reads."""

    @property
    def learning_rate(self) -> float:
        """The peak."""

    @property
    def warmup_share(self) -> float:
        """Share of the steps spent on warm-up."""

    @property
    def warmup_start(self) -> float:
        """First rate as a share of the peak."""


def learning_rate(settings: Rates, step: int, steps: int) -> float:
    """The rate that optimiser step number `step` uses.

    Args:
        settings: of the training.
        step: from 0; `steps` gives 0, the end of the cosine.
        steps: of the whole run.
    """
    warmup = math.ceil(settings.warmup_share * steps)
    if step < warmup:
        share = settings.warmup_start + (1 - settings.warmup_start) * step / warmup
    else:
        share = 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
    return settings.learning_rate * share
