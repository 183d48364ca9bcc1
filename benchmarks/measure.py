"""Rows of the table, and a timer that says what it did."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

REPEATS = 3


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        work: what is done.
        plain_route: the obvious way, in words.
        plain: its seconds, the median of the repeats.
        ours: our seconds.
        goal: smallest ratio plain / ours that the project wants; None where there is none yet.
    """

    work: str
    plain_route: str
    plain: float
    ours: float
    goal: float | None = None

    def as_markdown(self) -> str:
        ratio = self.plain / self.ours
        goal = "" if self.goal is None else f"{self.goal:g} ({'met' if ratio >= self.goal else 'missed'})"
        return f"| {self.work} | {self.plain_route} | {self.plain:.4g} | {self.ours:.4g} | {ratio:.1f} | {goal} |"


def seconds(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Median wall seconds of `repeats` calls, after one that is not counted."""
    work()
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return median(found)
