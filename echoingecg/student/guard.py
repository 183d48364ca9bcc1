"""When training must stop, and the line it stops with."""

import math

from echoingecg.recipe import StudentSettings
from echoingecg.student.checkpoint import Position


def step_fault(loss: float, gradient_norm: float, settings: StudentSettings) -> str | None:
    """What is wrong with a step: 'loss or its gradient is not finite', for example; None when nothing is.

    Args:
        loss: of the batch, unweighted.
        gradient_norm: before clipping.
        settings: loss_limit and gradient_limit count here.
    """
    if not (math.isfinite(loss) and math.isfinite(gradient_norm)):
        return "loss or its gradient is not finite"
    for name, value, limit, field in (
        ("loss", loss, settings.loss_limit, "loss_limit"),
        ("loss's gradient norm", gradient_norm, settings.gradient_limit, "gradient_limit"),
    ):
        if limit is not None and value > limit:
            return f"{name} of {value:.3g} is beyond student.{field}={limit:g}"
    return None


def stopped(what: str, position: Position, steps: int, saved_step: int | None) -> str:
    """The error line.

    Args:
        what: subject and verb.
        position: of the step that failed; it does not count as done.
        steps: of the whole run.
        saved_step: of the last checkpoint.
    """
    saved = "there is no checkpoint yet"
    if saved_step is not None:
        saved = f"the last good checkpoint is of step {saved_step}"
    return (
        f"the {what} at step {position.step + 1} of {steps} (epoch {position.epoch}); {saved}. "
        "Lower student.learning_rate, set student.model.log_var_start, or use student.precision=float32"
    )
