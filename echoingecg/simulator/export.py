"""A whole simulated export, in the layout of MIMIC-IV-ECG 1.0 and MIMIC-IV-ECHO 0.1."""

import shutil
from pathlib import Path

from echoingecg.errors import ExportError
from echoingecg.progress import Progress, silent
from echoingecg.recipe.sections import SimulatorSettings
from echoingecg.simulator.identifiers import MAX_PATIENTS
from echoingecg.simulator.real import write_real_recordings
from echoingecg.simulator.tables import Tables
from echoingecg.simulator.visits import write_patient


def simulate(settings: SimulatorSettings, folder: Path, progress: Progress = silent) -> None:
    """Writes a paired hospital export of simulated patients, whole or not at all.

    The same settings give the same bytes, and a patient's files do not depend on how many patients there
    are. `simulated_truth.csv` holds the state of every heart; no stage of the pipeline reads it.

    Args:
        settings: how many patients, seed, clip length and size.
        folder: must not exist yet; `<folder>.partial` is used, and replaced, on the way.
        progress: told after every patient.

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
    collected = Tables()
    for index in range(settings.patients):
        write_patient(settings, index, partial, collected)
        progress(index + 1, settings.patients)
    if settings.real_recordings:
        write_real_recordings(partial, collected)
    collected.write(partial)
    partial.rename(folder)
