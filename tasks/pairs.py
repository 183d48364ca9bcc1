"""Stage pairs: which ECG belongs to which study and which text, and on which side of the split each patient is."""

from pathlib import Path

from data_contracts import catalog, ecg, teacher
from data_contracts import pairs as contract
from echoingecg.common import Progress
from echoingecg.pairs import CODE_VERSION
from tasks import stage
from tasks.label_check import check_labels
from tasks.store import Built, Inputs, Job


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
    for table in contract.TABLES:
        table.write(tables[table.name], folder)
    counted = [table.name for table in contract.TABLES if table is not contract.FILTERS]
    return Built({name: tables[name].num_rows for name in counted})


WORK = stage.StageWork("pairs", contract.CONTRACT_VERSION, CODE_VERSION, _build, check=check_labels)
pairs = stage.as_task(WORK)
