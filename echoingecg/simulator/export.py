"""A whole simulated export, in the layout of MIMIC-IV-ECG 1.0 and MIMIC-IV-ECHO 0.1."""

import shutil
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import cv2

from echoingecg.common.errors import ExportError
from echoingecg.progress import Progress, silent
from echoingecg.recipe.stages import SimulatorSettings
from echoingecg.simulator.identifiers import MAX_PATIENTS
from echoingecg.simulator.population.tables import Rows, open_tables
from echoingecg.simulator.real import write_real_recordings
from echoingecg.simulator.visits import write_patient

_FEW: Final = 16  # patients that are written sooner than workers start
_AHEAD: Final = 4  # patients a worker that may wait for their turn in the tables


def simulate(settings: SimulatorSettings, folder: Path, progress: Progress = silent, workers: int = 1) -> None:
    """Writes a paired hospital export of simulated patients, whole or not at all.

    The same settings give the same bytes, and a patient's files do not depend on how many patients there
    are. `simulated_truth.csv` holds the state of every heart; no stage of the pipeline reads it. Rows are
    written as patients come, so memory does not grow with them.

    Args:
        settings: how many patients, seed, clip length and size.
        folder: must not exist yet; `<folder>.partial` is used, and replaced, on the way.
        progress: told after every patient.
        workers: processes to write patients in; a few patients are written in this one. No byte depends on it.

    Raises:
        ExportError: the folder exists, or more patients are asked for than there are identifiers.
        OSError: the disk cannot take the files.
    """
    if folder.exists():
        raise ExportError(f"{folder} exists: remove it, or choose a new folder for the simulated export")
    if settings.patients > MAX_PATIENTS:
        raise ExportError(f"{settings.patients} patients: the simulator's identifiers reach {MAX_PATIENTS}")
    partial = folder.with_name(folder.name + ".partial")
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    with open_tables(partial) as tables:
        for done, rows in enumerate(_patients(settings, partial, workers), start=1):
            tables.write(rows)
            progress(done, settings.patients)
        if settings.real_recordings:
            tables.write(write_real_recordings(partial))
    partial.rename(folder)


def _patients(settings: SimulatorSettings, folder: Path, workers: int) -> Iterator[Rows]:
    """Rows of every patient, in order."""
    if workers < 2 or settings.patients < _FEW:
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)  # frames are too small to be worth sharing out
        try:
            for index in range(settings.patients):
                yield write_patient(settings, index, folder)
        finally:
            cv2.setNumThreads(threads)
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=cv2.setNumThreads, initargs=(1,))
    try:
        waiting: deque[Future[Rows]] = deque()
        for index in range(settings.patients):
            if len(waiting) == workers * _AHEAD:
                yield waiting.popleft().result()
            waiting.append(pool.submit(write_patient, settings, index, folder))
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
