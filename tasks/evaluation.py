"""Stage evaluation: what the student knows, on patients it has never seen; ends in report.html."""

from collections import Counter
from pathlib import Path

import pyarrow as pa

from data_contracts import catalog, ecg, pairs, student
from data_contracts import evaluation as contract
from data_contracts.conventions import Stage
from data_contracts.quarantine import QUARANTINE
from echoingecg.errors import UserError
from echoingecg.evaluation import CODE_VERSION
from echoingecg.fingerprint import hash_files
from echoingecg.progress import Progress
from echoingecg.recipe import EcgSettings, write_recipe
from tasks.artefacts import Artefact, Built
from tasks.ecg_page import finding_counts, sample_page
from tasks.evaluation_page import show
from tasks.job import Job
from tasks.signals import PoolSignals
from tasks.stage import Inputs, StageWork, as_task
from tasks.student import named_student
from tasks.targets import read_targets
from tasks.teacher_page import contact_sheet, embedding_map

STAGE: Stage = "evaluation"
# No version depends on them: the report must not either.
_NOT_CAUSES = frozenset({"drift", "execution", "promotion", "simulator"})


def _build(job: Job, inputs: Inputs, folder: Path, progress: Progress) -> Built:
    from echoingecg.evaluation.evaluate import evaluate  # torch, matplotlib: not for a cached run
    from echoingecg.evaluation.external import read_external
    from echoingecg.evaluation.inputs import EvaluationInputs, Provenance
    from echoingecg.student.store import load
    from echoingecg.teacher.model import load_teacher
    from tasks.device import device

    settings, where = job.recipe.evaluation, device(job.recipe.execution)
    signals = PoolSignals(job.workspace, inputs["ecg"])
    studies, mean, log_var = read_targets(inputs["teacher"])
    patients, ecg_echo, labels, filters = (
        table.read(inputs["pairs"].folder) for table in (pairs.PATIENTS, pairs.ECG_ECHO, pairs.LABELS, pairs.FILTERS)
    )
    tower = load_teacher(job.recipe.teacher, where)
    lineage = job.store.lineage(inputs["student"])
    judged = EvaluationInputs(
        student=load(inputs["student"].folder, where),
        signals=signals,
        ecg=EcgSettings.model_validate(inputs["ecg"].manifest.recipe),
        record_ids=signals.record_ids,
        patients=patients,
        ecg_echo=ecg_echo,
        labels=labels,
        filters=filters,
        studies=studies,
        target_mean=mean,
        target_log_var=log_var,
        history=student.HISTORY.read(inputs["student"].folder),
        subgroups=_subgroups(job, lineage),
        records=ecg.RECORDS.read(inputs["ecg"].folder),
        provenance=Provenance(
            teacher=inputs["teacher"].manifest.recipe["model"],
            versions={str(stage): version for stage, version in lineage.items()},
            quarantine=_quarantine(job, lineage),
            recipe=write_recipe(job.recipe, _NOT_CAUSES),
            ecg_findings=finding_counts(inputs["ecg"]),
            ecg_page=sample_page(job.workspace, inputs["ecg"]),
            echo_sheet=contact_sheet(inputs["teacher"]),
            echo_map=embedding_map(job.workspace, inputs["teacher"]),
        ),
        teacher=tower if tower.reads else None,
        training_texts=_training_texts(inputs["pairs"]) if settings.centre else (),
        compared={name: load(_compared(job, name).folder, where) for name in settings.compare},
        external={name: read_external(name, Path(path)) for name, path in settings.external.items()},
        content_hashes=signals.content_hashes,
    )
    counts = evaluate(judged, settings, folder, progress)
    for table in contract.TABLES:
        table.read(folder)
    return Built(counts)


def _training_texts(paired: Artefact) -> list[str]:
    """Echo reports of the training split."""
    rows = pairs.ECG_TEXT.read(paired.folder).select(["method", "split", "text"]).to_pylist()
    return [row["text"] for row in rows if (row["method"], row["split"]) == ("ECHO", "train")]


def _compared(job: Job, name: str) -> Artefact:
    return named_student(job, name, "evaluation.compare")


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


def _subgroups(job: Job, lineage: dict[Stage, str]) -> pa.Table:
    """What the export states of its ECGs; nothing where the catalog is gone or of a contract without that table."""
    found = job.store.find("catalog", lineage["catalog"])
    if found is None or found.manifest.contract_version < catalog.CONTRACT_VERSION:
        return catalog.SUBGROUPS.schema.empty_table()
    return catalog.SUBGROUPS.read(found.folder)


def _quarantine(job: Job, lineage: dict[Stage, str]) -> dict[str, dict[str, int]]:
    """Refusals by stage and reason, of every artefact of the lineage that has a quarantine."""
    artefacts = (job.store.find(stage, version) for stage, version in lineage.items())
    with_table = [one for one in artefacts if one is not None and (one.folder / QUARANTINE.filename).is_file()]
    return {one.stage: dict(sorted(_reasons(one).items())) for one in with_table}


def _reasons(artefact: Artefact) -> Counter[str]:
    return Counter(QUARANTINE.read(artefact.folder)["reason"].to_pylist())


WORK = StageWork(STAGE, contract.CONTRACT_VERSION, CODE_VERSION, _build, _source, show, contract.REPORT)
evaluation = as_task(WORK)
