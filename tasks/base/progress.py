"""Progress of long work, to the log (and so to the terminal) and to a Prefect progress artifact."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import httpx
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging import get_run_logger

EVERY = 3.0  # seconds between two reports
_LET_ALONE = 600.0  # s for which a server that did not answer is not asked to show anything


@dataclass
class _Away:
    until: float = 0.0  # time.monotonic()


_away = _Away()


def in_run() -> bool:
    """Whether this is called inside a Prefect task or flow, where logs and artifacts have a home."""
    return TaskRunContext.get() is not None or FlowRunContext.get() is not None


def logger() -> logging.Logger | logging.LoggerAdapter:
    """The run's logger inside a Prefect run, a plain one elsewhere."""
    return get_run_logger() if in_run() else logging.getLogger("echoingecg")


def only_shown(show: Callable[[], object]) -> None:
    """Calls what is merely shown in the UI: a server that does not answer is a line of the log, and costs no stage.

    Prefect's client tries for minutes before it gives up; after that nothing is shown for a while.
    """
    if time.monotonic() < _away.until:
        return
    try:
        show()
    except httpx.HTTPError as fault:
        _away.until = time.monotonic() + _LET_ALONE
        logger().warning(f"not shown in the UI: {' '.join(str(fault).split())}")


class Reporter:
    """A listener for `echoingecg.common.running.Progress`: at most one report every few seconds, and the last."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.started = self.reported = time.monotonic()
        self.artifact: UUID | None = None
        self.first: int | None = None

    def __call__(self, done: int, total: int, note: str = "") -> None:
        now = time.monotonic()
        if self.first is None:
            self.first = done
        if now - self.reported < EVERY and done < total:
            return
        self.reported = now
        share = 100.0 * done / total if total else 100.0
        rate = (done - self.first) / max(now - self.started, 1e-9)
        left = f", {(total - done) / rate:.0f} s left" if rate > 0 and done < total else ""
        logger().info(f"{self.stage}: {done}/{total} ({share:.0f} %), {rate:.1f}/s{left}{', ' if note else ''}{note}")
        if in_run():
            only_shown(lambda: self._publish(share, note))

    def _publish(self, share: float, note: str) -> None:
        if self.artifact is None:
            made = create_progress_artifact(share, key=f"{self.stage}-progress", description=note or self.stage)
            assert isinstance(made, UUID)
            self.artifact = made
        else:
            update_progress_artifact(self.artifact, share, description=note or self.stage)
