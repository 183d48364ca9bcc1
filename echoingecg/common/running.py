"""The next batch is prepared while the step runs."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")

AHEAD: Final = 2  # results held beside the one in use: one would stall whenever a read is slower than a step


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
