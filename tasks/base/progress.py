"""What a Prefect run shows: its tasks, its log, its progress."""

import functools
import logging
import time
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec
from uuid import UUID

import httpx
from prefect import Task, artifacts, get_client, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed, State

from echoingecg.common import Stopped, UserError
from echoingecg.common.running import check_stop

REPORT_SECONDS = 3.0  # between two reports
_SERVER_RETRY_SECONDS = 600.0  # nothing is shown for so long after a server did not answer

Arguments = ParamSpec("Arguments")


class Outcome(NamedTuple):
    """How a task ended well: a line for Prefect's page, data for the flow, and the state's name if not `Completed`."""

    message: str
    data: Any = None
    name: str | None = None


def as_task(name: str, function: Callable[Arguments, Outcome]) -> Task[Arguments, State]:
    """A Prefect task of the function. Prefect neither caches nor keeps results: the artefact store does.

    A fault that the user can mend becomes a failed state whose message is that one line. Other exceptions keep their
    traceback.
    """

    @functools.wraps(function)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> State:
        try:
            check_stop()
            outcome = function(*args, **kwargs)
        except Stopped as fault:
            return Failed(name="Stopped", message=str(fault), data=fault)
        except UserError as fault:
            return Failed(message=str(fault), data=fault)
        return Completed(message=outcome.message, data=outcome.data, name=outcome.name)

    return task(name=name, task_run_name=name, cache_policy=NO_CACHE, persist_result=False)(run)


def in_run() -> bool:
    """Whether this is called inside a Prefect task or flow, which logs and artifacts belong to."""
    return TaskRunContext.get() is not None or FlowRunContext.get() is not None


def logger() -> logging.Logger | logging.LoggerAdapter:
    """The run's logger inside a Prefect run, a plain logger elsewhere."""
    return get_run_logger() if in_run() else logging.getLogger("echoingecg")


_next_attempt = 0.0  # time.monotonic() from which on a server that did not answer is asked again


def only_shown(show: Callable[[], object]) -> None:
    """Calls a function that only shows something in the UI. A server that does not answer costs a line of the log.

    Prefect's client tries for minutes before it gives up. After that, nothing is shown for ten minutes.
    """
    global _next_attempt
    if time.monotonic() < _next_attempt:
        return
    try:
        show()
    except httpx.HTTPError as fault:
        _next_attempt = time.monotonic() + _SERVER_RETRY_SECONDS
        logger().warning(f"not shown in the UI: {' '.join(str(fault).split())}")


class Page:
    """A page of Markdown in the UI that is renewed as the work goes on: one artifact of the run, not one each time.

    Args:
        key: the artifact's name in the UI.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        self.artifact: UUID | None = None

    def show(self, markdown: str, description: str) -> None:
        """Makes the page, or renews it. Needs a Prefect run."""
        only_shown(lambda: self._publish(markdown, description))

    def _publish(self, markdown: str, description: str) -> None:
        if self.artifact is None:
            artifact = artifacts.create_markdown_artifact(markdown, key=self.key, description=description)
            assert isinstance(artifact, UUID)
            self.artifact = artifact
        else:
            with get_client(sync_client=True) as client:
                client.update_artifact(self.artifact, ArtifactUpdate(data=markdown, description=description))


class Reporter:
    """Reports progress to the log, and so to the terminal, and to a Prefect progress artifact.

    A listener for `echoingecg.common.running.Progress`. It reports at most every few seconds, and always the end. It
    raises Stopped once the process is asked to stop.
    """

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.started = self.reported = time.monotonic()
        self.artifact: UUID | None = None
        self.first: int | None = None

    def __call__(self, done: int, total: int, note: str = "") -> None:
        check_stop()
        now = time.monotonic()
        if self.first is None:
            self.first = done
        if now - self.reported < REPORT_SECONDS and done < total:
            return
        self.reported = now
        share = 100.0 * done / total if total else 100.0
        rate = (done - self.first) / max(now - self.started, 1e-9)
        speed = f", {rate:.3g}/s" if rate > 0 else ""
        left = f", {(total - done) / rate:.0f} s left" if rate > 0 and done < total else ""
        logger().info(f"{self.stage}: {done}/{total} ({share:.0f} %){speed}{left}{', ' if note else ''}{note}")
        if in_run():
            only_shown(lambda: self._publish(share, note))

    def _publish(self, share: float, note: str) -> None:
        if self.artifact is None:
            artifact = artifacts.create_progress_artifact(
                share, key=f"{self.stage}-progress", description=note or self.stage
            )
            assert isinstance(artifact, UUID)
            self.artifact = artifact
        else:
            artifacts.update_progress_artifact(self.artifact, share, description=note or self.stage)
