"""Stage pairs: which ECG belongs to which study and which text, and on which side of the split each patient is."""

from collections.abc import Mapping
from pathlib import Path

from data_contracts import catalog, ecg, teacher
from data_contracts import pairs as contract
from echoingecg.common import ContractError, Progress
from echoingecg.pairs import CODE_VERSION
from tasks import stage
from tasks.label_check import check_labels
from tasks.store import Artefact, ArtefactStore, Built, Inputs, Job


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


def sides_of(paired: Artefact) -> dict[str, str]:
    """The side of each patient in an artefact of this stage."""
    table = contract.PATIENTS.read(paired.folder)
    return dict(zip(table["patient_id"].to_pylist(), table["split"].to_pylist(), strict=True))


def check_same_sides(before: Mapping[str, str], now: Mapping[str, str], whose: str) -> None:
    """Checks that no patient has changed sides since a student was made, as where an export states another split.

    Args:
        before: `sides_of` the pairs that the student was made of.
        now: `sides_of` the pairs that it is judged or trained on.
        whose: pairs, for the error.

    Raises:
        ContractError: a patient is on another side.
    """
    known = before.keys() & now.keys()
    if moved := sum(before[patient] != now[patient] for patient in known):
        raise ContractError(
            f"{moved} of {len(known)} patients changed split: use {whose} pairs.split, key and split_by, and an export "
            f"that states the same split"
        )


def check_sides_of_student(store: ArtefactStore, student: Artefact, paired: Artefact) -> None:
    """Checks that no patient of a student is on another side here; a student without pairs is not checked.

    Raises:
        ContractError: as `check_same_sides`.
    """
    lineage = store.lineage(student)
    theirs = store.find("pairs", lineage["pairs"]) if "pairs" in lineage else None
    if theirs is not None:
        check_same_sides(sides_of(theirs), sides_of(paired), f"{student}'s")


WORK = stage.StageWork("pairs", contract.CONTRACT_VERSION, CODE_VERSION, _build, check=check_labels)
pairs = stage.as_task(WORK)
