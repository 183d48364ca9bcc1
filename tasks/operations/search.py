"""A search among the echo studies and ECGs of a cohort: the one that a student was trained on, or another."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_contracts import catalog, conventions, pairs, teacher
from echoingecg.common import Progress, Refusal, StoreError, UserError, no_progress, replace_atomically
from echoingecg.evaluation.data.embed import ROWS_PER_CHUNK, GaussianTable, embed_ecgs, find_nearest, split_into_chunks
from echoingecg.recipe import EcgSettings
from tasks.base.workspace import writing_to
from tasks.operations.students import Student
from tasks.pools import PoolSignals
from tasks.store import Artefact, ArtefactStore
from tasks.teacher import targets_in_chunks

_PARTS = tuple(field.name for field in fields(GaussianTable))  # the mean is first


@dataclass(frozen=True)
class Cohort:
    """Studies and ECGs as Gaussians: those that the student was trained and evaluated on, or the ECGs of a cohort.

    The studies are those of the student's own teacher: those of another one lie in another space. A student that was
    imported has none here, and searches among ECGs alone. The ECGs are embedded once and kept in
    `scratch/student/<version>/`, where they may be deleted at any time.

    Attributes:
        store: holds the artefacts.
        model: the student.
        progress: told the ECGs embedded.
        named: ecg artefact whose ECGs are searched, by STAGE-VERSION or alias; empty for the student's own, or without
            those for the only one in the workspace.
    """

    store: ArtefactStore
    model: Student
    progress: Progress = no_progress
    named: str = ""

    @property
    def has_studies(self) -> bool:
        """Whether echo studies can be found, too."""
        return not self.named and "ecg" in self.model.student.manifest.inputs

    @cached_property
    def signals(self) -> Artefact:
        """The ecg artefact whose ECGs are searched.

        Raises:
            StoreError: there is none, or several to choose from, or its signals are made in another way.
        """
        if self.has_studies:
            return self._artefact("ecg")
        settings = _signal_settings(self.model.reader().settings)
        if self.named:
            chosen = [self.store.get(self.named)]
            if chosen[0].stage != "ecg":
                raise StoreError(f"{chosen[0]}: a cohort to search in is an ecg artefact")
            if _signal_settings(EcgSettings.of_artefact(chosen[0].manifest.recipe)) != settings:
                raise StoreError(f"{chosen[0]}: its signals are not made as {self.model.student} reads them")
        else:
            chosen = [
                artefact
                for artefact in self.store.published("ecg")
                if _signal_settings(EcgSettings.of_artefact(artefact.manifest.recipe)) == settings
            ]
        if len(chosen) != 1:
            way = (
                f"name one with --cohort: {', '.join(map(str, chosen))}"
                if chosen
                else f"'echoingecg evaluate {self.model.student} --export EXPORT' makes some"
            )
            raise StoreError(
                f"{self.model.student} was not trained here, and the workspace has {len(chosen) or 'no'} sets of ECGs "
                f"that it can read: {way}"
            )
        return self.store.get(str(chosen[0]))

    @cached_property
    def study_ids(self) -> list[str]:
        """Pseudonyms of the echo studies."""
        names: list[str] = teacher.STUDIES.read(self._artefact("teacher").folder)["study_id"].to_pylist()
        return names

    def studies(self) -> Iterator[GaussianTable]:
        """The teacher's targets in chunks, in the order of `study_ids`."""
        yield from (
            GaussianTable.from_log_var(*part) for part in targets_in_chunks(self._artefact("teacher"), ROWS_PER_CHUNK)
        )

    def study(self, study_id: str) -> GaussianTable:
        """The target of one study. Raises UserError when the cohort has no such study."""
        if study_id not in self.study_ids:
            raise UserError(f"no study {study_id} among the {len(self.study_ids)} of {self._artefact('teacher')}")
        chunk, row = divmod(self.study_ids.index(study_id), ROWS_PER_CHUNK)
        return next(islice(self.studies(), chunk, None))[row : row + 1]

    def sentence(self, text: str) -> GaussianTable:
        """A sentence about an echo, embedded by the student's text tower."""
        return GaussianTable.from_log_var(*self.model.reader().student.embed_text([text], "ECHO"))

    def reports(self, study_ids: list[str]) -> dict[str, str]:
        """Study -> text of its echo report on one line, where there is one."""
        listed = self.store.in_lineage(self.signals, "catalog")
        if listed is None:
            raise StoreError(f"{self.signals}: its catalog artefact is not in this workspace")
        table = catalog.REPORTS.read(listed.folder)
        chosen = table.filter(pc.is_in(table["subject_id"], pa.array(study_ids, pa.string())))
        rows = zip(chosen["subject_id"].to_pylist(), chosen["text"].to_pylist(), strict=True)
        return {study: " ".join(text.split()) for study, text in rows}

    def studies_of(self, record_ids: list[str]) -> dict[str, str]:
        """ECG -> study nearest in time, as pseudonyms, for ECGs that are paired with a study; none without pairs."""
        if (paired := self._pairs()) is None:
            return {}
        table = pairs.ECG_ECHO.read(paired.folder)
        chosen = table.filter(pc.is_in(table["record_id"], pa.array(record_ids))).to_pylist()
        nearest: dict[str, str] = {}
        for row in sorted(chosen, key=lambda row: abs(row["gap_hours"])):
            nearest.setdefault(row["record_id"], row["study_id"])
        return nearest

    @cached_property
    def ecgs(self) -> tuple[list[str], GaussianTable]:
        """(pseudonyms of the ECGs, their Gaussians); the means are a memory map."""
        folder = self.store.workspace.scratch("student", self.model.student.version)
        names = [folder / f"{self.signals}-{part}.npy" for part in _PARTS]
        signals = PoolSignals(self.store.workspace, self.signals)
        if not all(name.is_file() for name in names):
            reader = self.model.reader()
            dim = reader.student.settings.model.embed_dim
            made = embed_ecgs(reader.student, signals, np.arange(len(signals)), dim, self.progress)
            with writing_to(self.store.workspace.root):
                folder.mkdir(parents=True, exist_ok=True)
                for name, values in zip(names, (getattr(made, part) for part in _PARTS), strict=True):
                    with replace_atomically(name) as beside, beside.open("wb") as file:
                        np.save(file, values)
        mean, *scalars = (np.load(name, mmap_mode=None if row else "r") for row, name in enumerate(names))
        return signals.record_ids, GaussianTable(mean, *scalars)

    def _pairs(self) -> Artefact | None:
        """The student's own pairs, or the only ones that were made of the ECGs."""
        if self.has_studies:
            return self._artefact("pairs")
        made = [
            artefact
            for artefact in self.store.published("pairs")
            if artefact.manifest.inputs["ecg"] == self.signals.version
        ]
        return self.store.get(str(made[0])) if len(made) == 1 else None

    def _artefact(self, stage: conventions.Stage) -> Artefact:
        artefact = self.store.in_lineage(self.model.student, stage)
        if artefact is None:
            raise StoreError(
                f"{self.model.student}: its {stage} artefact is not in this workspace: nothing to search in"
            )
        return artefact


def _signal_settings(settings: EcgSettings) -> EcgSettings:
    """The settings without the one that changes no signal."""
    return settings.model_copy(update={"max_refused_share": 0.0})


@dataclass(frozen=True)
class Hit:
    """A study or an ECG that a search found.

    Attributes:
        distance: closed-form sampled distance.
        name: pseudonym of the study or the ECG. An ECG that is paired with a study is named with it.
        report: text of the echo report of the study, or of the ECG's own study; empty where there is none.
    """

    distance: float
    name: str
    report: str


def hits_like(cohort: Cohort, file: str, k: int) -> list[Hit]:
    """The k echo studies nearest to an ECG, or the k nearest ECGs of a cohort without studies.

    Args:
        cohort: to search in.
        file: an ECG of any accepted format.
        k: at least 1.

    Raises:
        UserError: the file is refused.
    """
    read = cohort.model.reader().read([file])
    if isinstance(outcome := read.outcomes[0], Refusal):
        raise UserError(f"{file}: refused, {outcome}")
    query = GaussianTable.from_log_var(read.mean, read.log_var)
    return _studies_like(cohort, query, k) if cohort.has_studies else ecgs_like(cohort, query, k)


def _studies_like(cohort: Cohort, query: GaussianTable, k: int) -> list[Hit]:
    neighbours = find_nearest(query, cohort.studies(), k)
    names = [cohort.study_ids[row] for row in neighbours.row[0]]
    reports = cohort.reports(names)
    hits = zip(neighbours.distance[0], names, strict=True)
    return [Hit(distance, name, reports.get(name, "")) for distance, name in hits]


def ecgs_like(cohort: Cohort, query: GaussianTable, k: int) -> list[Hit]:
    """The k ECGs of the cohort nearest to a study or a sentence.

    Args:
        cohort: to search in.
        query: one Gaussian.
        k: at least 1.
    """
    record_ids, ecgs = cohort.ecgs
    neighbours = find_nearest(query, split_into_chunks(ecgs), k)
    names = [record_ids[row] for row in neighbours.row[0]]
    studies = cohort.studies_of(names)
    reports = cohort.reports(list(studies.values()))
    hits = []
    for distance, name in zip(neighbours.distance[0], names, strict=True):
        own = studies.get(name)
        hits.append(Hit(distance, f"{name} of study {own}" if own else name, reports.get(own or "", "")))
    return hits
