"""Training of the student: checks what it is given, starts the processes, and returns the trained student."""

from pathlib import Path

from lightning_fabric import Fabric

from echoingecg.progress import Progress, silent
from echoingecg.recipe import ExecutionSettings, StudentSettings
from echoingecg.reproducible import reproducible
from echoingecg.student.checks import usable_kinds
from echoingecg.student.data.pairs import TrainingData
from echoingecg.student.distributed import make_fabric, started_outside
from echoingecg.student.inference import LoadedStudent
from echoingecg.student.loop import Trained, Training
from echoingecg.student.processes import run_processes
from echoingecg.student.scaler import Scaler, fit_scaler
from echoingecg.student.warm_start import check_architecture

__all__ = ["Trained", "train"]


def train(
    data: TrainingData,
    settings: StudentSettings,
    execution: ExecutionSettings,
    scratch: Path,
    progress: Progress = silent,
    earlier: LoadedStudent | None = None,
) -> Trained:
    """Trains a student, or goes on with an interrupted training of the same data and settings.

    The same call gives the same weights bit for bit on one kind of machine, number of devices and
    thread count, however often it was killed in between.

    With several devices a batch is shared out over as many processes, started here or by torchrun. Each
    of them must be able to read the scratch folder; the first writes it.

    Args:
        data: signals, targets, pairs; picklable if execution.devices is above 1.
        settings: the recipe's student section.
        execution: device, devices and threads.
        scratch: folder for the checkpoint; made if absent, the caller removes it.
        progress: told the optimiser steps done and of how many.
        earlier: the student that settings.warm_start names, on the CPU.

    Raises:
        TrainingError: no pairs to learn from, settings that do not fit the data or the earlier student,
            a loss that is not finite or beyond its limit, a text model that is not there.
    """
    usable_kinds(data, settings)
    if earlier is not None:
        check_architecture(earlier, settings.model)
    scaler = earlier.scaler if earlier is not None else fit_scaler(data.signals, data.train.ecgs)
    fabric = make_fabric(settings, execution)
    if fabric.world_size > 1 and not started_outside():
        run_processes(fabric, _train, (data, settings, execution, scratch, earlier, scaler), progress)
        fabric = make_fabric(settings, execution, alone=True)  # reads what the processes leave: the last checkpoint
    fabric.launch()
    return _train(fabric, data, settings, execution, scratch, earlier, scaler, progress)


def _train(
    fabric: Fabric,
    data: TrainingData,
    settings: StudentSettings,
    execution: ExecutionSettings,
    scratch: Path,
    earlier: LoadedStudent | None,
    scaler: Scaler,
    progress: Progress,
) -> Trained:
    with reproducible(settings.seed, execution):
        return Training(fabric, data, settings, scratch, earlier, scaler, progress).run()
