"""Rows of the table, the goals they are held against, and timers that say what they did."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPEATS = 3


@dataclass(frozen=True)
class Goal:
    """What the project wants of a row.

    Attributes:
        says: in the table's words.
        met: (plain, ours) -> whether it is reached.
    """

    says: str
    met: Callable[[float, float], bool]


def at_least(ratio: float) -> Goal:
    """The plain route takes at least so many times as much as ours."""
    return Goal(f"ratio ≥ {ratio:g}", lambda plain, ours: plain >= ratio * ours)


def at_most(share: float) -> Goal:
    """Ours takes at most so many times as much as the plain route."""
    return Goal(f"ours / plain ≤ {share:g}", lambda plain, ours: ours <= share * plain)


def below(limit: float) -> Goal:
    """Ours is under a number of the row's unit."""
    return Goal(f"ours < {limit:g}", lambda plain, ours: ours < limit)


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        work: what is done.
        plain_route: the obvious way, in words; or why there is no number for it.
        plain: what it took, in `unit`; None where it was not run.
        ours: what ours took.
        goal: None where there is none.
        unit: of both.
    """

    work: str
    plain_route: str
    plain: float | None
    ours: float
    goal: Goal | None = None
    unit: str = "s"

    def as_markdown(self) -> str:
        plain, ratio = ("", "") if self.plain is None else (f"{self.plain:.4g}", _short(self.plain / self.ours))
        goal = ""
        if self.goal is not None:
            met = self.goal.met(float("nan") if self.plain is None else self.plain, self.ours)
            goal = f"{self.goal.says}: {'met' if met else 'missed'}"
        return f"| {self.work} | {self.plain_route} | {self.unit} | {plain} | {self.ours:.4g} | {ratio} | {goal} |"


def seconds(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Wall seconds of the fastest of `repeats` calls, after one that is not counted.

    The fastest, because whatever else the machine does can only add.
    """
    work()
    return min(once(work) for _ in range(repeats))


def once(work: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_fresh_process(module: str, function: str, *arguments: Any) -> Any:
    """What a function of the benchmarks returns in a process of its own: peak memory never falls in this one.

    Args:
        module: its last name.
        function: arguments and result are JSON values.
    """
    values = json.dumps(arguments)
    call = f"{function}(*json.loads({values!r}))"
    code = f"import json; from benchmarks.{module} import {function}; print(json.dumps({call}))"
    done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def peak_mb() -> float:
    """Peak resident memory of this process, MB. Linux only: ru_maxrss there counts the parent's at the fork, too."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e6


def _short(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 100 else f"{ratio:.2f}"
