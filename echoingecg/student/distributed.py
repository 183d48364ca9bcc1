"""Training in several processes: each takes its rows of a batch, and the loss is that of all rows together.

The processes are started here, on this machine, or by torchrun, on several.
"""

import contextvars
import multiprocessing.connection
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from echoingecg.common import Progress, Stopped, TrainingError, UserError
from echoingecg.recipe import ExecutionSettings, StudentSettings
from echoingecg.student.checks import accelerator
from echoingecg.student.data.batches import Batch
from echoingecg.student.model.gaussian_heads import GaussianTensor

if TYPE_CHECKING:
    from lightning_fabric import Fabric  # for training alone: a quarter of what a prediction would import
    from lightning_fabric.strategies import DDPStrategy

PRECISION = {"float32": "32-true", "bfloat16": "bf16-mixed"}


Work = Callable[..., object]


class Share(NamedTuple):
    """The part of every batch that a process takes.

    Attributes:
        rank: of the process, from 0.
        ranks: number of processes.
    """

    rank: int = 0
    ranks: int = 1

    def positions(self, size: int) -> range:
        """Returns the positions in the batch of this process's `size` rows; the ranks' rows follow each other."""
        return range(self.rank * size, (self.rank + 1) * size)

    def part_of(self, batch: Batch) -> Batch:
        """Returns this process's rows of a batch."""
        mine = self.positions(len(batch.rows) // self.ranks)
        return Batch(batch.kind, batch.rows[mine.start : mine.stop])


def make_fabric(settings: StudentSettings, execution: ExecutionSettings, alone: bool = False) -> "Fabric":
    """Makes a Fabric with device, precision and processes.

    Args:
        settings: precision and batch_size are used.
        execution: device and number of processes on this machine.
        alone: use one process, whatever `execution` says.

    Raises:
        TrainingError: there is no such device, or the batch cannot be divided among the processes.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import TorchElasticEnvironment
    from lightning_fabric.strategies import DDPStrategy

    kind, precision = accelerator(execution), PRECISION[settings.precision]
    if alone or (execution.devices == 1 and not started_by_torchrun()):
        return Fabric(accelerator=kind, devices=1, precision=precision)
    machines = 1
    if started_by_torchrun():
        processes = TorchElasticEnvironment().world_size()
        machines, rest = divmod(processes, execution.devices)
        if rest:
            raise TrainingError(
                f"torchrun started {processes} processes, which execution.devices={execution.devices} does not divide: "
                "set it to torchrun's --nproc-per-node"
            )
    check_share(settings, execution.devices * machines)
    # ECG-echo batches leave the text tower without gradients.
    strategy = DDPStrategy(start_method="popen" if started_by_torchrun() else "spawn", find_unused_parameters=True)
    return Fabric(
        accelerator=kind, devices=execution.devices, num_nodes=machines, strategy=strategy, precision=precision
    )


def started_by_torchrun() -> bool:
    """Tells whether torchrun has started this process."""
    return dist.is_available() and dist.is_torchelastic_launched()


def check_share(settings: StudentSettings, processes: int) -> None:
    """Raises TrainingError unless a batch can be divided evenly, with at least two pairs for each process."""
    if settings.batch_size % processes or settings.batch_size < 2 * processes:
        raise TrainingError(
            f"student.batch_size is {settings.batch_size}, to be shared out over {processes} processes: "
            f"make it a multiple of {processes}, at least {2 * processes}, or change execution.devices"
        )


def is_same_in_all_processes(fabric: "Fabric", number: int) -> bool:
    """Tells whether all processes have the same number."""
    first: int = fabric.broadcast(number)
    return bool(fabric.strategy.reduce_boolean_decision(first == number))


def gather_rows(gaussian: GaussianTensor) -> GaussianTensor:
    """Gathers the Gaussians of all processes, float32; with one process it returns its argument.

    Why the loss needs no factor: each of W processes computes the whole batch's loss L from the
    gathered rows. The gradient of a process's own rows e_r is summed over the W equal copies of L:
    W dL/de_r. Its towers' gradient is therefore W (dL/de_r)(de_r/dw), and DDP's mean over the processes
    gives sum_r (dL/de_r)(de_r/dw) = dL/dw, that of one process with the whole batch. The loss's own
    parameters see dL/dw in every process, and the mean leaves it as it is.
    """
    if not dist.is_available() or not dist.is_initialized():
        return gaussian
    mean, log_var = gaussian.float()
    return GaussianTensor(_Gather.apply(mean), _Gather.apply(log_var))


def gather_numbers(numbers: Tensor) -> Tensor:
    """Gathers (B,) integers of all processes in the order of ranks; with one process it returns its argument."""
    if not dist.is_available() or not dist.is_initialized():
        return numbers
    gathered: Tensor = _Gather.apply(numbers)
    return gathered


class _Gather(torch.autograd.Function):
    """Concatenates all processes' rows in the order of ranks; sums the gradient over the processes."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        summed = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(summed)
        return summed.chunk(dist.get_world_size())[dist.get_rank()]


def run_processes(fabric: "Fabric", work: Work, arguments: tuple[Any, ...], progress: Progress) -> None:
    """Runs `work(fabric, *arguments, progress)` in each of the fabric's processes, and waits for all.

    Args:
        fabric: not yet launched; its strategy starts processes by spawn.
        work: a function of a module.
        arguments: picklable.
        progress: called in this process with what the first one reports; need not be picklable.

    Raises:
        UserError: the error that one of the processes raised.
        TrainingError: one of the processes was killed.
    """
    context = torch.multiprocessing.get_context("spawn")
    reports, stop = context.SimpleQueue(), context.Event()
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
            stop.set()  # if progress fails: the processes save and end
            for _ in received:  # a full pipe would stop the training
                pass

    ended: ProcessRaisedException | ProcessExitedException | None = None
    with ThreadPoolExecutor(1) as thread:
        # The context holds the caller's Prefect run, which shows the progress.
        listener = thread.submit(contextvars.copy_context().run, listen)
        try:
            with tempfile.TemporaryDirectory() as folder:
                meet = partial(_meet, fabric.strategy, f"{folder}/meeting")
                fabric.strategy._setup_distributed = meet
                # A partial: Fabric searches plain arguments for modules and fails on frozen dataclasses.
                fabric.launch(partial(_run, work=work, arguments=arguments, reports=reports, stop=stop))
        except (ProcessRaisedException, ProcessExitedException) as fault:
            ended = fault
        finally:
            reports.put(None)
    listener.result()
    if faults:
        raise faults[0]
    if isinstance(ended, ProcessExitedException):
        raise TrainingError(
            f"training process {ended.error_index} was ended from outside ({ended.signal_name or ended.exit_code}): "
            "make sure that memory suffices and run again, which goes on from the last checkpoint"
        ) from ended
    if ended is not None:
        raise ended


def _meet(strategy: "DDPStrategy", file: str) -> None:
    """Has the processes of this machine find each other by a file and talk on loopback.

    By torch's own way the first one listens on every interface of the machine, and trusts whoever comes.
    """
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        os.environ.setdefault(name, "lo" if sys.platform == "linux" else "lo0")
    strategy._set_world_ranks()
    backend = strategy._get_process_group_backend()
    dist.init_process_group(backend, f"file://{file}", rank=strategy.global_rank, world_size=strategy.world_size)
    type(strategy)._setup_distributed(strategy)


def _run(fabric: "Fabric", work: Work, arguments: tuple[Any, ...], reports: Any, stop: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all: the first process decides
    threading.Thread(target=_die_with_parent, daemon=True).start()

    def progress(done: int, total: int, note: str = "") -> None:
        reports.put((done, total, note))
        if stop.is_set():
            raise Stopped

    try:
        work(fabric, *arguments, progress)
    except UserError as fault:
        reports.put(fault)
        raise


def _die_with_parent() -> None:
    """Kills this process when its parent has ended: it must not train beside the run that resumes the training.

    torch makes the kernel send a SIGINT then, which Python raises as an exception that other code may catch.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGKILL)
