"""Long work: results prepared in advance, progress reports, a flag that stops it, and libraries that must not print
patients' data.
"""

import logging
import signal
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event, Lock, RLock
from typing import Any, Protocol, TypeVar

from threadpoolctl import OpenBLASController, ThreadpoolController

from echoingecg.common.errors import Stopped

Item = TypeVar("Item")
Result = TypeVar("Result")

RESULTS_AHEAD = 2  # results held beside the one in use; with one, training stalls if a read is slower than a step

_WARNING_FILTERS_LOCK = RLock()  # Python has one list of warning filters for all threads

_BLAS_LOCK = Lock()
_blas_limits: list[Any] = []  # one entry for each caller inside `one_blas_thread`; the first one holds the limit

# pydicom logs what it warns about, with values from the file. No handler of the process may receive it.
_PYDICOM = logging.getLogger("pydicom")
_PYDICOM.addHandler(logging.NullHandler())
_PYDICOM.propagate = False


def prefetched(
    make: Callable[[Item], Result], items: Iterable[Item], ahead: int = RESULTS_AHEAD
) -> Generator[Result, None, None]:
    """Yields the results of `map(make, items)`, which one other thread computes up to `ahead` results early.

    One thread computes them in order, so the results equal those of `map`; `make` must not draw from a random
    state that others share. An exception of `make` is raised when its result is due. The thread ends
    with the generator: exhaust it, or close it (`contextlib.closing`) when leaving early.

    Args:
        make: called once per item.
        items: read as needed, in the caller's thread.
        ahead: at least 1.
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as thread:
        try:
            for item in items:
                waiting.append(thread.submit(make, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limits the matrix products and solvers of NumPy and SciPy to one thread, for the whole process.

    The last bits of a product depend on the number of threads that it is split over; with one, equal inputs give equal
    bytes. The last of overlapping callers lifts the limit.
    """
    with _BLAS_LOCK:
        _blas_limits.append(_blas_limits[0] if _blas_limits else _limited_blas())
    try:
        yield
    finally:
        with _BLAS_LOCK:
            limit = _blas_limits.pop()
            if not _blas_limits:
                OpenBLASController.clear_controlling_thread(force=True)
                limit.restore_original_limits()
                OpenBLASController.clear_controlling_thread(force=True)


def _limited_blas() -> Any:
    """Sets the limit. threadpoolctl hears one thread alone until that thread ends, and drops what others set."""
    OpenBLASController.clear_controlling_thread(force=True)
    return ThreadpoolController().limit(limits=1, user_api="blas")


@contextmanager
def spared_from_ctrl_c() -> Iterator[None]:
    """Keeps Ctrl-C from threads and processes that are started inside the block, for as long as they live.

    A terminal sends it to all processes of a run; the one that started the others must decide. The calling thread does
    not hear of it inside the block, either.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class Progress(Protocol):
    """A function that is called with the amount done, the total, and a short note such as `loss 0.31`."""

    def __call__(self, done: int, total: int, note: str = "") -> None: ...


def no_progress(done: int, total: int, note: str = "") -> None:
    """Ignores progress reports: the default where nobody listens. Raises Stopped once the work is asked to stop."""
    check_stop()


_stop = Event()  # one for the process: whoever works in it is to stop


def ask_to_stop() -> None:
    """Asks all work of this process to stop. It does so at its next report of progress."""
    _stop.set()


def forget_stop() -> None:
    """Lets later work of this process run again."""
    _stop.clear()


def is_asked_to_stop() -> bool:
    """Whether work is to stop."""
    return _stop.is_set()


def check_stop() -> None:
    """Raises Stopped once the work is asked to stop. Every listener to progress calls it."""
    if _stop.is_set():
        raise Stopped


@contextmanager
def silence_libraries() -> Iterator[None]:
    """Drops all warnings inside the block; one thread at a time.

    Libraries that read patients' files quote names and dates in their warnings.
    """
    with _WARNING_FILTERS_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
