"""Stage pairs: which ECG goes with which study and which text, and on which side of the split."""

from pathlib import Path

from data_contracts import catalog, ecg, teacher
from data_contracts import pairs as contract
from data_contracts.conventions import Stage
from echoingecg.common import Progress
from echoingecg.pairs import CODE_VERSION
from tasks.stage import StageWork, as_task
from tasks.store.artefact import Built, Inputs
from tasks.store.job import Job

STAGE: Stage = "pairs"


def _build(job: Job, inputs: Inputs, folder: Path, progress: Progress) -> Built:
    from echoingecg.pairs.match import build  # pandas: not for a cached run

    listed = inputs["catalog"].folder
    tables = build(
        ecgs=catalog.ECGS.read(listed),
        echoes=catalog.ECHOES.read(listed),
        reports=catalog.REPORTS.read(listed),
        measurements=catalog.MEASUREMENTS.read(listed),
        records=ecg.RECORDS.read(inputs["ecg"].folder),
        studies=teacher.STUDIES.read(inputs["teacher"].folder),
        settings=job.recipe.pairs,
    )
    contract.check_no_leakage(tables["patients"], tables[contract.ECG_ECHO.name], tables[contract.ECG_TEXT.name])
    for one in contract.TABLES:
        one.write(tables[one.name], folder)
    return Built({one.name: tables[one.name].num_rows for one in contract.TABLES if one is not contract.FILTERS})


WORK = StageWork(STAGE, contract.CONTRACT_VERSION, CODE_VERSION, _build)
pairs = as_task(WORK)
