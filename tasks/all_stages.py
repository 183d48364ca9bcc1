"""The six stages by name, for work that covers all of them: status, planning, verification."""

from collections.abc import Iterator

from data_contracts.conventions import STAGES, Stage
from tasks import catalog, ecg, evaluation, pairs, student, teacher
from tasks.stage import StageWork
from tasks.store import Job, Plan

WORKS: dict[Stage, StageWork] = {
    module.WORK.stage: module.WORK for module in (catalog, ecg, teacher, pairs, student, evaluation)
}
assert tuple(WORKS) == STAGES


def plans(job: Job) -> Iterator[Plan]:
    """Yields the versions that the job leads to, in order, whether they exist or not."""
    versions: dict[Stage, str] = {}
    for stage, work in WORKS.items():
        plan = work.plan(job, versions)
        versions[stage] = plan.version
        yield plan
