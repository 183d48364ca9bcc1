"""Search across modalities: ECG to echo studies, and echo studies or sentences to ECGs."""

from dataclasses import dataclass

from echoingecg.common.errors import Refusal, UserError
from echoingecg.evaluation.gaussians import Gaussians
from echoingecg.prediction.search import chunks, nearest
from tasks.operations.search import Cohort


@dataclass(frozen=True)
class Hit:
    """One that was found.

    Attributes:
        distance: closed-form sampled distance.
        name: pseudonym of the study or the ECG; of an ECG with that of its own study, where it has one.
        report: text of the echo report of the study, or of the ECG's own study; empty where there is none.
    """

    distance: float
    name: str
    report: str


def studies_like(cohort: Cohort, file: str, k: int) -> list[Hit]:
    """The k echo studies nearest to an ECG.

    Args:
        cohort: to search in.
        file: an ECG of any accepted format.
        k: at least 1.

    Raises:
        UserError: the file is refused.
    """
    read = cohort.judged.reader().read([file])
    if isinstance(outcome := read.outcomes[0], Refusal):
        raise UserError(f"{file}: refused, {outcome}")
    found = nearest(Gaussians.of(read.mean, read.log_var), cohort.studies(), k)
    names = [cohort.study_ids[row] for row in found.row[0]]
    reports = cohort.reports(names)
    return [Hit(distance, name, reports.get(name, "")) for distance, name in zip(found.distance[0], names, strict=True)]


def ecgs_like(cohort: Cohort, query: Gaussians, k: int) -> list[Hit]:
    """The k ECGs of the cohort nearest to a study or a sentence.

    Args:
        cohort: to search in.
        query: one Gaussian.
        k: at least 1.
    """
    record_ids, ecgs = cohort.ecgs
    found = nearest(query, chunks(ecgs), k)
    names = [record_ids[row] for row in found.row[0]]
    studies = cohort.studies_of(names)
    reports = cohort.reports(list(studies.values()))
    hits = []
    for distance, name in zip(found.distance[0], names, strict=True):
        own = studies.get(name)
        hits.append(Hit(distance, f"{name} of study {own}" if own else name, reports.get(own or "", "")))
    return hits
