"""How a process ends that is asked to: by Ctrl-C (SIGINT), or by SIGTERM as `docker stop` and batch queues send it.

A command ends at once. A flow cannot: its stages run in threads, which a signal does not reach. It asks the stages to
stop, which they do with their next report of progress, the student with a checkpoint. Whatever takes longer is cut off:
everything that is written is safe against a kill, so the next run goes on from there. `serve` and `worker` end after
their runs.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

import psutil

from flows.prefect_settings import json_line, logs_as_json

GRACE_SECONDS = 6.0  # from the signal until work is cut off; Docker kills after 10, others later
_LAST_WORDS_SECONDS = 2.2  # for telling the server of that
SERVE_GRACE_SECONDS = 9.0  # `serve` and `worker` wait for their runs, then say good-bye to the server
SIGNALS = (signal.SIGINT, signal.SIGTERM)
_POLL_SECONDS = 0.1
_STDERR = 2  # file descriptor: a buffer's lock may be held by the code that the signal has met
_OVER_128 = 128  # a shell's exit code of a process that a signal has ended is higher by this

_last_words: Callable[[], object] | None = None  # tells the server that this run was cut off
_ending = threading.Lock()  # held by the first of the watches whose time is over: signals may have set several
_is_command = False  # one line on stderr; elsewhere, as in a worker's run, the log goes to the server


class Interrupted(BaseException):
    """A signal has asked this process to end. No `except Exception` holds it up.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def exit_code(self) -> int:
        """130 for SIGINT, 143 for SIGTERM."""
        return _OVER_128 + self.number

    def __str__(self) -> str:
        return (
            f"stopped by {signal.Signals(self.number).name}: run again, it goes on from its last commit or checkpoint"
        )


@contextmanager
def interruptible(first: Callable[[int], None] = lambda number: None, grace: float = GRACE_SECONDS) -> Iterator[None]:
    """Raises Interrupted in the main thread as soon as a signal comes: for a command.

    After a second Ctrl-C, or when the time is over, the process ends. Signals that it was told to ignore, as by nohup,
    stay ignored.

    Args:
        first: called with the signal's number before that.
        grace: s, from the signal to the end.
    """
    global _is_command
    received: list[int] = []

    def answer(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if received.count(signal.SIGINT) > 1:
            end_now(number)
        _end_after(grace, number)
        first(number)
        raise Interrupted(number)

    handled = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, answer) for number in handled}
    _is_command = True
    try:
        yield
    except BaseExceptionGroup as group:  # a task group in which the signal came
        if received:
            raise Interrupted(received[0]) from group
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ask_stages_to_stop(number: int, last_words: Callable[[], object]) -> None:
    """Asks the stages of this process to stop, after a signal of that number. When the time is over, it ends.

    Args:
        number: of the signal.
        last_words: called in that case, in another thread, for a moment: Prefect then cannot say how the run ended.
    """
    global _last_words
    from echoingecg.common import running  # NumPy: not for --help

    _last_words = last_words
    running.ask_to_stop()
    _end_after(GRACE_SECONDS, number)


def _end_after(seconds: float, number: int) -> None:
    if _is_command:
        logging.disable(logging.ERROR)
    watch = threading.Timer(seconds, _cut_off, [number])
    watch.daemon = True
    watch.start()


def _cut_off(number: int) -> None:
    if not _ending.acquire(blocking=False):
        return
    speaker = threading.Thread(target=_last_words, daemon=True)
    speaker.start()
    speaker.join(_LAST_WORDS_SECONDS)
    end_now(number)


@contextmanager
def deaf() -> Iterator[None]:
    """Ignores further signals inside the block: for what a process that ends must still write."""
    is_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS} if is_main else {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_at_once_from_now_on() -> None:
    """Lets a signal end this process at once, in a line: while it starts, and while it still ends its own server."""

    def answer(number: int, frame: FrameType | None) -> None:
        end_now(number)

    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, answer)


def ignore_from_now_on() -> None:
    """Ignores signals: when Python itself ends, it would give them back their deadly meaning, with all work done."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def end_now(number: int) -> NoReturn:
    """Ends the process, with a line on stderr. What it has started ends with it: each child watches for that."""
    end = Interrupted(number)
    line = json_line(str(end), logging.ERROR) if logs_as_json() else str(end)
    os.write(_STDERR, f"{line}\n".encode())
    os._exit(end.exit_code)


def end_runs_first(number: int) -> None:
    """Sends SIGTERM to the runs that this process has started; waits until they end. For `serve` and `worker`."""
    runs = psutil.Process().children()
    for run in runs:
        with suppress(psutil.NoSuchProcess):
            run.send_signal(signal.SIGTERM)
    end = time.monotonic() + GRACE_SECONDS + _LAST_WORDS_SECONDS
    while time.monotonic() < end and any(map(_is_alive, runs)):
        time.sleep(_POLL_SECONDS)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
