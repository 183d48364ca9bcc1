"""A stress test of a published student: the test ECGs of its evaluation, disturbed, and who is still answered."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_contracts import evaluation, evaluation_details
from echoingecg.common import Progress, StoreError, no_progress
from tasks.operations.students import StudentWithCard
from tasks.pools import PoolSignals
from tasks.store import ArtefactStore


def stress(
    store: ArtefactStore, model: StudentWithCard, protocol: str = "", progress: Progress = no_progress
) -> pa.Table:
    """Disturbs every labelled test ECG of the student's evaluation and answers it.

    Args:
        store: holds the student's signals.
        model: the student with its card.
        protocol: of the card; empty for the choice of the evaluation's recipe.
        progress: told the levels done.

    Returns:
        data_contracts.evaluation_details.STRESS, all endpoints.

    Raises:
        StoreError: the student's signals are gone, or there is no labelled test ECG.
        UserError: the card has no such protocol.
    """
    from echoingecg.evaluation.protocols.stress import stress_rows

    reader = model.reader()
    protocol = protocol or reader.card.card.answered_by
    made = store.in_lineage(model.student, "ecg")
    if made is None:
        raise StoreError(f"{model.student}: its ecg artefact is not in {store.workspace.root}: nothing to disturb")
    signals = PoolSignals(store.workspace, made)
    predictions = evaluation.PREDICTIONS.read(model.evaluation.folder)
    tested = pc.and_(pc.equal(predictions["split"], "test"), pc.equal(predictions["protocol"], protocol))
    rows = predictions.filter(tested).to_pylist()
    names = sorted({row["record_id"] for row in rows})
    if not names:
        raise StoreError(f"{model.evaluation} has no labelled test ECG under protocol '{protocol}'")
    place = {name: number for number, name in enumerate(names)}
    labels = {row["endpoint"]: np.full(len(names), np.nan) for row in rows}
    for row in rows:
        labels[row["endpoint"]][place[row["record_id"]]] = row["label"]
    row_of = {name: row for row, name in enumerate(signals.record_ids)}
    chosen = np.array([row_of[name] for name in names], np.int64)
    made_rows = stress_rows(reader.student, reader.card, protocol, signals, chosen, labels, progress)
    return evaluation_details.STRESS.build(list(made_rows))
