"""The same function over many items: in this process, on a local Dask cluster, or on an existing one."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from echoingecg.recipe import ExecutionSettings

Item = TypeVar("Item")
Result = TypeVar("Result")
Map = Callable[[Callable[[Item], Result], Iterable[Item]], Iterator[Result]]

_AHEAD = 4  # tasks a worker that are in flight: bounds memory and still hides latency


@contextmanager
def mapper(execution: ExecutionSettings) -> Iterator[Map]:
    """A `map` that keeps order and holds a bounded number of results in memory.

    Args:
        execution: `dask` names a scheduler; else `workers` above 1 starts a local cluster of processes.
    """
    if not execution.dask and execution.workers == 1:
        yield map
        return
    from distributed import Client, LocalCluster  # half a second to import; most runs do without

    if execution.dask:
        with Client(execution.dask) as client:
            yield _ordered(client)
        return
    with (
        LocalCluster(n_workers=execution.workers, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield _ordered(client)


def _ordered(client: "Client") -> Map:  # type: ignore[name-defined]  # noqa: F821
    def run(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        limit = _AHEAD * max(1, sum(client.nthreads().values()))
        waiting: deque = deque()
        for item in items:
            waiting.append(client.submit(function, item, pure=False))
            if len(waiting) >= limit:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    return run
