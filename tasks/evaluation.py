"""Stage evaluation: what the student knows, on patients it has never seen; ends in report.html."""

from pathlib import Path

import pyarrow as pa

from data_contracts import catalog, ecg, pairs
from data_contracts import evaluation as contract
from data_contracts.conventions import Stage
from echoingecg.common import Progress, UserError, hash_files
from echoingecg.evaluation import CODE_VERSION
from echoingecg.recipe import EcgSettings
from tasks import stage, student
from tasks.pages.evaluation_page import provenance_of, show
from tasks.pools.signals import PoolSignals
from tasks.pools.targets import read_targets
from tasks.store.artefact import Artefact, Built, Inputs
from tasks.store.job import Job

STAGE: Stage = "evaluation"


def _build(job: Job, inputs: Inputs, folder: Path, progress: Progress) -> Built:
    from echoingecg.evaluation.data.inputs import EvaluationInputs
    from echoingecg.evaluation.data.models import read_external
    from echoingecg.evaluation.evaluate import evaluate  # torch, matplotlib: not for a cached run
    from echoingecg.student.store import load
    from echoingecg.teacher.model import load_teacher
    from tasks.base.workers import device

    settings, where = job.recipe.evaluation, device(job.recipe.execution)
    signals = PoolSignals(job.workspace, inputs["ecg"])
    studies, mean, log_var = read_targets(inputs["teacher"])
    patients, ecg_echo, labels = (
        table.read(inputs["pairs"].folder) for table in (pairs.PATIENTS, pairs.ECG_ECHO, pairs.LABELS)
    )
    tower = load_teacher(job.recipe.teacher, where)
    judged = EvaluationInputs(
        student=load(inputs["student"].folder, where),
        signals=signals,
        ecg=EcgSettings.model_validate(inputs["ecg"].manifest.recipe),
        record_ids=signals.record_ids,
        patients=patients,
        ecg_echo=ecg_echo,
        labels=labels,
        studies=studies,
        target_mean=mean,
        target_log_var=log_var,
        subgroups=_subgroups(job, inputs),
        records=ecg.RECORDS.read(inputs["ecg"].folder),
        provenance=provenance_of(job.workspace, inputs, job.recipe.part(STAGE)),
        teacher=tower if tower.has_text_tower else None,
        training_texts=_training_texts(inputs["pairs"]) if settings.centre else (),
        compared={name: load(_compared(job, name).folder, where) for name in settings.compare},
        external={name: read_external(name, Path(path)) for name, path in settings.external.items()},
        content_hashes=signals.content_hashes,
    )
    return Built(evaluate(judged, settings, folder, progress))


def _training_texts(paired: Artefact) -> list[str]:
    """Echo reports of the training split."""
    rows = pairs.ECG_TEXT.read(paired.folder).select(["method", "split", "text"]).to_pylist()
    return [row["text"] for row in rows if (row["method"], row["split"]) == ("ECHO", "train")]


def _compared(job: Job, name: str) -> Artefact:
    return student.named_student(job, name, "evaluation.compare")


def _source(job: Job) -> dict[str, str]:
    """Names and paths may come to mean something else; the content decides."""
    settings = job.recipe.evaluation
    found = {f"compare {name}": _compared(job, name).manifest.content for name in settings.compare}
    for name, path in settings.external.items():
        try:
            found[f"external {name}"] = hash_files([Path(path)])
        except OSError as fault:
            raise UserError(f"evaluation.external '{name}': {path}: {fault.strerror}") from fault
    return found


def _subgroups(job: Job, inputs: Inputs) -> pa.Table:
    """What the export states of its ECGs; nothing where the catalog is gone or of a contract without that table."""
    found = job.store.find("catalog", job.store.lineage(inputs["student"])["catalog"])
    if found is None or found.manifest.contract_version < catalog.CONTRACT_VERSION:
        return catalog.SUBGROUPS.schema.empty_table()
    return catalog.SUBGROUPS.read(found.folder)


WORK = stage.StageWork(STAGE, contract.CONTRACT_VERSION, CODE_VERSION, _build, _source, show, contract.REPORT)
evaluation = stage.as_task(WORK)
