"""The six stages by name, for what goes over all of them: status, planning, verification."""

from collections.abc import Iterator

from data_contracts.conventions import STAGES, Stage
from tasks.catalog import WORK as CATALOG
from tasks.ecg import WORK as ECG
from tasks.evaluation import WORK as EVALUATION
from tasks.pairs import WORK as PAIRS
from tasks.stage import StageWork
from tasks.store.artefact import Plan
from tasks.store.job import Job
from tasks.student import WORK as STUDENT
from tasks.teacher import WORK as TEACHER

WORKS: dict[Stage, StageWork] = {work.stage: work for work in (CATALOG, ECG, TEACHER, PAIRS, STUDENT, EVALUATION)}
assert tuple(WORKS) == STAGES


def plans(job: Job) -> Iterator[Plan]:
    """The versions that the job leads to, in order, whether they exist or not."""
    versions: dict[Stage, str] = {}
    for stage, work in WORKS.items():
        plan = work.plan(job, versions)
        versions[stage] = plan.version
        yield plan
