"""The same function over many blocks: on threads of this process, a local Dask cluster, or an existing one.

Which device a network runs on, and how many threads it takes.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from threadpoolctl import threadpool_limits

from echoingecg.common import StoreError, UserError
from echoingecg.recipe import ExecutionSettings

if TYPE_CHECKING:
    from distributed import Client, Future

Item = TypeVar("Item")
Result = TypeVar("Result")
Map = Callable[[Callable[[Item], Result], Iterable[Item]], Iterator[Result]]

_AHEAD = 2  # blocks a worker that are in flight: bounds memory and still hides latency
_THREADS = 2  # NumPy, hashing and reading let others run; a third thread finds the interpreter busy
_WORTH = 4  # blocks a worker from which on a local cluster is quicker with its start of seconds
_PATIENCE = 60.0  # s without a result before somebody asks whether there are workers


@contextmanager
def mapper(execution: ExecutionSettings, blocks: int, threads: int = _THREADS) -> Iterator[Map]:
    """A `map` that keeps order and holds a bounded number of results in memory.

    A worker process that dies costs the blocks it held: the scheduler gives them to another.

    Args:
        execution: `dask` names a scheduler; else `workers` above 1 starts a local cluster of processes.
        blocks: how many items there will be; for a few no cluster is started.
        threads: of this process, where there is no cluster; not more than it has cores.

    Raises:
        StoreError: the scheduler cannot be reached, has no workers, or gives up.
    """
    if not blocks or (not execution.dask and (execution.workers == 1 or blocks < _WORTH * execution.workers)):
        with _threads(min(threads, os.cpu_count() or 1)) as run:
            yield run
        return
    from distributed import Client, LocalCluster  # half a second to import; most runs do without

    if execution.dask:
        with _connected(execution.dask) as client:
            yield _dask(client)
        return
    workers = {"n_workers": execution.workers, "threads_per_worker": 1}
    with LocalCluster(**workers, dashboard_address=None) as cluster, Client(cluster) as client:
        yield _dask(client)


@contextmanager
def _threads(count: int) -> Iterator[Map]:
    pool = ThreadPoolExecutor(count)
    try:
        with threadpool_limits(1, user_api="blas"):  # the blocks are what runs side by side
            yield _ordered(pool.submit, lambda future: future.result(), _AHEAD * count)
    finally:
        pool.shutdown(cancel_futures=True)


def _dask(client: "Client") -> Map:
    submit = partial(client.submit, pure=False)
    return _ordered(submit, partial(_result, client), _AHEAD * max(1, sum(client.nthreads().values())))


@contextmanager
def _connected(address: str) -> Iterator["Client"]:
    from distributed import Client

    try:
        client = Client(address)
    except (OSError, ValueError) as fault:
        raise StoreError(f"no Dask scheduler answers at {address}") from fault
    with client:
        try:
            client.wait_for_workers(1, timeout=_PATIENCE)
        except TimeoutError as fault:
            raise StoreError(f"the Dask scheduler at {address} has no workers: start some") from fault
        yield client


def _ordered(submit: Callable[..., Any], result: Callable[[Any], Result], limit: int) -> Map:
    def run(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        waiting: deque[Any] = deque()
        for item in items:
            waiting.append(submit(function, item))
            if len(waiting) >= limit:
                yield result(waiting.popleft())
        while waiting:
            yield result(waiting.popleft())

    return run


def _result(client: "Client", future: "Future") -> Result:  # type: ignore[type-var]
    """Of one block. Raises StoreError when Dask has given up, and whatever the function raises."""
    from distributed import CancelledError, KilledWorker
    from distributed.comm import CommClosedError

    try:
        while True:
            try:
                found: Result = future.result(timeout=_PATIENCE)
                return found
            except TimeoutError as fault:
                if not client.nthreads():
                    raise StoreError("the Dask scheduler has no workers left: start some and run again") from fault
    except KilledWorker as fault:
        raise StoreError("one block after another kills its Dask worker: is there memory enough?") from fault
    except (CancelledError, CommClosedError) as fault:
        raise StoreError("the Dask scheduler has gone: start it and run again") from fault


def device(execution: ExecutionSettings) -> str:
    """'cpu' or 'cuda', with torch's thread count set.

    Raises:
        UserError: the recipe asks for CUDA and there is none.
    """
    if execution.threads:
        torch.set_num_threads(execution.threads)
    if execution.device == "cuda" and not torch.cuda.is_available():
        raise UserError("execution.device=cuda, but torch finds no CUDA device: use auto or cpu")
    if execution.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return execution.device


def replicas(execution: ExecutionSettings) -> list[str]:
    """Devices that each hold a copy of a network that does not learn: `execution.devices` GPUs, or the CPU.

    Raises:
        UserError: there are fewer GPUs.
    """
    if device(execution) == "cpu":
        return ["cpu"]
    if execution.devices > (found := torch.cuda.device_count()):
        raise UserError(f"execution.devices={execution.devices}, but torch finds {found} CUDA devices")
    return [f"cuda:{index}" for index in range(execution.devices)]
