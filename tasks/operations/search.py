"""The cohort that a student was trained and judged on, as Gaussians to search among; by lineage alone.

Its ECGs are embedded once and kept in `scratch/student/<version>/`, where they may be deleted at any time.

Search across modalities: ECG to echo studies, and echo studies or sentences to ECGs.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_contracts import catalog, pairs, teacher
from data_contracts.conventions import Stage
from echoingecg.common import Progress, Refusal, StoreError, UserError, no_progress, replace_atomically
from echoingecg.evaluation.data.embed import GaussianTable, embed_ecgs
from echoingecg.prediction.search import ROWS_PER_CHUNK, find_nearest, split_into_chunks
from tasks.base.workspace import writing_to
from tasks.operations.predict import JudgedStudent
from tasks.pools.signals import PoolSignals
from tasks.pools.targets import targets_in_chunks
from tasks.store import artefact, artefacts

_PARTS = tuple(field.name for field in fields(GaussianTable))  # the mean first


@dataclass(frozen=True)
class Cohort:
    """What was known to one student.

    Attributes:
        store: holds the lineage.
        judged: the student.
        progress: told the ECGs embedded.
    """

    store: artefacts.ArtefactStore
    judged: JudgedStudent
    progress: Progress = no_progress

    @cached_property
    def study_ids(self) -> list[str]:
        """Pseudonyms of the echo studies."""
        names: list[str] = teacher.STUDIES.read(self._above("teacher").folder)["study_id"].to_pylist()
        return names

    def studies(self) -> Iterator[GaussianTable]:
        """The teacher's targets in chunks, in the order of `study_ids`."""
        yield from (
            GaussianTable.from_log_var(*part) for part in targets_in_chunks(self._above("teacher"), ROWS_PER_CHUNK)
        )

    def study(self, study_id: str) -> GaussianTable:
        """One study. Raises UserError when the cohort has none of that pseudonym."""
        if study_id not in self.study_ids:
            raise UserError(f"no study {study_id} among the {len(self.study_ids)} of {self._above('teacher')}")
        chunk, at = divmod(self.study_ids.index(study_id), ROWS_PER_CHUNK)
        return next(islice(self.studies(), chunk, None))[at : at + 1]

    def sentence(self, text: str) -> GaussianTable:
        """A sentence about an echo, through the student's text tower."""
        return GaussianTable.from_log_var(*self.judged.reader().student.embed_text([text], "ECHO"))

    def reports(self, study_ids: list[str]) -> dict[str, str]:
        """Text of the echo report by study, where there is one, on one line."""
        table = catalog.REPORTS.read(self._above("catalog").folder)
        chosen = table.filter(pc.is_in(table["subject_id"], pa.array(study_ids, pa.string())))
        rows = zip(chosen["subject_id"].to_pylist(), chosen["text"].to_pylist(), strict=True)
        return {study: " ".join(text.split()) for study, text in rows}

    def studies_of(self, record_ids: list[str]) -> dict[str, str]:
        """Pseudonym of the study nearest in time by ECG, for those ECGs that are paired with one."""
        table = pairs.ECG_ECHO.read(self._above("pairs").folder)
        chosen = table.filter(pc.is_in(table["record_id"], pa.array(record_ids))).to_pylist()
        return {row["record_id"]: row["study_id"] for row in sorted(chosen, key=lambda row: -abs(row["gap_hours"]))}

    @cached_property
    def ecgs(self) -> tuple[list[str], GaussianTable]:
        """Pseudonyms of the ECGs, and their Gaussians; the means are a memory map."""
        student = self.judged.student
        folder = self.store.workspace.scratch("student", student.version)
        names = [folder / f"{self._above('ecg')}-{part}.npy" for part in _PARTS]
        signals = PoolSignals(self.store.workspace, self._above("ecg"))
        if not all(name.is_file() for name in names):
            reader = self.judged.reader()
            dim = reader.student.settings.model.embed_dim
            made = embed_ecgs(reader.student, signals, np.arange(len(signals)), dim, self.progress)
            with writing_to(self.store.workspace.root):
                folder.mkdir(parents=True, exist_ok=True)
                for name, values in zip(names, (getattr(made, part) for part in _PARTS), strict=True):
                    with replace_atomically(name) as beside, beside.open("wb") as file:
                        np.save(file, values)
        mean, *scalars = (np.load(name, mmap_mode="r" if at == 0 else None) for at, name in enumerate(names))
        return signals.record_ids, GaussianTable(mean, *scalars)

    def _above(self, stage: Stage) -> artefact.Artefact:
        found = self.store.in_lineage(self.judged.student, stage)
        if found is None:
            raise StoreError(
                f"{self.judged.student}: its {stage} artefact is not in this workspace: nothing to search in"
            )
        return found


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
    found = find_nearest(GaussianTable.from_log_var(read.mean, read.log_var), cohort.studies(), k)
    names = [cohort.study_ids[row] for row in found.row[0]]
    reports = cohort.reports(names)
    return [Hit(distance, name, reports.get(name, "")) for distance, name in zip(found.distance[0], names, strict=True)]


def ecgs_like(cohort: Cohort, query: GaussianTable, k: int) -> list[Hit]:
    """The k ECGs of the cohort nearest to a study or a sentence.

    Args:
        cohort: to search in.
        query: one Gaussian.
        k: at least 1.
    """
    record_ids, ecgs = cohort.ecgs
    found = find_nearest(query, split_into_chunks(ecgs), k)
    names = [record_ids[row] for row in found.row[0]]
    studies = cohort.studies_of(names)
    reports = cohort.reports(list(studies.values()))
    hits = []
    for distance, name in zip(found.distance[0], names, strict=True):
        own = studies.get(name)
        hits.append(Hit(distance, f"{name} of study {own}" if own else name, reports.get(own or "", "")))
    return hits
