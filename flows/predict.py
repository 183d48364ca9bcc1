"""Scoring of many ECGs with a published student, for the Prefect UI and schedules."""

from pathlib import Path

from prefect import flow
from prefect.states import State

from echoingecg.recipe import ExecutionSettings
from flows.faults import last_word
from tasks.base.workspace import Workspace
from tasks.operations.students import predict as task
from tasks.store import ArtefactStore


@flow(name="predict", flow_run_name="{student} on ECG files", persist_result=False)
def predict(
    files: list[str],
    output: str,
    student: str = "production",
    protocol: str = "zero_shot",
    workspace: str = "workspace",
    workers: int = 1,
    dask: str = "",
) -> State:
    """Read echo findings off ECG files, with uncertainty and refer-to-echo. Not for clinical use.

    Args:
        files: ECG files of any accepted format, WFDB records, or folders of them.
        output: Parquet file to write: a row for each ECG and endpoint, one for a refused file.
        student: student or evaluation, by STAGE-VERSION or alias.
        protocol: by which the probabilities are come by, zero_shot, zero_shot_teacher or linear_probe.
        workspace: folder that holds pools and artefacts.
        workers: processes that read; 1 is two threads of this one.
        dask: address of an existing Dask scheduler instead.
    """
    execution = ExecutionSettings(workers=workers, dask=dask)
    place, target = Path(workspace).expanduser().resolve(), Path(output).expanduser().resolve()
    return last_word(task.submit(ArtefactStore(Workspace(place)), student, files, target, protocol, execution))
