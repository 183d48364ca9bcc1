"""Stage pairs: which ECG belongs to which study and which text, and on which side of the split each patient is.

Labels are known from here on, and nothing is trained yet: so this is where a run says whether the teacher reads these
echo studies at all.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from prefect.artifacts import create_table_artifact

from data_contracts import catalog, ecg, teacher
from data_contracts import pairs as contract
from echoingecg.common import ContractError, Progress
from echoingecg.pairs import CODE_VERSION
from echoingecg.teacher.networks.kind import load_teacher, table_file
from tasks import stage
from tasks import teacher as teacher_stage
from tasks.base.progress import in_run, logger
from tasks.base.workers import device
from tasks.catalog import read_exact
from tasks.label_check import check_labels, sex_of_patients_in
from tasks.store import Artefact, ArtefactStore, Built, Inputs, Job


def _build(job: Job, inputs: Inputs, folder: Path, progress: Progress) -> Built:
    from echoingecg.pairs.match import build  # pandas: not for a cached run

    listed = inputs["catalog"]
    tables = build(
        ecgs=read_exact(job, listed, catalog.ECGS),
        echoes=read_exact(job, listed, catalog.ECHOES),
        reports=catalog.REPORTS.read(listed.folder),
        measurements=read_exact(job, listed, catalog.MEASUREMENTS),
        records=ecg.RECORDS.read(inputs["ecg"].folder),
        studies=teacher.STUDIES.read(inputs["teacher"].folder),
        settings=job.recipe.pairs,
        step_hours=listed.manifest.recipe.get("interval_hours", 0),
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


def teacher_check(job: Job, inputs: Inputs, paired: Artefact) -> list[dict[str, Any]]:
    """Compares what the teacher reads in the echo studies with their measurements: rows of TEACHER_CHECK.

    Args:
        job: names the teacher, and the questions and numbers of the section `evaluation`.
        inputs: of the stage.
        paired: its artefact.
    """
    from echoingecg.evaluation.protocols.teacher_check import StudyVectors, check_teacher

    settings, embedded = job.recipe.evaluation, inputs["teacher"]
    if not settings.endpoints and not settings.regressions:
        return []
    is_table = table_file(job.recipe.teacher) is not None
    network = None if is_table else load_teacher(job.recipe.teacher, device(job.recipe.execution))
    studies = teacher.STUDIES.read(embedded.folder)["study_id"].to_pylist()
    return check_teacher(
        StudyVectors(np.array(studies, dtype=np.str_), teacher_stage.vector_reader(job.workspace, embedded)),
        contract.LABELS.read(paired.folder),
        settings,
        network.embed_text if network is not None and network.has_text_tower else None,
        sex_of_patients_in(inputs["catalog"]),
    )


def _show(job: Job, inputs: Inputs, artefact: Artefact) -> None:
    """Warns of findings that the teacher does not read here, and publishes the comparison to Prefect."""
    from echoingecg.evaluation.protocols.teacher_check import warnings_of

    rows = teacher_check(job, inputs, artefact)
    for line in warnings_of(rows):
        logger().warning(line)
    if rows and in_run():
        description = f"{artefact}: the teacher's own reading of the echo studies, against their measurements"
        create_table_artifact(rows, key="teacher-check", description=description)


WORK = stage.StageWork("pairs", contract.CONTRACT_VERSION, CODE_VERSION, _build, show=_show, check=check_labels)
pairs = stage.as_task(WORK)
