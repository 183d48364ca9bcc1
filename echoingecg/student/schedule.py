"""Learning rate of each step: linear warm-up, cosine to zero (METHOD, optimiser)."""

import math

from echoingecg.recipe import StudentSettings


def learning_rate(settings: StudentSettings, step: int, steps: int) -> float:
    """The rate that optimiser step number `step` uses.

    Args:
        settings: learning_rate (the peak), warmup_share and warmup_start count here.
        step: from 0; `steps` gives 0, the end of the cosine.
        steps: of the whole run.
    """
    warmup = math.ceil(settings.warmup_share * steps)
    if step < warmup:
        share = settings.warmup_start + (1 - settings.warmup_start) * step / warmup
    else:
        share = 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
    return settings.learning_rate * share
