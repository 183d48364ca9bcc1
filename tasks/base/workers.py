"""Which processors do the work: threads, processes or Dask workers for blocks, CPU or GPUs for networks."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from echoingecg.common import StoreError, UserError, one_blas_thread, write_atomically
from echoingecg.common.running import check_stop, spared_from_ctrl_c
from echoingecg.recipe import ExecutionSettings

if TYPE_CHECKING:
    from distributed import Client, Future, LocalCluster

Item = TypeVar("Item")
Result = TypeVar("Result")
Map = Callable[[Callable[[Item], Result], Iterable[Item]], Iterator[Result]]

_BLOCKS_IN_FLIGHT = 2  # for each worker: bounds memory and still hides latency
_THREADS = 2  # NumPy, hashing and reading let others run; a third thread would wait for the interpreter
_MIN_BLOCKS_PER_WORKER = 4  # from here on a local cluster is quicker, with the seconds that it takes to start
_STOP_SECONDS = 1.0  # until a wait for a worker notices that it is to stop
_CERTIFICATE_SECONDS = 300 * 86400.0  # of the 365 days for which Dask makes them valid
_RESULT_TIMEOUT_SECONDS = 60.0  # a multiple of that; without a result for so long, ask whether there are workers


@contextmanager
def mapper(execution: ExecutionSettings, blocks: int, threads: int = _THREADS) -> Iterator[Map]:
    """A `map` that keeps order and holds a bounded number of results in memory.

    A worker process that dies costs the blocks it held: the scheduler gives them to another.

    Args:
        execution: `dask` names a scheduler; else `workers` above 1 starts a local cluster of processes.
        blocks: how many items there will be; no cluster is started for a few.
        threads: of this process, where there is no cluster; at most one for each core is used.

    Raises:
        StoreError: the scheduler cannot be reached, has no workers, or gives up.
    """
    is_small = execution.workers == 1 or blocks < _MIN_BLOCKS_PER_WORKER * execution.workers
    if not blocks or (not execution.dask and is_small):
        with _threads(min(threads, os.cpu_count() or 1)) as run:
            yield run
        return
    from distributed import Client  # half a second to import; most runs do without

    if execution.dask:
        with _connected(execution.dask) as client:
            yield _dask(client)
        return
    with local_cluster(execution.workers) as cluster, Client(cluster) as client:
        yield _dask(client)


@contextmanager
def local_cluster(workers: int) -> Iterator["LocalCluster"]:
    """A cluster of processes on this machine that nobody else on it can use.

    Whoever reaches a scheduler runs code as its owner. So both sides show certificates that were made for this cluster
    and are kept in memory, and the web servers of scheduler and workers have no pages.
    """
    import dask
    from distributed import LocalCluster

    no_pages: dict[str, list[str]] = {"distributed.scheduler.http.routes": [], "distributed.worker.http.routes": []}
    with (
        dask.config.set(no_pages),
        spared_from_ctrl_c(),
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None, security=True) as cluster,
    ):
        yield cluster


def write_certificate(folder: str) -> None:
    """Makes certificate and key that the scheduler, workers and clients of a lasting cluster show each other.

    They are valid for a year. Those that are there stay until two months before their end.

    Args:
        folder: receives `certificate.pem` and `key.pem`, which their owner alone can read.
    """
    from distributed.security import Security

    place = Path(folder)
    if (key := place / "key.pem").is_file() and time.time() - key.stat().st_mtime < _CERTIFICATE_SECONDS:
        return
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = Security.temporary()
    write_atomically(place / "certificate.pem", made.tls_ca_file, mode=0o600)
    write_atomically(key, made.tls_scheduler_key, mode=0o600)


@contextmanager
def _threads(count: int) -> Iterator[Map]:
    pool = ThreadPoolExecutor(count)
    try:
        with one_blas_thread():  # blocks run side by side, each on one thread
            yield _ordered(pool.submit, lambda future: future.result(), _BLOCKS_IN_FLIGHT * count)
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _connected(address: str) -> Iterator["Client"]:
    from distributed import Client

    try:
        client = Client(address)
    except (OSError, ValueError) as fault:
        raise StoreError(f"no Dask scheduler answers at {address}") from fault
    with client:
        try:
            client.wait_for_workers(1, timeout=_RESULT_TIMEOUT_SECONDS)
        except TimeoutError as fault:
            raise StoreError(f"the Dask scheduler at {address} has no workers: start some") from fault
        yield client


def _dask(client: "Client") -> Map:
    submit = partial(client.submit, pure=False)
    return _ordered(submit, partial(_result, client), _BLOCKS_IN_FLIGHT * max(1, sum(client.nthreads().values())))


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


def _result(client: "Client", future: "Future") -> Result:  # type: ignore[type-var,return]
    """The result of one block. Raises StoreError when Dask has given up, and whatever the function raises."""
    from distributed import CancelledError, KilledWorker
    from distributed.comm import CommClosedError

    try:
        for waited in count(start=1):
            try:
                result: Result = future.result(timeout=_STOP_SECONDS)
                return result
            except TimeoutError as fault:
                check_stop()
                if waited * _STOP_SECONDS % _RESULT_TIMEOUT_SECONDS == 0 and not client.nthreads():
                    raise StoreError("the Dask scheduler has no workers left: start some and run again") from fault
    except KilledWorker as fault:
        raise StoreError("one block after another kills its Dask worker: is there memory enough?") from fault
    except (CancelledError, CommClosedError) as fault:
        raise StoreError("the Dask scheduler has gone: start it and run again") from fault


def device(execution: ExecutionSettings) -> str:
    """Returns 'cpu' or 'cuda', and sets torch's number of threads.

    Raises:
        TrainingError: the recipe wants CUDA and there is none.
    """
    import torch  # not for workers, nor for a cached run

    from echoingecg.student.checks import accelerator

    if execution.threads:
        torch.set_num_threads(execution.threads)
    return accelerator(execution)


def replicas(execution: ExecutionSettings) -> list[str]:
    """Devices that each hold a copy of a frozen network: `execution.devices` GPUs, or the CPU.

    Raises:
        UserError: there are fewer GPUs.
    """
    import torch

    if device(execution) == "cpu":
        return ["cpu"]
    if execution.devices > (present := torch.cuda.device_count()):
        raise UserError(f"execution.devices={execution.devices}, but torch finds {present} CUDA devices")
    return [f"cuda:{index}" for index in range(execution.devices)]
