"""The next batch is prepared while the step runs.

How long work reports itself, without knowing who listens.

Libraries that read a patient's files must not quote them: their warnings and log lines hold names and dates.
"""

import logging
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import RLock
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")

AHEAD = 2  # results held beside the one in use: one would stall whenever a read is slower than a step


def prefetched(make: Callable[[Item], Made], items: Iterable[Item], ahead: int = AHEAD) -> Generator[Made, None, None]:
    """`map(make, items)`, made in one other thread up to `ahead` results early.

    One thread makes them in order, so results are those of `map`; `make` must not draw from a random
    state that others share. An exception of `make` is raised when its result is due. The thread ends
    with the generator: exhaust it, or close it (`contextlib.closing`) when leaving early.

    Args:
        make: called once an item.
        items: taken as needed, in the caller's thread.
        ahead: at least 1.
    """
    waiting: deque[Future[Made]] = deque()
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


class Progress(Protocol):
    """Called with the amount done, the total and a short note such as `loss 0.31`."""

    def __call__(self, done: int, total: int, note: str = "") -> None: ...


def silent(done: int, total: int, note: str = "") -> None:
    """A listener that does nothing."""


_FILTERS = RLock()  # Python's list of warning filters is one for all threads

# pydicom logs what it warns of. Nothing of it reaches the handlers of whoever runs this, Prefect's among them.
_PYDICOM = logging.getLogger("pydicom")
_PYDICOM.addHandler(logging.NullHandler())
_PYDICOM.propagate = False


@contextmanager
def unquoted() -> Iterator[None]:
    """Drops warnings. One thread at a time."""
    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
