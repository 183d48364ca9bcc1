"""Stops a run whose endpoints have no label, after the catalog or the pairs, before hours of training are spent.

After the catalog it also stops a run whose export lists nothing to learn from, as when a list of files was not copied,
or does not state the published split.

What is checked is no part of any version: it reads the section `evaluation`, on which catalog and pairs do not depend.
"""

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_contracts import catalog, conventions, pairs
from data_contracts.manifest import checked_file
from echoingecg.common import ExportError, UserError
from echoingecg.evaluation.protocols.label_check import Unlabelled, describe, unlabelled
from echoingecg.evaluation.protocols.labels import sex_of_patients
from tasks.base.progress import logger
from tasks.store import Artefact, Inputs, Job

_SIDES: tuple[tuple[conventions.Split, str], ...] = (("train", "training"), ("test", "test"))
_STAGES_WITH_ENDPOINTS: frozenset[conventions.Stage] = frozenset({"student", "evaluation"})
_ROW = ("patient_id", "measurement", "value", "upper", "words", "unit")


def check_measurements(job: Job, inputs: Inputs, listed: Artefact) -> None:
    """Stops a run if an endpoint has no row in the whole export that could become a label, or a side of the split none.

    Args:
        job: whether anything is trained or evaluated, and the endpoints.
        inputs: not read.
        listed: the catalog.

    Raises:
        UserError: names the list that is missing, or the endpoint, its measurement, and what the export has instead.
    """
    _check_lists(job, listed)
    settings, stated = job.recipe.evaluation, job.recipe.pairs.split_by
    if stated is not None and "pairs" in job.needed:
        from echoingecg.pairs.split import stated_sides  # pandas: not for a cached run

        kept = [("measurement", "==", stated.measurement)]
        columns = ["patient_id", "study_id", "record_id", "measurement", "value", "words"]
        file = checked_file(listed.folder, catalog.MEASUREMENTS.filename)
        stated_sides(pq.read_table(file, columns=columns, filters=kept), stated)
    if not job.needed & _STAGES_WITH_ENDPOINTS or job.recipe.execution.allow_unlabelled:
        return
    asked = {name for endpoint in (*settings.endpoints, *settings.regressions) for name in endpoint.measurements}
    if asked:
        file = checked_file(listed.folder, catalog.MEASUREMENTS.filename)
        rows = pq.read_table(file, columns=list(_ROW), filters=[("measurement", "in", sorted(asked))])
        _stop_or_warn(job, listed, listed, list(unlabelled(settings, rows, "", None)))


def _check_lists(job: Job, listed: Artefact) -> None:
    """Raises ExportError if a student is to be trained and the catalog lists no ECG, or no echo that it is to learn."""
    if "student" not in job.needed:
        return
    counts, settings = listed.manifest.counts, job.recipe.student
    if not counts["ecgs"]:
        raise ExportError(f"{listed}: the export lists no ECG, from which a student learns{_missing_lists(job)}")
    if not counts["echoes"] and settings.echo_weight:
        remedy = (
            "; student.echo_weight: 0 trains on reports alone" if counts["reports"] and settings.text_weight else ""
        )
        raise ExportError(
            f"{listed}: the export lists no echo clip, from which a student learns{_missing_lists(job)}{remedy}"
        )


def _missing_lists(job: Job) -> str:
    """Names the lists of files that the exports' layouts know and that are not there: `; not there: ecgs.csv`."""
    from echoingecg.catalog.layouts.detect import find_layout  # pandas: not for a cached run

    settings, missing = job.recipe.catalog, list[str]()
    for export in job.exports:
        layout, tables = find_layout(export.folder, settings.layout, settings.allow_links)
        missing += [f"{layout.name}'s {name}" for name in layout.lists if name not in tables]
    return f"; not there: {', '.join(dict.fromkeys(missing))}" if missing else ""


def check_labels(job: Job, inputs: Inputs, paired: Artefact) -> None:
    """Stops a run if an endpoint has no label on the training or on the test side; without training it only warns.

    A side without any patient is left to the evaluation.

    Args:
        job: whether anything is trained or evaluated, and the endpoints.
        inputs: of stage pairs.
        paired: its artefact.

    Raises:
        UserError: as `check_measurements`.
    """
    settings = job.recipe.evaluation
    if not (settings.endpoints or settings.regressions) or job.recipe.execution.allow_unlabelled:
        return
    labels, sex = pairs.LABELS.read(paired.folder), sex_of_patients_in(inputs["catalog"])
    sides = set(pairs.PATIENTS.read(paired.folder)["split"].to_pylist())
    faults = [
        fault
        for split, side in _SIDES
        if split in sides
        for fault in unlabelled(settings, labels.filter(pc.equal(labels["split"], split)), side, sex)
    ]
    _stop_or_warn(job, paired, inputs["catalog"], faults)


def _stop_or_warn(job: Job, artefact: Artefact, listed: Artefact, faults: list[Unlabelled]) -> None:
    if not faults:
        return
    file = checked_file(listed.folder, catalog.MEASUREMENTS.filename)
    held = pq.read_table(file, columns=["measurement", "unit"])
    counts = held.group_by(["measurement", "unit"]).aggregate([([], "count_all")])
    rows = zip(*(counts[name].to_pylist() for name in ("measurement", "unit", "count_all")), strict=True)
    line = f"{artefact}: {describe(faults, {(name, unit): number for name, unit, number in rows})}"
    if not job.needed & _STAGES_WITH_ENDPOINTS:
        logger().warning(line)
        return
    raise UserError(
        f"{line}; mend the recipe's section evaluation, or set execution.allow_unlabelled: true to go on without it"
    )


def sex_of_patients_in(listed: Artefact) -> dict[str, str]:
    """F or M of each patient whose ECGs state one of them."""
    ecgs = catalog.ECGS.read(listed.folder).select(["record_id", "patient_id"])
    stated = (
        catalog.SUBGROUPS.read(listed.folder).select(["record_id", "sex"]).join(ecgs, "record_id", join_type="inner")
    )
    columns = (pc.fill_null(stated[name], "").to_pylist() for name in ("patient_id", "sex"))
    patient, sex = (np.array(column, dtype=np.str_) for column in columns)
    return sex_of_patients(patient, sex) if len(patient) else {}
