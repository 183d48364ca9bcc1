"""A new export compared with what a student was trained on: files are written, Prefect shows table and verdict."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from prefect.artifacts import create_table_artifact

from data_contracts import catalog, conventions, ecg, monitoring, pairs
from echoingecg.catalog.build import with_coarse_hours
from echoingecg.common import StoreError, fingerprint, write_atomically
from echoingecg.evaluation.compare import DriftSide, drift_verdict, measure_drift
from echoingecg.evaluation.data.embed import embed_with_features
from echoingecg.recipe import CatalogSettings, DriftSettings, EcgSettings, EvaluationSettings, Recipe
from tasks.base import progress
from tasks.base.workspace import Workspace, writing_to
from tasks.ecg import read_records
from tasks.operations.students import StudentWithCard
from tasks.pools import PoolSignals
from tasks.store import Artefact, ArtefactStore

_DAY_HOURS = 24.0


@dataclass(frozen=True)
class DriftResult:
    """The verdict, the table behind it, and the two files that hold them."""

    drift: monitoring.DriftVerdict
    table: pa.Table
    files: tuple[Path, Path]


def recipe_as_trained(recipe: Recipe, store: ArtefactStore, model: StudentWithCard) -> Recipe:
    """The recipe with the sections `catalog` and `ecg` of the student's own export."""
    listed, made = (_upstream(store, model, stage).manifest.recipe for stage in ("catalog", "ecg"))
    return recipe.model_copy(
        update={"catalog": CatalogSettings.model_validate(listed), "ecg": EcgSettings.of_artefact(made)}
    )


def _drift(
    store: ArtefactStore, model: StudentWithCard, listed: Artefact, signals: Artefact, rule: DriftSettings
) -> progress.Outcome:
    """Compares, and shows the table in Prefect, which names no patient and no file."""
    result = compare_export(store, model, listed, signals, rule)
    message = f"{result.drift.verdict}: {result.drift.says}"
    create_table_artifact(result.table.to_pylist(), key="drift", description=message)
    return progress.Outcome(message, result)


drift = progress.as_task("drift", _drift)


def compare_export(
    store: ArtefactStore, model: StudentWithCard, listed: Artefact, signals: Artefact, rule: DriftSettings
) -> DriftResult:
    """Measures the drift, decides by the rule, and writes both files to the workspace's `drift`.

    ECGs and measurements that were in the student's own export are left out of the new side.

    Args:
        store: holds the student's lineage.
        model: the student.
        listed: catalog of the new export.
        signals: ecg of the new export.
        rule: of the recipe.

    Raises:
        StoreError: the student's catalog, ecg or pairs are gone, or of an older contract.
    """
    upstream: dict[conventions.Stage, Artefact] = {
        stage: _upstream(store, model, stage) for stage in ("catalog", "ecg", "pairs")
    }
    known = read_records(upstream["ecg"])
    paired = [table.read(upstream["pairs"].folder) for table in (pairs.ECG_ECHO, pairs.ECG_TEXT)]
    learned = {row["record_id"] for table in paired for row in table.to_pylist() if row["split"] == "train"}
    measured, measured_now = (
        with_coarse_hours(catalog.MEASUREMENTS.read(made.folder), _DAY_HOURS) for made in (upstream["catalog"], listed)
    )  # one of them may be of an earlier release, with exact hours
    split = pairs.PATIENTS.read(upstream["pairs"].folder).to_pylist()
    trained = DriftSide(
        _where(known, "record_id", learned),
        catalog.SUBGROUPS.read(upstream["catalog"].folder),
        _where(measured, "patient_id", {row["patient_id"] for row in split if row["split"] == "train"}),
    )
    everything = read_records(signals)
    fresh = everything.filter(pc.invert(pc.is_in(everything["content_hash"], known["content_hash"].combine_chunks())))
    new = DriftSide(
        fresh,
        catalog.SUBGROUPS.read(listed.folder),
        _not_in(measured_now, measured),
    )
    settings = EvaluationSettings.model_validate(model.evaluation.manifest.recipe)
    embedded = (
        _embedded(store.workspace, model, upstream["ecg"], trained, rule.seed),
        _embedded(store.workspace, model, signals, new, rule.seed),
    )
    means, features = zip(*embedded, strict=True)
    measure = model.reader().card.typicality
    typical = None if measure is None else (measure.is_typical(features[0]), measure.is_typical(features[1]))
    table = measure_drift(trained, new, (means[0], means[1]), settings, rule, typical)
    patients = [len(np.unique(side.patient)) for side in (trained, new)]
    verdict, reason = drift_verdict(table, patients[1], rule)
    document = monitoring.DriftVerdict(
        student=str(model.student),
        evaluation=str(model.evaluation),
        trained={stage: artefact.version for stage, artefact in upstream.items()},
        new={"catalog": listed.version, "ecg": signals.version},
        verdict=verdict,
        says=reason,
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
    return DriftResult(document, table, _write(store.workspace, document, table))


def _upstream(store: ArtefactStore, model: StudentWithCard, stage: conventions.Stage) -> Artefact:
    artefact = store.in_lineage(model.student, stage)
    if artefact is None:
        raise StoreError(f"{model.student}: its {stage} artefact is not in this workspace: nothing to compare with")
    version = artefact.manifest.contract_version
    current = {"catalog": catalog.CONTRACT_VERSION, "ecg": ecg.POOL_VERSION}.get(stage, 0)
    if version < current:
        raise StoreError(f"{artefact} is of contract {version}, not {current}: train again first")
    return artefact


def _embedded(
    workspace: Workspace, model: StudentWithCard, artefact: Artefact, side: DriftSide, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean embeddings, (k, D) float32, and features of the trunk, (k, F), of the ECGs drawn from one side."""
    student, signals = model.reader().student, PoolSignals(workspace, artefact)
    row_of = {name: row for row, name in enumerate(signals.record_ids)}
    names = side.records["record_id"].take(pa.array(side.embedded_rows(seed))).to_pylist()
    rows = np.array([row_of[name] for name in names], np.int64)
    gaussians, features = embed_with_features(student, signals, rows, student.dim)
    return gaussians.mean, features


def _where(table: pa.Table, column: str, values: set[str]) -> pa.Table:
    return table.filter(pc.is_in(table[column], pa.array(sorted(values), pa.string())))


def _not_in(measurements: pa.Table, known: pa.Table) -> pa.Table:
    """Measurements that differ from the known ones in patient, time (since the first event), name or value."""
    keys = ["patient_id", "hours", "measurement", "value"]
    seen = set(zip(*(known[key].to_pylist() for key in keys), strict=True))
    rows = zip(*(measurements[key].to_pylist() for key in keys), strict=True)
    return measurements.filter(pa.array([row not in seen for row in rows], pa.bool_()))


def _write(workspace: Workspace, document: monitoring.DriftVerdict, table: pa.Table) -> tuple[Path, Path]:
    name = f"{document.student}-{fingerprint(document.model_dump(mode='json'))}"
    with writing_to(workspace.root):
        folder = workspace.drift / name
        folder.mkdir(parents=True, exist_ok=True)
        rows, verdict = monitoring.DRIFT.write(table, folder), folder / "drift.json"
        write_atomically(verdict, document.model_dump_json(indent=2) + "\n")
    return verdict, rows
