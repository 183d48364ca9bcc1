"""Stage evaluation: what the student knows, on patients it has never seen; ends in report.html."""

from collections import Counter
from pathlib import Path

from data_contracts import evaluation as contract
from data_contracts import pairs, student
from data_contracts.conventions import Stage
from data_contracts.quarantine import QUARANTINE
from echoingecg.evaluation import CODE_VERSION
from echoingecg.progress import Progress
from echoingecg.recipe import write_recipe
from tasks.artefacts import Artefact, Built
from tasks.ecg_page import finding_counts, sample_page
from tasks.evaluation_page import show
from tasks.job import Job
from tasks.signals import PoolSignals
from tasks.stage import Inputs, StageWork, as_task
from tasks.targets import read_targets

STAGE: Stage = "evaluation"
_NOT_CAUSES = frozenset({"execution", "simulator"})  # no version depends on them: the report must not either


def _build(job: Job, inputs: Inputs, folder: Path, progress: Progress) -> Built:
    from echoingecg.evaluation.evaluate import evaluate  # torch, matplotlib: not for a cached run
    from echoingecg.evaluation.inputs import EvaluationInputs, Provenance
    from echoingecg.student.store import load
    from tasks.device import device

    signals = PoolSignals(job.workspace, inputs["ecg"])
    studies, mean, log_var = read_targets(inputs["teacher"])
    patients, ecg_echo, labels, filters = (
        table.read(inputs["pairs"].folder) for table in (pairs.PATIENTS, pairs.ECG_ECHO, pairs.LABELS, pairs.FILTERS)
    )
    lineage = job.store.lineage(inputs["student"])
    judged = EvaluationInputs(
        student=load(inputs["student"].folder, device(job.recipe.execution)),
        signals=signals,
        record_ids=signals.record_ids,
        patients=patients,
        ecg_echo=ecg_echo,
        labels=labels,
        filters=filters,
        studies=studies,
        target_mean=mean,
        target_log_var=log_var,
        history=student.HISTORY.read(inputs["student"].folder),
        provenance=Provenance(
            teacher=inputs["teacher"].manifest.recipe["model"],
            versions={str(stage): version for stage, version in lineage.items()},
            quarantine=_quarantine(job, lineage),
            recipe=write_recipe(job.recipe, _NOT_CAUSES),
            ecg_findings=finding_counts(inputs["ecg"]),
            ecg_page=sample_page(job.workspace, inputs["ecg"]),
        ),
    )
    counts = evaluate(judged, job.recipe.evaluation, folder, progress)
    for table in contract.TABLES:
        table.read(folder)
    return Built(counts)


def _quarantine(job: Job, lineage: dict[Stage, str]) -> dict[str, dict[str, int]]:
    """Refusals by stage and reason, of every artefact of the lineage that has a quarantine."""
    artefacts = (job.store.find(stage, version) for stage, version in lineage.items())
    with_table = [one for one in artefacts if one is not None and (one.folder / QUARANTINE.filename).is_file()]
    return {one.stage: dict(sorted(_reasons(one).items())) for one in with_table}


def _reasons(artefact: Artefact) -> Counter[str]:
    return Counter(QUARANTINE.read(artefact.folder)["reason"].to_pylist())


WORK = StageWork(STAGE, contract.CONTRACT_VERSION, CODE_VERSION, _build, show=show, report=contract.REPORT)
evaluation = as_task(WORK)
