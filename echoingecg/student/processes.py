"""Starts the training's processes on this machine, and passes on what they report."""

import contextvars
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from lightning_fabric import Fabric
from torch import multiprocessing as torch_multiprocessing
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from echoingecg.common.errors import TrainingError, UserError
from echoingecg.progress import Progress

Work = Callable[..., object]


def run_processes(fabric: Fabric, work: Work, arguments: tuple[Any, ...], progress: Progress) -> None:
    """Runs `work(fabric, *arguments, progress)` in each of the fabric's processes, and waits for all.

    Args:
        fabric: not yet launched; its strategy starts processes by spawn.
        work: a function of a module.
        arguments: picklable.
        progress: is told here what the processes report; it may be anything.

    Raises:
        UserError: as one of the processes raised it.
        TrainingError: one of the processes was killed.
    """
    reports = torch_multiprocessing.get_context("spawn").SimpleQueue()
    faults: list[UserError] = []

    def listen() -> None:
        received = iter(reports.get, None)
        try:
            for report in received:
                if isinstance(report, UserError):
                    faults.append(report)
                else:
                    progress(*report)
        finally:
            for _ in received:  # should progress fail: a full pipe would stop the training
                pass

    ended: ProcessRaisedException | ProcessExitedException | None = None
    with ThreadPoolExecutor(1) as thread:
        # The context carries the caller's Prefect run, under which progress is shown.
        heard = thread.submit(contextvars.copy_context().run, listen)
        try:
            # A partial, because Fabric looks into plain arguments for modules and stumbles over frozen dataclasses.
            fabric.launch(partial(_run, work=work, arguments=arguments, reports=reports))
        except (ProcessRaisedException, ProcessExitedException) as fault:
            ended = fault
        finally:
            reports.put(None)
    heard.result()
    if faults:
        raise faults[0]
    if isinstance(ended, ProcessExitedException):
        raise TrainingError(
            f"training process {ended.error_index} was ended from outside ({ended.signal_name or ended.exit_code}): "
            "make sure that memory suffices and run again, which goes on from the last checkpoint"
        ) from ended
    if ended is not None:
        raise ended


def _run(fabric: Fabric, work: Work, arguments: tuple[Any, ...], reports: Any) -> None:
    threading.Thread(target=_die_with_parent, daemon=True).start()

    def progress(done: int, total: int, note: str = "") -> None:
        reports.put((done, total, note))

    try:
        work(fabric, *arguments, progress)
    except UserError as fault:
        reports.put(fault)
        raise


def _die_with_parent() -> None:
    """Kills this process once its parent is gone: nothing may train on beside the run that takes its place.

    torch asks the kernel for a SIGINT then; in Python that is an exception, which other code may catch.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGKILL)
