"""A new export against what a student was trained on, as a Prefect task: files written, table and verdict shown."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, Failed, State

from data_contracts import catalog, ecg, pairs
from data_contracts.conventions import Stage
from data_contracts.monitoring import DRIFT, DriftVerdict
from echoingecg.common import StoreError, UserError, fingerprint, write_atomically
from echoingecg.evaluation.compare import DriftSide, drift_verdict, measure_drift
from echoingecg.evaluation.data.embed import embed_ecgs
from echoingecg.recipe import CatalogSettings, DriftSettings, EcgSettings, EvaluationSettings, Recipe
from tasks.base.workspace import Workspace, writing_to
from tasks.operations.predict import JudgedStudent
from tasks.pools.signals import PoolSignals
from tasks.store.artefact import Artefact
from tasks.store.artefacts import ArtefactStore


@dataclass(frozen=True)
class Found:
    """The verdict, the table behind it, and the two files."""

    drift: DriftVerdict
    table: pa.Table
    files: tuple[Path, Path]


def as_trained(recipe: Recipe, store: ArtefactStore, judged: JudgedStudent) -> Recipe:
    """The recipe, with the sections by which the student's own export was listed and its signals made."""
    listed, made = (_above(store, judged, stage).manifest.recipe for stage in ("catalog", "ecg"))
    return recipe.model_copy(
        update={"catalog": CatalogSettings.model_validate(listed), "ecg": EcgSettings.model_validate(made)}
    )


@task(task_run_name="drift", cache_policy=NO_CACHE, persist_result=False)
def drift(
    store: ArtefactStore, judged: JudgedStudent, listed: Artefact, signals: Artefact, rule: DriftSettings
) -> State:
    """See flows.drift. Nothing that Prefect is shown names a patient or a file."""
    try:
        found = compare_export(store, judged, listed, signals, rule)
    except UserError as fault:
        return Failed(message=str(fault), data=fault)
    says = f"{found.drift.verdict}: {found.drift.says}"
    create_table_artifact(found.table.to_pylist(), key="drift", description=says)
    return Completed(message=says, data=found)


def compare_export(
    store: ArtefactStore, judged: JudgedStudent, listed: Artefact, signals: Artefact, rule: DriftSettings
) -> Found:
    """Measures, judges, and writes both files to the workspace's `drift`.

    ECGs and measurements that the student's own export held already are left out of the new side.

    Args:
        store: holds the student's lineage.
        judged: the student.
        listed, signals: catalog and ecg of the new export.
        rule: of the recipe.

    Raises:
        StoreError: the student's catalog, ecg or pairs are gone, or of an older contract.
    """
    of: dict[Stage, Artefact] = {stage: _above(store, judged, stage) for stage in ("catalog", "ecg", "pairs")}
    known = ecg.RECORDS.read(of["ecg"].folder)
    paired = [table.read(of["pairs"].folder) for table in (pairs.ECG_ECHO, pairs.ECG_TEXT)]
    learned = {row["record_id"] for table in paired for row in table.to_pylist() if row["split"] == "train"}
    measured = catalog.MEASUREMENTS.read(of["catalog"].folder)
    training = {
        row["patient_id"]
        for row in pairs.PATIENTS.read(of["pairs"].folder).to_pylist()
        if row["split"] == "train"
    }  # fmt: skip
    trained = DriftSide(
        _where(known, "record_id", learned),
        catalog.SUBGROUPS.read(of["catalog"].folder),
        _where(measured, "patient_id", training),
    )
    everything = ecg.RECORDS.read(signals.folder)
    fresh = everything.filter(pc.invert(pc.is_in(everything["content_hash"], known["content_hash"].combine_chunks())))
    new = DriftSide(
        fresh,
        catalog.SUBGROUPS.read(listed.folder),
        _not_in(catalog.MEASUREMENTS.read(listed.folder), measured),
    )
    asked = EvaluationSettings.model_validate(judged.evaluation.manifest.recipe)
    means = tuple(
        _means(store.workspace, judged, artefact, side, rule.seed)
        for artefact, side in ((of["ecg"], trained), (signals, new))
    )
    table = measure_drift(trained, new, (means[0], means[1]), asked, rule)
    patients = [len(np.unique(side.patient)) for side in (trained, new)]
    verdict, says = drift_verdict(table, patients[1], rule)
    document = DriftVerdict(
        student=str(judged.student),
        evaluation=str(judged.evaluation),
        trained={stage: one.version for stage, one in of.items()},
        new={"catalog": listed.version, "ecg": signals.version},
        verdict=verdict,
        says=says,
        rule=rule.model_dump(mode="json"),
        counts={
            "trained_ecgs": trained.records.num_rows,
            "trained_patients": patients[0],
            "new_ecgs": fresh.num_rows,
            "new_patients": patients[1],
            "known_ecgs": everything.num_rows - fresh.num_rows,
        },
        measured=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return Found(document, table, _keep(store.workspace, document, table))


def _above(store: ArtefactStore, judged: JudgedStudent, stage: Stage) -> Artefact:
    found = store.in_lineage(judged.student, stage)
    if found is None:
        raise StoreError(f"{judged.student}: its {stage} artefact is not in this workspace: nothing to compare with")
    current = {"catalog": catalog.CONTRACT_VERSION, "ecg": ecg.CONTRACT_VERSION}.get(stage, 0)
    if found.manifest.contract_version < current:
        raise StoreError(f"{found} is of contract {found.manifest.contract_version}, not {current}: train again first")
    return found


def _means(workspace: Workspace, judged: JudgedStudent, artefact: Artefact, side: DriftSide, seed: int) -> np.ndarray:
    """Of the ECGs drawn, (k, D) float32."""
    student, signals = judged.reader().student, PoolSignals(workspace, artefact)
    row = {name: at for at, name in enumerate(signals.record_ids)}
    names = side.records["record_id"].take(pa.array(side.embedded_rows(seed))).to_pylist()
    rows = np.array([row[name] for name in names], np.int64)
    return embed_ecgs(student, signals, rows, student.dim).mean


def _where(table: pa.Table, column: str, values: set[str]) -> pa.Table:
    return table.filter(pc.is_in(table[column], pa.array(sorted(values), pa.string())))


def _not_in(measurements: pa.Table, known: pa.Table) -> pa.Table:
    """A measurement is known by patient, time, name and value; the time counts from the patient's first event."""
    keys = ["patient_id", "hours", "measurement", "value"]
    seen = set(zip(*(known[key].to_pylist() for key in keys), strict=True))
    rows = zip(*(measurements[key].to_pylist() for key in keys), strict=True)
    return measurements.filter(pa.array([row not in seen for row in rows], pa.bool_()))


def _keep(workspace: Workspace, document: DriftVerdict, table: pa.Table) -> tuple[Path, Path]:
    name = f"{document.student}-{fingerprint(document.model_dump(mode='json'))}"
    with writing_to(workspace.root):
        folder = workspace.drift / name
        folder.mkdir(parents=True, exist_ok=True)
        rows, says = DRIFT.write(table, folder), folder / "drift.json"
        write_atomically(says, document.model_dump_json(indent=2) + "\n")
    return says, rows
