"""The six stages by name, for what goes over all of them: status, planning, verification."""

from collections.abc import Iterator

from data_contracts.conventions import STAGES, Stage
from tasks import catalog, ecg, evaluation, pairs, student, teacher
from tasks.stage import StageWork
from tasks.store.artefact import Plan
from tasks.store.job import Job

WORKS: dict[Stage, StageWork] = {
    work.stage: work for work in (catalog.WORK, ecg.WORK, teacher.WORK, pairs.WORK, student.WORK, evaluation.WORK)
}
assert tuple(WORKS) == STAGES


def plans(job: Job) -> Iterator[Plan]:
    """The versions that the job leads to, in order, whether they exist or not."""
    versions: dict[Stage, str] = {}
    for stage, work in WORKS.items():
        plan = work.plan(job, versions)
        versions[stage] = plan.version
        yield plan
