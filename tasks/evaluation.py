"""Stage evaluation: what the student knows about patients it has never seen; and its report, made or made again."""

import io
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from prefect.artifacts import create_markdown_artifact

from data_contracts import catalog, conventions, ecg, pairs, quarantine, student
from data_contracts import evaluation as contract
from data_contracts.manifest import checked_file
from data_contracts.teacher import TRAINED_ON
from echoingecg.common import Progress, StoreError, UserError, hash_files
from echoingecg.evaluation import CODE_VERSION
from echoingecg.prediction.locate import check_signals, signals_version
from echoingecg.recipe import EcgSettings, EvaluationSettings
from echoingecg.teacher.networks.kind import load_teacher, table_file
from tasks import ecg as ecg_stage
from tasks import stage
from tasks import student as student_stage
from tasks import teacher as teacher_stage
from tasks.base.workers import device
from tasks.base.workspace import Workspace, writing_to
from tasks.pairs import check_sides_of_student
from tasks.pools import PoolSignals
from tasks.store import Artefact, ArtefactStore, Built, Inputs, Job
from tasks.tracking import TrackedRun

if TYPE_CHECKING:
    from echoingecg.evaluation.data.inputs import DataOrigins, Provenance, StageFacts

_FIGURE_PIXELS = 560  # of the longer side
_FIGURE_COLOURS = 32  # enough for lines and text: 10 to 15 kB a figure
_PAGE_CHARACTERS = 400_000  # at most: Prefect keeps the page in its database


def _build(job: Job, inputs: Inputs, folder: Path, progress: Progress) -> Built:
    from echoingecg.evaluation.data.inputs import EvaluationInputs
    from echoingecg.evaluation.data.models import read_external
    from echoingecg.evaluation.evaluate import evaluate  # torch, matplotlib: not for a cached run
    from echoingecg.student.store import load

    settings, where, own = job.recipe.evaluation, device(job.recipe.execution), job.recipe.student.encoder
    signals = PoolSignals(job.workspace, inputs["ecg"])
    studies, mean, log_var = teacher_stage.read_targets(inputs["teacher"])
    patients, ecg_echo, labels = (
        table.read(inputs["pairs"].folder) for table in (pairs.PATIENTS, pairs.ECG_ECHO, pairs.LABELS)
    )
    is_table = table_file(job.recipe.teacher) is not None
    tower = None if is_table else load_teacher(job.recipe.teacher, where)
    evaluated = EvaluationInputs(
        student=load(inputs["student"].folder, where, allow_encoder=own),
        signals=signals,
        ecg=EcgSettings.of_artefact(inputs["ecg"].manifest.recipe),
        ecg_code_version=inputs["ecg"].manifest.code_version,
        record_ids=signals.record_ids,
        patients=patients,
        ecg_echo=ecg_echo,
        labels=labels,
        studies=studies,
        target_mean=mean,
        target_log_var=log_var,
        subgroups=_subgroups(job, inputs),
        records=ecg.RECORDS.read(inputs["ecg"].folder),
        provenance=provenance_of(job.workspace, inputs, job.recipe.part("evaluation")),
        teacher=tower if tower is not None and tower.has_text_tower else None,
        training_texts=_training_texts(inputs["pairs"]) if settings.centre else (),
        compared={
            name: load(_checked(job, name, inputs["pairs"]).folder, where, allow_encoder=own)
            for name in settings.compare
        },
        external={name: read_external(name, Path(path)) for name, path in settings.external.items()},
        content_hashes=signals.content_hashes,
        study_vectors=teacher_stage.vector_reader(job.workspace, inputs["teacher"]),
    )
    return Built(evaluate(evaluated, settings, folder, progress))


def _training_texts(paired: Artefact) -> list[str]:
    """Echo reports of the training split."""
    rows = pairs.ECG_TEXT.read(paired.folder).select(["method", "split", "text"]).to_pylist()
    return [row["text"] for row in rows if (row["method"], row["split"]) == ("ECHO", "train")]


def _subgroups(job: Job, inputs: Inputs) -> pa.Table:
    """What the export states about its ECGs; empty where the catalog is gone or of a contract without that table."""
    listed = job.store.find("catalog", job.store.lineage(inputs["student"])["catalog"])
    if listed is None or listed.manifest.contract_version < catalog.CONTRACT_VERSION:
        return catalog.SUBGROUPS.schema.empty_table()
    return catalog.SUBGROUPS.read(listed.folder)


def _compared(job: Job, name: str) -> Artefact:
    return student_stage.named_student(job, name, "evaluation.compare")


def _checked(job: Job, name: str, paired: Artefact) -> Artefact:
    student = _compared(job, name)
    check_sides_of_student(job.store, student, paired)
    check_signals(str(student), signals_version(student.manifest, job.workspace.root))
    return student


def _source(job: Job) -> dict[str, str]:
    """Contents of what the recipe names: names and paths may come to mean something else."""
    settings = job.recipe.evaluation
    contents = {f"compare {name}": _compared(job, name).manifest.content for name in settings.compare}
    for name, path in settings.external.items():
        try:
            contents[f"external {name}"] = hash_files([Path(path)])
        except OSError as fault:
            raise UserError(f"evaluation.external '{name}': {path}: {fault.strerror}") from fault
    return contents


def provenance_of(
    workspace: Workspace, inputs: Inputs, recipe: dict[str, Any], filters: pa.Table | None = None
) -> "Provenance":
    """What the report says about the artefacts behind an evaluation; equal when the report is made again.

    Args:
        workspace: holds the artefacts and the pools.
        inputs: of the evaluation, of this release's contracts; those of a cohort without echoes lack teacher and pairs.
        recipe: the section `evaluation`, as JSON values.
        filters: pairs.FILTERS; None for those of the artefact `pairs`.

    Raises:
        StoreError: an artefact's manifest cannot be read, or a pool is gone.
    """
    store = ArtefactStore(workspace)
    lineages = [store.lineage(artefact) for artefact in inputs.values()]  # an imported student has no lineage
    versions = {name: lineage[name] for name in conventions.STAGES for lineage in lineages if name in lineage}
    published = [store.find(name, version) for name, version in versions.items()]
    artefacts = [artefact for artefact in published if artefact is not None]
    sections = {str(artefact.stage): artefact.manifest.recipe for artefact in artefacts}
    return {
        "teacher": sections["teacher"]["model"] if "teacher" in sections else "not known",
        "data": _origins(store, inputs),
        "versions": {str(name): version for name, version in versions.items()},
        "stages": {artefact.stage: _facts(artefact) for artefact in artefacts},
        "quarantine": {
            artefact.stage: dict(sorted(stage.reasons_of(artefact).items()))
            for artefact in artefacts
            if quarantine.QUARANTINE.filename in artefact.manifest.files
        },
        "recipe": sections | {"evaluation": recipe},
        "history": student.HISTORY.read(inputs["student"].folder),
        "filters": pairs.FILTERS.read(inputs["pairs"].folder) if filters is None else filters,
        "ecg_findings": ecg_stage.finding_counts(inputs["ecg"]),
        "ecg_page": ecg_stage.sample_page(workspace, inputs["ecg"]),
        "echo_sheet": teacher_stage.contact_sheet(inputs["teacher"]) if "teacher" in inputs else None,
        "echo_map": teacher_stage.embedding_map(workspace, inputs["teacher"]) if "teacher" in inputs else None,
        "pages": partial(ecg_stage.pages_of, workspace, inputs["ecg"]),
        "notes": _notes(store, recipe),
    }


def _origins(store: ArtefactStore, inputs: Inputs) -> "DataOrigins":
    judged = store.lineage(inputs["ecg"]).get("catalog")  # the student's own may be another
    return {
        "trained_on": store.trained_on(inputs["student"]),
        "teacher_trained_on": store.stated("teacher", store.lineage(inputs["student"]).get("teacher"), TRAINED_ON),
        "judged_on": store.stated("catalog", judged, "origin"),
    }


def _notes(store: ArtefactStore, recipe: dict[str, Any]) -> list[str]:
    """Warns of models beside the student whose training patients may be among the test patients."""
    names = list(recipe["external"])
    for name in recipe["compare"]:
        try:
            imported = "pairs" not in store.lineage(store.get(name))
        except StoreError:  # gone since the evaluation
            continue
        if imported:
            names.append(name)
    if not names:
        return []
    return [
        f"It is not known which patients these models were trained on: {', '.join(names)}. If some of them are test "
        "patients here, as on public data, these models' numbers are too good."
    ]


def _facts(artefact: Artefact) -> "StageFacts":
    manifest = artefact.manifest
    return {
        "contract_version": manifest.contract_version,
        "code_version": manifest.code_version,
        "counts": manifest.counts,
    }


def rebuild_report(store: ArtefactStore, name: str, out: Path) -> int:
    """Writes report.html, model_card.md and figures into `out`; returns the number of figures.

    With the same packages, these are the bytes that were published.

    Args:
        store: holds the evaluation and everything that it was made of.
        name: of the evaluation, STAGE-VERSION or alias.
        out: made if it is absent; files of the same names are replaced.

    Raises:
        UserError: no such evaluation, one of another release, its inputs are gone, or `out` cannot be written.
    """
    from echoingecg.evaluation.report.render import write_report  # matplotlib, scikit-learn

    artefact = store.get(name)
    if artefact.stage != "evaluation":
        raise StoreError(f"{artefact} has no report: name an evaluation; 'artefacts list' shows all")
    if (version := artefact.manifest.contract_version) != contract.CONTRACT_VERSION:
        raise StoreError(
            f"{artefact} is of contract version {version}, and this release makes reports of version "
            f"{contract.CONTRACT_VERSION}: its own is {artefact.folder / contract.REPORT}; "
            "run the evaluation again for a new one"
        )
    if out.resolve().is_relative_to(store.workspace.artefacts.resolve()):
        raise StoreError(f"{out} is among the published artefacts, which never change: choose another --out")
    if out.exists() and not out.is_dir():
        raise StoreError(f"{out} is a file: --out takes a folder")
    settings = EvaluationSettings.model_validate(artefact.manifest.recipe)
    provenance = provenance_of(store.workspace, _inputs(store, artefact), artefact.manifest.recipe)
    with writing_to(out):
        out.mkdir(parents=True, exist_ok=True)
        return write_report(artefact.folder, settings, provenance, out)


def _inputs(store: ArtefactStore, artefact: Artefact) -> Inputs:
    inputs = {}
    for name, version in artefact.manifest.inputs.items():
        if (upstream := store.find(name, version)) is None:
            raise StoreError(f"{artefact} was made of {name}-{version}, which is gone: run the pipeline again")
        inputs[name] = upstream
    return inputs


def _show(job: Job, inputs: Inputs, artefact: Artefact) -> None:
    """Publishes small copies of the figures to Prefect, in the order of their names, as far as they fit."""
    lines: list[str] = []
    for path in sorted(checked_file(artefact.folder, contract.FIGURES).glob("*.png")):
        line = stage.png_in_markdown(path.stem, _small(path.read_bytes()))
        if sum(map(len, lines)) + len(line) > _PAGE_CHARACTERS:
            lines.append("The other figures are in the report.")
            break
        lines.append(line)
    if lines:
        create_markdown_artifact("\n\n".join(lines), key="evaluation-figures", description=f"{artefact}: figures")


def _small(png: bytes) -> bytes:
    from PIL import Image  # not for a cached run

    small = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        flat = image.convert("RGB")
    flat.thumbnail((_FIGURE_PIXELS, _FIGURE_PIXELS))
    flat.quantize(_FIGURE_COLOURS).save(small, "PNG", optimize=True)
    return small.getvalue()


def _track(job: Job, inputs: Inputs, artefact: Artefact) -> None:
    with TrackedRun(job, inputs, inputs["student"].version) as tracked:
        tracked.add_evaluation(artefact)


WORK = stage.StageWork(
    "evaluation", contract.CONTRACT_VERSION, CODE_VERSION, _build, _source, _show, contract.REPORT, track=_track
)
evaluation = stage.as_task(WORK)
