"""Numbers that a format writes out in characters."""

from math import isfinite

from echoingecg.common.errors import Refusal


def number(spelling: str | None) -> float | None:
    """A finite number; None for nothing. Raises Refusal(unreadable) for anything else."""
    if spelling is None or not spelling.strip():
        return None
    try:
        value = float(spelling)
    except ValueError as fault:
        raise Refusal("unreadable", "a word where the format has a number") from fault
    if not isfinite(value):
        raise Refusal("unreadable", "a number without bound")
    return value


def whole(spelling: str | None) -> int | None:
    """As `number`, for a count: 0 and more."""
    value = number(spelling)
    if value is None:
        return None
    if value < 0 or value != int(value):
        raise Refusal("unreadable", "a count that is no whole number")
    return int(value)
