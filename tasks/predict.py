"""Scoring of many ECGs as a Prefect task: readings to a Parquet file, counts to Prefect."""

from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, Failed, State

from data_contracts.prediction import NOTICE, READINGS
from data_contracts.quarantine import REASONS
from echoingecg.common.errors import UserError
from echoingecg.prediction.files import Tally, write_parquet
from echoingecg.reading.listing import list_ecgs
from echoingecg.recipe import ExecutionSettings
from tasks.base.progress import Reporter
from tasks.operations.predict import find_student, read_files
from tasks.store.artefacts import ArtefactStore
from tasks.workspace import writing_to


@task(task_run_name="predict", cache_policy=NO_CACHE, persist_result=False)
def predict(
    store: ArtefactStore, student: str, files: list[str], output: Path, protocol: str, execution: ExecutionSettings
) -> State:
    """See flows.predict. The state's message counts; neither it nor the artifact names a file."""
    tally = Tally()
    try:
        judged, found = find_student(store, student), list_ecgs(files)
        tables = read_files(judged, found, "predict", protocol, execution, Reporter("predict"))
        with writing_to(output.parent):
            for table in write_parquet(READINGS, tables, output):
                tally.add(table)
    except UserError as fault:
        return Failed(message=str(fault), data=fault)
    create_table_artifact(_rows(tally), key="readings", description=f"{judged}. {NOTICE}")
    refused = tally.refusals.total()
    return Completed(message=f"{len(found) - refused} ECGs read, {refused} files refused", data=output)


def _rows(tally: Tally) -> list[dict[str, Any]]:
    answers = [
        {"what": endpoint, "came of it": f"{'positive' if decision else 'negative'}, {advice}", "count": count}
        for (endpoint, decision, advice), count in sorted(tally.answers.items())
    ]
    refusals = [
        {"what": "refused", "came of it": f"{reason}: {REASONS[reason]}", "count": count}
        for reason, count in tally.refusals.most_common()
    ]
    return answers + refusals
